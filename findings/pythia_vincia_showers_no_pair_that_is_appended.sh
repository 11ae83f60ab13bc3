#!/usr/bin/env bash
# pythia8mc 8.317.2 (Python 3.11).
#
# Behaviour: with ProcessLevel:all = off, a quark pair that is appended to the event record, showered by
# forceTimeShower() and hadronised by next() works with the default shower. With Vincia (PartonShowers:model = 2) next()
# raises IndexError: a vector index out of range.
#
# Expected: a shower, or a message that Vincia has none for such a pair.
#
# Output seen:
#   model 1: True
#   model 2: IndexError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pythia8mc==8.317.2"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import pythia8mc

seen = {}
for model in (1, 2):
    pythia = pythia8mc.Pythia("", False)
    for setting in ("ProcessLevel:all = off", f"PartonShowers:model = {model}", "Print:quiet = on", "Random:setSeed = on"):
        pythia.readString(setting)
    pythia.init()
    energy = 100.0
    pythia.event.reset()
    pythia.event.append(2, 23, 101, 0, 0.0, 0.0, energy, energy, 0.0)
    pythia.event.append(-2, 23, 0, 101, 0.0, 0.0, -energy, energy, 0.0)
    try:
        pythia.forceTimeShower(1, 2, energy)
        seen[model] = str(pythia.next())
    except IndexError:
        seen[model] = "IndexError"
    print(f"model {model}: {seen[model]}")
sys.exit(seen != {1: "True", 2: "IndexError"})
PYTHON
