#!/usr/bin/env bash
# vector 1.9.0 with awkward 2.14.0 (Python 3.11).
#
# Behaviour: an array of Momentum4D records with px, py, pz and E cannot be given one more field named z, x or t: the array
# is refused with a TypeError when it is made. vector takes z for a second name of pz, though here it is another quantity of
# the particle (a vertex position, a momentum fraction). A field of any name that is no coordinate is carried along.
#
# Expected by who stores a momentum by its four momentum names: z is one more column, as zeta is.
#
# Output seen:
#   zeta: made
#   z: TypeError: MomentumArray4D with fields ['px', 'py', 'pz', 'E', 'z']: duplicate coordinates (through momentum-aliases): 'pz' and 'z' both map to 'z'
#   t: TypeError: MomentumArray4D with fields ['px', 'py', 'pz', 'E', 't']: duplicate coordinates (through momentum-aliases): 'E' and 't' both map to 't'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet vector==1.9.0 awkward==2.14.0 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import awkward as ak
import vector

vector.register_awkward()
column = ak.Array([1.0, 2.0])
momenta = ak.zip({name: column for name in ("px", "py", "pz", "E")}, with_name="Momentum4D")
for field in ("zeta", "z", "t"):
    try:
        ak.with_field(momenta, column, field)
        print(f"{field}: made")
    except TypeError as error:
        print(f"{field}: TypeError: {' '.join(str(error).split())}")
PYTHON
diff seen.txt - <<'EXPECTED'
zeta: made
z: TypeError: MomentumArray4D with fields ['px', 'py', 'pz', 'E', 'z']: duplicate coordinates (through momentum-aliases): 'pz' and 'z' both map to 'z'
t: TypeError: MomentumArray4D with fields ['px', 'py', 'pz', 'E', 't']: duplicate coordinates (through momentum-aliases): 'E' and 't' both map to 't'
EXPECTED
