#!/usr/bin/env bash
# pythia8mc 8.317.2 (Python 3.11).
#
# Behaviour: a cut-off of the final-state shower, TimeShower:pTmin, below 1.1 Lambda_QCD of three flavours is raised to
# that. readString() and init() return True, the setting still reads as it was given, and with "Print:quiet = on" nothing
# is said. With TimeShower:alphaSvalue = 0.1465, well inside the range that the manual gives, pTmin = 0.4 and 0.5 make the
# same events to the last bit; with Monash's 0.1365 they differ.
#
# Expected: different events, or a value read back that is the one used. Who draws tunes at random, or fits pTmin with
# alphaS, meets a parameter without effect in a corner of the ranges.
#
# Output seen:
#   pTmin = 0.4 and 0.5 give the same events: {'0.1365': False, '0.1465': True}; pTmin read back: 0.4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pythia8mc==8.317.2"
"$folder/venv/bin/python" - <<'PYTHON'
import pythia8mc


def events(alpha_s: str, cutoff: str) -> tuple[list[list[float]], float]:
    pythia = pythia8mc.Pythia("", False)
    for line in (
        "Print:quiet = on", "Random:setSeed = on", "Random:seed = 5", "Beams:idA = 11", "Beams:idB = -11",
        "Beams:eCM = 91.2", "PDF:lepton = off", "WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off",
        "23:onIfAny = 1 2 3 4 5", f"TimeShower:alphaSvalue = {alpha_s}", f"TimeShower:pTmin = {cutoff}",
    ):
        assert pythia.readString(line)
    assert pythia.init()
    found = []
    for _ in range(30):
        assert pythia.next()
        found.append([x for p in pythia.event if p.isFinal() for x in (p.id(), p.px(), p.py(), p.pz())])
    return found, pythia.settings.parm("TimeShower:pTmin")


same = {alpha_s: events(alpha_s, "0.4")[0] == events(alpha_s, "0.5")[0] for alpha_s in ("0.1365", "0.1465")}
read = events("0.1465", "0.4")[1]
print(f"pTmin = 0.4 and 0.5 give the same events: {same}; pTmin read back: {read}")
assert same == {"0.1365": False, "0.1465": True} and read == 0.4, (same, read)
PYTHON
