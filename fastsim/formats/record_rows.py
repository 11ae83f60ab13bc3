"""The rows of event records that are decayed and final particles, compiled: sorted, numbered, with their vertices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside
from fastsim.event import Floats, Ints

DECAYED, FINAL = 2, 1
"""Status codes of the record."""
LOWEST_PARENT = -3
"""Least number of a parent before vertices away from the primary one have numbers: that of a hard vertex."""


@compiled
def put_masses(pdg_id: Ints, p4: Floats, table: Floats, mass: Floats) -> None:
    """Put the masses (M,) to write with momenta (M, 4) in GeV; ``table`` has those of species, -1 for unknown ones."""
    for k in range(len(pdg_id)):
        mass[k] = _written_mass(pdg_id[k], p4, k, table)


@compiled_inside
def _written_mass(pdg_id: int, p4: Floats, row: int, table: Floats) -> Any:
    size = abs(pdg_id)
    own = table[size] if size < len(table) else -1.0
    energy = p4[row, 0]
    momentum = np.sqrt(p4[row, 1] * p4[row, 1] + p4[row, 2] * p4[row, 2] + p4[row, 3] * p4[row, 3])
    squared = (energy - momentum) * (energy + momentum)
    if own >= 0 and abs(squared - own * own) <= 1e-9 * (energy * energy):
        return own
    if abs(squared) <= 1e-12 * (energy * energy):
        return 0.0
    return np.sqrt(max(squared, 0.0))


@compiled
def put_particles(
    start: Ints,
    first: Ints,
    entry_number: Ints,
    entry_offsets: Ints,
    top: Ints,
    apart: int,
    decayed_offsets: Ints,
    decayed_id: Ints,
    decayed_p4: Floats,
    decayed_mother: Ints,
    decayed_vertex: Floats,
    decayed_origin: Ints,
    final_offsets: Ints,
    final_id: Ints,
    final_p4: Floats,
    final_mother: Ints,
    final_vertex: Floats,
    final_origin: Ints,
    written: NDArray[np.bool_],
    scratch: Ints,
    pdg_id: Ints,
    p4: Floats,
    status: Ints,
    parent: Ints,
    vertex: Floats,
) -> None:
    """Put the decayed and final particles of E events into the rows of a record.

    First come those that the partons became, by hard entry, then generation by generation what these decay into, the
    daughters of one particle together; among equals decayed before final ones, in their order.

    Args:
        start: rows at which the events begin, (E+1,).
        first: rows at which their decayed and final particles begin, (E,).
        entry_number: numbers of the hard entries in the record, (K,).
        entry_offsets: of the hard entries, (E+1,).
        top: parents of what the partons became where their entry is not known, one an event, (E,).
        apart: PDG id of particles that have no parent then.
        decayed_offsets, decayed_id, decayed_p4, decayed_mother, decayed_vertex: the D decayed particles, as
            :class:`fastsim.event.Decayed` has them.
        decayed_origin: index, within the event, of the hard entry that they come from; -1 if it is not written, (D,).
        final_offsets, final_id, final_p4, final_mother, final_vertex, final_origin: the M final particles likewise.
        written: which of the final particles have a row, (M,).
        scratch: (5, S), S larger by 3 than the number of the particles, and of the entries, of any event.
        pdg_id, p4, status, parent, vertex: columns of the record to fill.
    """
    above, generation, one, other, count = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    number = scratch[2]  # once they are sorted
    for event in range(len(start) - 1):
        low, lowest, entries = decayed_offsets[event], final_offsets[event], entry_offsets[event]
        num_decayed = decayed_offsets[event + 1] - low
        depth = _put_generations(decayed_mother, low, num_decayed, generation)
        num = 0
        for k in range(num_decayed):
            mother = decayed_mother[low + k]
            above[k] = 1 + (decayed_origin[low + k] if mother < 0 else mother)
            one[num] = k
            num += 1
        for k in range(final_offsets[event + 1] - lowest):
            if written[lowest + k]:
                mother, at = final_mother[lowest + k], num_decayed + k
                above[at] = 1 + (final_origin[lowest + k] if mother < 0 else mother)
                generation[at] = 0 if mother < 0 else generation[mother] + 1
                depth = max(depth, generation[at])
                one[num] = at
                num += 1
        _sort(above, one, num, 1 + max(num_decayed, entry_offsets[event + 1] - entries), count, other)
        _sort(generation, other, num, 1 + depth, count, one)
        other[:num] = one[:num]
        for k in range(num):
            at, row = other[k], first[event] + k
            if at < num_decayed:
                source = low + at
                pdg_id[row], status[row] = decayed_id[source], DECAYED
                mother, origin = decayed_mother[source], decayed_origin[source]
                for axis in range(4):
                    p4[row, axis], vertex[row, axis] = decayed_p4[source, axis], decayed_vertex[source, axis]
                number[at] = row - start[event] + 1
            else:
                source = lowest + at - num_decayed
                pdg_id[row], status[row] = final_id[source], FINAL
                mother, origin = final_mother[source], final_origin[source]
                for axis in range(4):
                    p4[row, axis], vertex[row, axis] = final_p4[source, axis], final_vertex[source, axis]
            if mother >= 0:
                parent[row] = number[mother]
            elif origin >= 0:
                parent[row] = entry_number[entries + origin]
            else:
                parent[row] = 0 if pdg_id[row] == apart else top[event]


@compiled_inside
def _put_generations(mother: Ints, low: int, num: int, generation: Ints) -> int:
    """Put how many decays are above each of the decayed particles of an event; return the most of them."""
    generation[:num] = 0
    depth = 0
    for _ in range(num):  # once, if mothers come first
        changed = False
        for k in range(num):
            if mother[low + k] >= 0 and generation[k] != generation[mother[low + k]] + 1:
                generation[k] = generation[mother[low + k]] + 1
                depth = max(depth, generation[k])
                changed = True
        if not changed:
            break
    return depth


@compiled_inside
def _sort(keys: Ints, before: Ints, num: int, size: int, count: Ints, after: Ints) -> None:
    """Put items into the order of their keys, which are 0 to ``size``; equal ones stay in their order."""
    count[: size + 2] = 0
    for k in range(num):
        count[keys[before[k]] + 1] += 1
    for k in range(size):
        count[k + 1] += count[k]
    for k in range(num):
        place = count[keys[before[k]]]
        after[place] = before[k]
        count[keys[before[k]]] += 1


@compiled
def number_vertices(
    start: Ints, parent: Ints, vertex: Floats, seen: Ints, decays: Ints, row: Ints, identity: Ints, mother: Ints
) -> int:
    """Give numbers to the vertices of E events in the order of their first daughters, as HepMC3 does.

    Args:
        start: rows at which the events begin, (E+1,).
        parent: number of the particle whose decay makes each, 0 for none, negative for the hard vertex, (N,). Daughters
            of a vertex away from the primary one get its number.
        vertex: where the particles were made, (N, 4).
        seen: scratch, longer by three than the largest event.
        decays: gets the numbers of particles that decay, (E,).
        row, identity, mother: get, of the vertices away from the primary one, row of the first daughter, number, and
            number of what decays, (N,).

    Returns:
        The number of vertices away from the primary one.
    """
    far = 0
    for event in range(len(start) - 1):
        seen[: start[event + 1] - start[event] + 1 - LOWEST_PARENT] = 0
        num = decays[event] = 0
        for k in range(start[event], start[event + 1]):
            if parent[k] == 0:
                continue
            place = parent[k] - LOWEST_PARENT
            if seen[place] == 0:
                num += 1
                decays[event] += parent[k] > 0
                seen[place] = parent[k]
                away = vertex[k, 0] != 0 or vertex[k, 1] != 0 or vertex[k, 2] != 0 or vertex[k, 3] != 0
                if parent[k] > 0 and away:
                    row[far], identity[far], mother[far] = k, -num, parent[k]
                    seen[place] = -num
                    far += 1
            parent[k] = seen[place]
    return far
