#!/usr/bin/env bash
# pyhepmc 2.16.1 (Python 3.11).
#
# Behaviour: event.numpy.vertices.x (y, z, t) of a vertex that was made without a position is not 0 but the position of the
# nearest ancestor that has one, as vertex.position is too. Only the column has_set_position tells a vertex that was placed
# there from one that was never placed.
#
# Expected by a reader of the arrays: the numbers that were stored, 0 where there were none. (HepMC3 resolves a position like
# this on purpose; at the arrays one would not have guessed it.)
#
# Output seen:
#   vertex.position.x: [1.0, 1.0]
#   numpy.vertices.x: [1.0, 1.0]
#   numpy.vertices.has_set_position: [True, False]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pyhepmc==2.16.1 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import pyhepmc

event = pyhepmc.GenEvent()
beam = pyhepmc.GenParticle((0, 0, 10, 10), 22, 4)
middle = pyhepmc.GenParticle((0, 0, 10, 10), 22, 2)
last = pyhepmc.GenParticle((0, 0, 10, 10), 22, 1)
placed = pyhepmc.GenVertex((1, 2, 3, 4))
placed.add_particle_in(beam)
placed.add_particle_out(middle)
unplaced = pyhepmc.GenVertex()
unplaced.add_particle_in(middle)
unplaced.add_particle_out(last)
event.add_vertex(placed)
event.add_vertex(unplaced)
print("vertex.position.x:", [vertex.position.x for vertex in event.vertices])
print("numpy.vertices.x:", event.numpy.vertices.x.tolist())
print("numpy.vertices.has_set_position:", list(map(bool, event.numpy.vertices.has_set_position)))
PYTHON
diff seen.txt - <<'EXPECTED'
vertex.position.x: [1.0, 1.0]
numpy.vertices.x: [1.0, 1.0]
numpy.vertices.has_set_position: [True, False]
EXPECTED
