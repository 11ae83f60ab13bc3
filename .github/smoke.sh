#!/usr/bin/env bash
# What must work without any extra: every command that makes or checks events, and the library. Takes the example files of the clone.
set -euo pipefail
examples="$(cd "$(dirname "$0")/.." && pwd)/data/examples"
cd "$(mktemp -d)"
fastsim --help > help.txt
fastsim models
fastsim doctor
for ending in hepmc3.gz h5 root; do
  fastsim generate "$examples/pp_dijet.lhe.gz" -o "events.$ending" --seed 1 --num-events 20
  fastsim verify "events.$ending"
done
fastsim generate "$examples/pp_mixed.lhe.gz" -o mixed.h5 --seed 1 --model hadron-tree-small --workers 2
fastsim reference "$examples/pp_dijet.lhe.gz" -o reference.hepmc3 --seed 1 --num-events 20
fastsim generate "$examples/pp_dijet.lhe.gz" -o cells.h5 --steps hadrons,calorimeter --num-events 2
fastsim showers --detector pb-si-ecal --particle gamma --energy 1:10 --num 20 -o showers.h5
python - <<'PYTHON'
import sys

import fastsim
import metrics

assert "torch" not in sys.modules and "pythia8mc" not in sys.modules, "imports are not lazy"
model = fastsim.load_model()
partons = fastsim.Partons.from_pt_eta_phi([21, 5], pt=[100.0, 300.0], eta=[0.0, 1.0], phi=[0.0, 2.0])
assert len(model.sample(partons, rng=1)) == 2
assert metrics.w1([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]).value > 0
PYTHON
echo "smoke test passed"
