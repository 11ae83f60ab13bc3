"""Decay products that Pythia made, and how they enter the hard records of a batch of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastsim.errors import InvalidEvent
from fastsim.event import UNKNOWN_SPIN, Floats, HardEvents, Ints, offsets_from_counts
from fastsim.event.kinematics import mass
from fastsim.event.vertices import LIFETIME, SHORTEST_LIFETIME, lifetimes

PDG_ID, STATUS, MOTHER, COLOURS = 0, 1, 2, slice(3, 5)
"""Columns of :attr:`Products.table`."""


@dataclass(frozen=True)
class Products:
    """The N entries that come from the decay of one or more entries of an event.

    Attributes:
        roots: rows in the batch of the entries that decay, and of what goes with them, all of one event.
        table: PDG id, status, mother, colour and anticolour of each product, (N, 5). A mother is the index of a
            product, or a negative index of ``roots``. New colour tags are counted -1, -2...
        p4: four-momenta in GeV, (N, 4).
        lifetimes: of the products that decayed themselves, c tau in mm, 0 for others, (N,).
        of_roots: the same of the roots; those that the hard record has go before.
    """

    roots: tuple[int, ...]
    table: Ints
    p4: Floats
    lifetimes: Floats
    of_roots: tuple[float, ...]


def read_products(record: Any, roots: tuple[int, ...], tags: dict[int, int] | None = None) -> Products:
    """Read what Pythia appended to a record that holds, after its line for the system, the roots.

    Args:
        record: the event record of Pythia.
        roots: rows in the batch of the entries of the record.
        tags: for each colour tag of the roots in the record, the tag in the batch.
    """
    first = 1 + len(roots)
    own = tags or {}
    new: dict[int, int] = {0: 0}
    rows, momenta, flights = [], [], []
    for k in range(first, record.size()):
        p = record[k]
        colours = [own[tag] if tag in own else new.setdefault(tag, -len(new)) for tag in (p.col(), p.acol())]
        rows.append((p.id(), 1 if p.isFinal() else 2, p.mother1() - first, *colours))
        momenta.append((p.e(), p.px(), p.py(), p.pz()))
        flights.append(0.0 if p.isFinal() else p.tau())
    table, p4 = np.array(rows, dtype=np.int64), np.array(momenta, dtype=np.float64)
    return Products(roots, table, p4, np.array(flights), tuple(record[k].tau() for k in range(1, first)))


def append_products(events: HardEvents, decayed: Sequence[int], products: Sequence[Products]) -> HardEvents:
    """Return the events with products at the end of each record, and status 2 for the decayed entries.

    Named columns are zero for the products, but for ``lifetime``; ``spin`` is unknown.

    Args:
        events: the events.
        decayed: rows of the decayed entries.
        products: what came from them, at least one.
    """
    status = events.status.copy()
    status[decayed] = 2
    size = events.counts.copy()
    next_tag = np.full(len(events), 500, dtype=np.int64)
    np.maximum.at(next_tag, events.index, events.colours.max(axis=1))
    event = events.index[[p.roots[-1] for p in products]]
    tables = []
    for e, p in zip(event, products, strict=True):
        table = p.table.copy()
        mother, tags = table[:, MOTHER], table[:, COLOURS]
        inner = mother >= 0
        of_root = np.array(p.roots)[np.where(inner, -1, mother)] - events.offsets[e]
        table[:, MOTHER] = np.where(inner, mother + size[e], of_root)
        table[:, COLOURS] = np.where(tags < 0, next_tag[e] - tags, tags)
        next_tag[e] = max(next_tag[e], int(table[:, COLOURS].max()))
        size[e] += len(table)
        tables.append(table)
    where = np.repeat(event, [len(t) for t in tables])
    order = np.argsort(np.concatenate([events.index, where]), kind="stable")
    table, p4 = np.concatenate(tables), np.concatenate([p.p4 for p in products])

    def joined(old: Any, new: Any) -> Any:
        return np.concatenate([old, new])[order]

    columns = dict(events.hard_columns)
    flight = lifetimes(events)
    for p in products:
        for row, value in zip(p.roots, p.of_roots, strict=True):
            flight[row] = flight[row] or value
    added = np.concatenate([p.lifetimes for p in products])
    added[added <= SHORTEST_LIFETIME] = 0.0
    if LIFETIME in columns or flight.any() or added.any():
        columns[LIFETIME] = flight
    new_values = {LIFETIME: added, "spin": np.full(len(p4), UNKNOWN_SPIN)}

    return replace(
        events,
        offsets=offsets_from_counts(size),
        pdg_id=joined(events.pdg_id, table[:, PDG_ID]),
        status=joined(status, table[:, STATUS]),
        mothers=joined(events.mothers, table[:, [MOTHER, MOTHER]]),
        colours=joined(events.colours, table[:, COLOURS]),
        p4=joined(events.p4, p4),
        mass=joined(events.mass, mass(p4)),
        hard_columns={
            name: joined(values, new_values.get(name, np.zeros((len(p4), *values.shape[1:]), values.dtype)))
            for name, values in columns.items()
        },
    )


def cannot_decay(events: HardEvents, row: int) -> InvalidEvent:
    """Return the error to raise for an entry for which Pythia finds no decay."""
    return InvalidEvent(
        f"event {events.number[events.index[row]]}: Pythia cannot decay particle {events.pdg_id[row]} of mass "
        f"{float(mass(events.p4[row])):.4g} GeV; decay it in the generator that wrote the file"
    )
