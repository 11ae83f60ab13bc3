"""Who descends from whom in the hard records of a batch of events."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from fastsim.event import HardEvents

Rows = tuple[int, ...]


class Family:
    """The mothers, sisters and children of the entries of a batch, by their rows in the batch.

    Args:
        events: the batch.
    """

    def __init__(self, events: HardEvents) -> None:
        start = events.offsets[events.index][:, None]
        mothers = np.where(events.mothers >= 0, events.mothers + start, -1)
        self._mothers: list[Rows] = [tuple(dict.fromkeys(m for m in pair if m >= 0)) for pair in mothers.tolist()]
        self._ids: list[int] = events.pdg_id.tolist()
        self._sisters: defaultdict[Rows, list[int]] = defaultdict(list)
        self._children: defaultdict[int, list[int]] = defaultdict(list)
        for row, own in enumerate(self._mothers):
            self._sisters[own].append(row)
            for mother in own:
                self._children[mother].append(row)

    def mothers(self, row: int) -> Rows:
        """Return the mothers of an entry, none, one or two."""
        return self._mothers[row]

    def children(self, row: int) -> Rows:
        """Return the children of an entry in their order."""
        return tuple(self._children.get(row, ()))

    def sisters(self, row: int) -> Rows:
        """Return the other entries with the same mothers; none for an entry without mothers."""
        own = self._mothers[row]
        return tuple(k for k in self._sisters[own] if k != row) if own else ()

    def first_copy(self, row: int) -> int:
        """Return the first of the copies of a particle, which differ by what it radiated in between."""
        own = self._mothers[row]
        while len(own) == 1 and self._ids[own[0]] == self._ids[row]:
            row, own = own[0], self._mothers[own[0]]
        return row
