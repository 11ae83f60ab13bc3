#!/usr/bin/env bash
# pythia8mc 8.317.2 (Python 3.11).
#
# Behaviour: with gg -> H and 25:m0 = 91.1876, exactly the mass of the Z in Pythia's table, init() returns False, for the
# width of the Higgs boson is not a number. A mass 0.1 MeV higher starts and makes events.
#
# Expected: a start, or a message that names the mass. Who wants H and Z of one mass, to tell them apart by spin alone,
# meets it.
#
# Output seen:
#   Pythia starts with a Higgs boson of this mass in GeV: {'91.1876': False, '91.1877': True, '125.0': True}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pythia8mc==8.317.2"
"$folder/venv/bin/python" - <<'PYTHON'
import pythia8mc


def starts(mass: str) -> bool:
    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Print:errors = off", "Beams:eCM = 13000.", "HiggsSM:gg2H = on", f"25:m0 = {mass}"):
        pythia.readString(line)
    pythia.readString("PartonLevel:all = off")
    return bool(pythia.init()) and bool(pythia.next())


found = {mass: starts(mass) for mass in ("91.1876", "91.1877", "125.0")}
print(f"Pythia starts with a Higgs boson of this mass in GeV: {found}")
assert found == {"91.1876": False, "91.1877": True, "125.0": True}, found
PYTHON
