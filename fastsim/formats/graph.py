"""The history of final particles in the graph of a HepMC event of any origin.

What decayed has status 2. Generators put more between: partons, strings, copies of a particle, each with a status of
its own; these are passed over, so that the mother of a particle is the nearest decayed one above it. Of several mothers
of one vertex, the first counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Decayed, Floats, History, Ints, offsets_from_counts

DECAYED, BEAM = 2, 4
"""Status codes of HepMC: a particle that decayed, a beam."""


class EventHistory(NamedTuple):
    """The history of one event's M final particles and D decayed ones.

    ``pdg_id`` (D,), ``p4`` (D, 4) in the event's unit, ``mother`` (D,) and ``vertex`` (D, 4) of the decayed particles,
    then ``final_mother`` (M,) and ``final_vertex`` (M, 4), as :class:`fastsim.event.Decayed` and
    :class:`fastsim.event.History` have them, places in the event's unit.
    """

    pdg_id: Ints
    p4: Floats
    mother: Ints
    vertex: Floats
    final_mother: Ints
    final_vertex: Floats

    def in_units(self, momentum: float, length: float) -> EventHistory:
        """Return the history with momenta times ``momentum`` and places times ``length``."""
        return self._replace(
            p4=self.p4 * momentum, vertex=self.vertex * length, final_vertex=self.final_vertex * length
        )


def history_of(event: Any, final: NDArray[np.bool_]) -> EventHistory:
    """Read the history of an event's final particles.

    Args:
        event: a ``pyhepmc.GenEvent`` with N particles.
        final: which of them are final (N,).

    Raises:
        ValueError: if a particle is its own ancestor.
    """
    particles = event.numpy.particles
    production, parent, places = _graph(event)
    decayed = (particles.status == DECAYED) & ~final
    above = _nearest(parent, decayed)
    depth = _depths(above, decayed)
    order = np.lexsort((np.arange(len(above)), depth, ~decayed))[: int(decayed.sum())]
    place_of = np.full(len(above) + 1, -1)
    place_of[order] = np.arange(len(order))
    mother = place_of[above]
    p4 = np.stack([particles.e, particles.px, particles.py, particles.pz], axis=1)
    vertex = places[production]
    return EventHistory(
        particles.pid[order].astype(np.int64), p4[order], mother[order], vertex[order], mother[final], vertex[final]
    )


def joined(histories: Sequence[EventHistory]) -> History:
    """Return the history of the final particles of N events."""
    pdg_id, p4, mother, vertex, final_mother, final_vertex = (
        np.concatenate(column) for column in zip(*histories, strict=True)
    )
    offsets = offsets_from_counts(np.array([len(history.pdg_id) for history in histories]))
    return History(Decayed(offsets, pdg_id, p4, mother, vertex), final_mother, final_vertex)


def _graph(event: Any) -> tuple[Ints, Ints, Floats]:
    """Return the graph of an event with N particles and V vertices.

    Returns:
        The place of each particle's vertex of production, V for none (N,); the first mother of each, -1 for none (N,);
        the places (t, x, y, z) of the vertices from the primary one, and zeros for none, (V + 1, 4).
    """
    import pyhepmc

    data = pyhepmc.GenEventData()
    event.write_data(data)
    particles, vertices = event.numpy.particles, event.numpy.vertices
    size, num = len(particles.id), len(vertices.id)
    row, place = np.full(size + 1, -1), np.full(num + 1, num)
    row[particles.id], place[-vertices.id] = np.arange(size), np.arange(num)
    into = data.links1 > 0
    entering, end = row[data.links1[into]], place[-data.links2[into]]
    leaving, begin = row[data.links2[~into]], place[-data.links1[~into]]
    first = np.full(num + 1, -1)
    first[end[::-1]] = entering[::-1]
    production = np.full(size, num)
    production[leaving] = begin
    position = np.zeros((num + 1, 4))  # of a vertex without one, that of the nearest before
    position[:num] = np.stack([vertices.t, vertices.x, vertices.y, vertices.z], axis=1)
    primary = end[particles.status[entering] == BEAM]
    if len(primary):
        position[:num] -= position[primary[0]]
    return production, first[production], position


def _nearest(parent: Ints, wanted: NDArray[np.bool_]) -> Ints:
    """Return the nearest wanted particle above each of N, -1 for none (N,), from first mothers (N,)."""
    size = len(parent)
    parent = np.append(parent, size)
    parent[parent < 0] = size
    stop = np.append(wanted, True)
    jump = np.where(stop, np.arange(size + 1), parent)
    for _ in range(size.bit_length()):  # twice as far each time
        jump = jump[jump]
    nearest = jump[parent[:size]]
    return np.where(stop[nearest] & (nearest < size), nearest, -1)


def _depths(above: Ints, decayed: NDArray[np.bool_]) -> Ints:
    """Count the decayed particles above each of N particles (N,), from the nearest of them (N,).

    Raises:
        ValueError: if a particle is its own ancestor.
    """
    depth = np.zeros(len(above), np.int64)
    for _ in range(int(decayed.sum()) + 1):
        deeper = np.where(above >= 0, depth[above] + 1, 0)
        if (deeper == depth).all():
            return depth
        depth = deeper
    raise ValueError("a particle is its own ancestor")
