#!/usr/bin/env bash
# numba 0.68.1 beside awkward 2.14.0 and vector 1.9.0 (Python 3.11).
#
# Behaviour: where awkward and vector are installed, the first call of any compiled function imports both, and with vector
# SymPy, though the function takes a number and no program ever named them. They register as numba extensions by entry
# points, which numba loads before it compiles anything. It costs the first call about as much again as the compilation of
# a small function.
#
# Expected by a reader of numba's guide for users: a function on numbers compiles without other packages.
#
# Output seen:
#   before: []
#   after: ['awkward', 'sympy', 'vector']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numba==0.68.1 awkward==2.14.0 vector==1.9.0 sympy==1.14.0 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import sys

from numba import njit


@njit
def double(x):
    return 2 * x


def imported():
    return sorted(name for name in ("awkward", "sympy", "vector") if name in sys.modules)


print("before:", imported())
assert double(2) == 4
print("after:", imported())
PYTHON
diff seen.txt - <<'EXPECTED'
before: []
after: ['awkward', 'sympy', 'vector']
EXPECTED
