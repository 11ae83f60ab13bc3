#!/usr/bin/env bash
# pyhepmc 2.16.1 (HepMC3 3.02.05 by its own header; Python 3.11).
#
# Behaviour: a run whose weight names contain a blank is written to Asciiv3 without a word, but the reader splits the names at
# the blank too, counts one name too many and raises an error at the first event: pyhepmc cannot read back what it wrote.
#
# Expected: names come back as they were (a blank is common: "muR=2.0 muF=1.0"), or the writer refuses them.
#
# Output seen:
#   written: W nominal\|scale up
#   read: RuntimeError: ReaderAscii::parse_weight_values: The number of weights (2) does not match the  number weight names(3) in the GenRunInfo object
#   without the blank: ['nominal', 'scale_up'] [1.0, 2.0]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pyhepmc==2.16.1 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import pyhepmc


def write(path, names):
    event = pyhepmc.GenEvent()
    event.run_info = pyhepmc.GenRunInfo()
    event.run_info.weight_names = names
    event.weights = [1.0, 2.0]
    vertex = pyhepmc.GenVertex()
    vertex.add_particle_in(pyhepmc.GenParticle((0, 0, 10, 10), 22, 4))
    vertex.add_particle_out(pyhepmc.GenParticle((0, 0, 10, 10), 22, 1))
    event.add_vertex(vertex)
    with pyhepmc.open(path, "w") as file:
        file.write(event)


write("blank.hepmc3", ["nominal", "scale up"])
with open("blank.hepmc3") as file:
    print("written:", next(line for line in file if line.startswith("W ")).strip())
try:
    with pyhepmc.open("blank.hepmc3") as file:
        print("read:", file.read().run_info.weight_names)
except RuntimeError as error:
    print("read: RuntimeError:", error)

write("plain.hepmc3", ["nominal", "scale_up"])
with pyhepmc.open("plain.hepmc3") as file:
    event = file.read()
    print("without the blank:", list(event.run_info.weight_names), list(event.weights))
PYTHON
diff seen.txt - <<'EXPECTED'
written: W nominal\|scale up
read: RuntimeError: ReaderAscii::parse_weight_values: The number of weights (2) does not match the  number weight names(3) in the GenRunInfo object
without the blank: ['nominal', 'scale_up'] [1.0, 2.0]
EXPECTED
