#!/usr/bin/env bash
# particle 1.1.0 (Python 3.11).
#
# Behaviour: Particle.from_pdgid raises ParticleNotFound for a number that is in no table, and InvalidParticle for one that its
# rules call no PDG id. Neither class derives from the other; all they share is RuntimeError. A program that looks up ids of
# unknown origin under `except ParticleNotFound`, the error of the other look-ups, works for most unknown numbers (999999)
# and stops at a few (1023).
#
# Expected by who did not read the method's docstring, which names both: an invalid id is one kind of id not found.
#
# Output seen:
#   999999: ParticleNotFound, caught by except ParticleNotFound: True
#   1023: InvalidParticle, caught by except ParticleNotFound: False
#   shared bases: ['RuntimeError', 'Exception', 'BaseException', 'object']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet particle==1.1.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
from particle import InvalidParticle, Particle, ParticleNotFound

for number in (999999, 1023):
    try:
        Particle.from_pdgid(number)
    except RuntimeError as error:
        caught = isinstance(error, ParticleNotFound)
        print(f"{number}: {type(error).__name__}, caught by except ParticleNotFound: {caught}")
print("shared bases:", [base.__name__ for base in InvalidParticle.__mro__ if base in ParticleNotFound.__mro__])
PYTHON
diff seen.txt - <<'EXPECTED'
999999: ParticleNotFound, caught by except ParticleNotFound: True
1023: InvalidParticle, caught by except ParticleNotFound: False
shared bases: ['RuntimeError', 'Exception', 'BaseException', 'object']
EXPECTED
