#!/usr/bin/env bash
# pythia8mc 8.317.2 (Python 3.11).
#
# Behaviour: near its threshold a K*(892)+ decays to K+ gamma as often as hadronWidths.br says for its mass (2.0 percent
# at 0.66 GeV, 0.1 percent at its nominal mass). A rho(770)+ does not: at 0.32 GeV hadronWidths.br gives pi+ gamma 1.1
# percent, the decays give the 0.05 percent of its nominal mass. Both have varWidth on, and hadronWidths has data for both.
#
# Expected by a reader of the manual, which says of hadronWidths that it includes mass-dependent branching ratios for hadrons
# produced off-shell: both follow it.
#
# Output seen (20,000 decays each; to follow is to agree within five standard deviations):
#   K*+ at 0.66 GeV: hadronWidths.br 0.0199, varWidth True, hasData True, decays follow br: True
#   rho+ at 0.32 GeV: hadronWidths.br 0.0109, varWidth True, hasData True, decays follow br: False
# The fractions themselves were 0.0179 and 0.0006 (errors 0.0009 and 0.0002).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pythia8mc==8.317.2
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import math
import sys

import pythia8mc

pythia = pythia8mc.Pythia("", False)
settings = ("Print:quiet = on", "ProcessLevel:all = off", "Random:setSeed = on", "Random:seed = 1", "111:mayDecay = off")
for setting in settings:
    assert pythia.readString(setting)
assert pythia.init()

decays = 20_000
for name, pdg, meson, mass in (("K*+", 323, 321, 0.66), ("rho+", 213, 211, 0.32)):
    assert pythia.particleData.mMin(pdg) < mass < pythia.particleData.mMax(pdg)
    photons = 0
    for _ in range(decays):
        pythia.event.reset()
        pythia.event.append(pdg, 1, 0, 0, 0.0, 0.0, 0.0, mass, mass)
        assert pythia.next()
        photons += sorted(particle.id() for particle in pythia.event if particle.mother1() == 1) == [22, meson]
    expected = pythia.hadronWidths.br(pdg, meson, 22, mass)
    error = math.sqrt(expected * (1 - expected) / decays)
    print(f"{name}: fraction {photons / decays:.4f}", file=sys.stderr)
    follows = abs(photons / decays - expected) < 5 * error
    known = f"varWidth {pythia.particleData.varWidth(pdg)}, hasData {pythia.hadronWidths.hasData(pdg)}"
    print(f"{name} at {mass} GeV: hadronWidths.br {expected:.4f}, {known}, decays follow br: {follows}")
PYTHON
diff seen.txt - <<'EXPECTED'
K*+ at 0.66 GeV: hadronWidths.br 0.0199, varWidth True, hasData True, decays follow br: True
rho+ at 0.32 GeV: hadronWidths.br 0.0109, varWidth True, hasData True, decays follow br: False
EXPECTED
