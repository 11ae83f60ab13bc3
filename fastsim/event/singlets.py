"""The colour singlets of events: which final partons hadronise together, and in which order along the colour lines.

A parton's colour tag is the anticolour tag of its neighbour. Following the tags gives chains: a **string** from a
quark over gluons to an antiquark, a closed **gluon loop**, or, where three colours meet, a **junction** with three
arms. An incoming parton is a leg as an outgoing one of opposite colour is. A chain with an incoming leg is not closed:
it goes on in the remnants of the beams, and its final partons are connected to them.

References:
    Alwall et al. 2006, hep-ph/0609017 (colour tags of Les Houches events);
    Sjostrand and Skands 2003, hep-ph/0212264 (junctions).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import InvalidEvent
from fastsim.event import kinematics
from fastsim.event.arrays import Floats, Ints, Ragged
from fastsim.event.hard import HardEvents

Bools = NDArray[np.bool_]

MAX_QUARK, GLUON, OCTET = 8, 21, 8
SOURCE, SINK = 0, 1
"""The two ends of a leg: a colour line starts at the colour of an outgoing leg, and ends at an anticolour."""
ASSIGNED_COLOURS = "assigned_colours"
"""The tally of events that had no colour tags."""
QUARK_CHARGES: Floats = np.array([-1.0, 2.0, -1.0, 2.0, -1.0, 2.0]) / 3
"""Electric charges of d, u, s, c, b, t."""


class Kind(IntEnum):
    """The topologies of a colour singlet."""

    STRING = 0
    GLUON_LOOP = 1
    JUNCTION = 2


@dataclass(frozen=True)
class Singlets(Ragged):
    """The colour singlets of a batch of events, ordered by event: S singlets of M final partons in all.

    ``partons`` (M,) are rows in the hard records of the batch, singlet after singlet, in the order of the chain: from
    the quark to the antiquark, a loop from its first row on. The arms of a junction follow each other, each from the
    junction outward.

    ``event`` (S,) is the event's place in the batch, ``kind`` (S,) a :class:`Kind`; ``closed`` (S,) is False for
    partons that are connected to the beams, for which ``p4`` (S, 4, in GeV) and ``flavour`` are those of the final
    partons alone. ``flavour`` (S, 6) counts quarks minus antiquarks: d, u, s, c, b, t.
    """

    offsets: Ints
    partons: Ints
    event: Ints
    kind: Ints
    closed: Bools
    p4: Floats
    flavour: Ints

    _item_columns: ClassVar[tuple[str, ...]] = ("partons",)
    _row_columns: ClassVar[tuple[str, ...]] = ("event", "kind", "closed", "p4", "flavour")
    _items: ClassVar[str] = "partons"

    def __post_init__(self) -> None:
        self._check()

    @property
    def mass(self) -> Floats:
        """Invariant masses in GeV, (S,)."""
        return kinematics.mass(self.p4)

    @property
    def charge(self) -> Floats:
        """Electric charges in units of e, (S,)."""
        value: Floats = self.flavour @ QUARK_CHARGES
        return value

    @property
    def baryon_number(self) -> Floats:
        """Baryon numbers, (S,)."""
        value: Floats = self.flavour.sum(axis=1) / 3
        return value


def find_singlets(events: HardEvents) -> Singlets:
    """Follow the colour tags of the events; :func:`assign_colours` gives tags to events that have none.

    Raises:
        InvalidEvent: if a tag does not join a colour and an anticolour, and no three such ends meet in a junction, or
            a parton has no tag.
    """
    legs = _legs(events)
    rows, event = legs.rows, legs.event
    bare = np.flatnonzero(~legs.tags.any(axis=1))
    if len(bare):
        row, e = int(rows[bare[0]]), int(event[bare[0]])
        raise InvalidEvent(
            f"event {events.number[e]}: particle {row - events.offsets[e] + 1} (PDG id {events.pdg_id[row]}) has no "
            "colour tag; assign_colours gives tags to events without any"
        )
    after, loose = _neighbours(legs)
    head, place, is_loop = _chains(after)
    kind: Ints = np.where(is_loop, int(Kind.GLUON_LOOP), int(Kind.STRING))
    arm = head.copy()
    runs_to, runs_from = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    runs_to[arm[loose[:, SOURCE]]] = True
    runs_from[arm[loose[:, SINK]]] = True
    place = np.where((runs_to & ~runs_from)[arm], -place, place)  # from the junction outward
    for group in _junctions(events, legs, loose):
        joined = np.isin(head, head[group])
        kind[joined] = Kind.JUNCTION
        head[joined] = head[group].min()
    order: Ints = np.lexsort((place, arm, head, event))
    outgoing = events.status[rows] == 1
    closed = np.ones(len(rows), dtype=bool)
    closed[head[~outgoing]] = False
    order = order[outgoing[order]]
    starts = np.flatnonzero(np.diff(head[order], prepend=-1))
    partons = rows[order]
    which = head[order[starts]]
    quarks = _quark_numbers(events.pdg_id[partons])
    return Singlets(
        offsets=np.append(starts, len(order)),
        partons=partons,
        event=event[order[starts]],
        kind=kind[order[starts]],
        closed=closed[which],
        p4=np.add.reduceat(events.p4[partons], starts, axis=0) if len(starts) else np.zeros((0, 4)),
        flavour=np.add.reduceat(quarks, starts, axis=0) if len(starts) else np.zeros((0, 6), np.int64),
    )


def colour_partners(events: HardEvents) -> Ints:
    """Return the rows of the entries at the other ends of the colour lines of each entry, (K, 2), -1 for none.

    The first is that at the colour of the entry, the second that at its anticolour. Lines run between incoming and
    final entries; what has no tags, and a line that ends in a junction, has no partner.
    """
    legs = _legs(events)
    after, _ = _neighbours(legs)
    start = np.flatnonzero(after >= 0)
    source, sink = legs.rows[start], legs.rows[after[start]]
    partners = np.full((len(events.pdg_id), 2), -1)
    outgoing = events.status == 1  # an incoming entry's colour is where a line ends
    partners[source, np.where(outgoing[source], SOURCE, SINK)] = sink
    partners[sink, np.where(outgoing[sink], SINK, SOURCE)] = source
    return partners


@dataclass(frozen=True)
class _Legs:
    """The L coloured external legs of a batch: rows, events, and the tags at their two ends (L, 2), 0 for none."""

    rows: Ints
    event: Ints
    tags: Ints


def _legs(events: HardEvents) -> _Legs:
    """Return the external legs that have colour tags, or should have."""
    external = np.isin(events.status, (-1, 1))
    rows = np.flatnonzero(external & (events.colours.any(axis=1) | (_colour_charge(events.pdg_id) != 0)))
    colours = events.colours[rows]
    return _Legs(rows, events.index[rows], np.where((events.status[rows] == 1)[:, None], colours, colours[:, ::-1]))


def _colour_charge(pdg_id: Ints) -> Ints:
    """Return 1 for colour triplets, -1 for antitriplets, 8 for octets, 0 for what is no parton of these (K,)."""
    size = np.abs(pdg_id)
    base = np.where((size // 1_000_000 == 1) | (size // 1_000_000 == 2), size % 1_000_000, size)  # squarks, gluinos
    charge = np.where((base >= 1) & (base <= MAX_QUARK), np.sign(pdg_id), 0)
    charge = np.where(_is_diquark(pdg_id), -np.sign(pdg_id), charge)
    return np.where(base == GLUON, OCTET, charge)


def _is_diquark(pdg_id: Ints) -> Bools:
    size = np.abs(pdg_id)
    return np.asarray((size > 1000) & (size < 10_000) & (size // 10 % 10 == 0), dtype=np.bool_)


def _quark_numbers(pdg_id: Ints) -> Ints:
    """Return the numbers of quarks minus antiquarks of each flavour in partons (M,), shape (M, 6)."""
    size = np.abs(pdg_id)
    diquark = _is_diquark(pdg_id)
    content = [
        np.where(diquark, size // 1000, np.where(size <= len(QUARK_CHARGES), size, 0)),
        np.where(diquark, size // 100 % 10, 0),
    ]
    flavours = np.arange(1, len(QUARK_CHARGES) + 1)
    value: Ints = np.sign(pdg_id)[:, None] * sum((c[:, None] == flavours).astype(np.int64) for c in content)
    return value


def _neighbours(legs: _Legs) -> tuple[Ints, Bools]:
    """Join the ends of legs that have the same tag.

    Returns:
        For each leg the leg at the other end of its source, -1 for none (L,); which ends (L, 2) carry a tag that no
        other end has, or that joins anything but a source and a sink.
    """
    leg, end = np.nonzero(legs.tags)
    tag, event = legs.tags[leg, end], legs.event[leg]
    order = np.lexsort((end, tag, event))
    leg, end, tag, event = leg[order], end[order], tag[order], event[order]
    new = np.ones(len(leg), dtype=bool)
    new[1:] = (np.diff(tag) != 0) | (np.diff(event) != 0)
    starts = np.flatnonzero(new)
    counts = np.diff(np.append(starts, len(leg)))
    pairs = starts[counts == 2]
    pairs = pairs[(end[pairs] == SOURCE) & (end[pairs + 1] == SINK)]
    after = np.full(len(legs.rows), -1)
    after[leg[pairs]] = leg[pairs + 1]
    single = np.ones(len(leg), dtype=bool)
    single[pairs] = single[pairs + 1] = False
    loose = np.zeros((len(legs.rows), 2), dtype=bool)
    loose[leg[single], end[single]] = True
    return after, loose


def _chains(after: Ints) -> tuple[Ints, Ints, Bools]:
    """Find the chains of a successor relation by doubling.

    Args:
        after: the successor of each leg, -1 for none, (L,).

    Returns:
        For each leg the first leg of its chain, its place in the chain from 0, and whether the chain is a loop, (L,).
    """
    own = np.arange(len(after))
    before = np.full(len(after), -1)
    before[after[after >= 0]] = own[after >= 0]
    lowest, _, last = _doubled(before)
    is_loop = before[last] >= 0 if len(after) else np.zeros(0, dtype=bool)
    before[is_loop & (lowest == own)] = -1
    _, place, head = _doubled(before)
    return head, place, is_loop


def _doubled(before: Ints) -> tuple[Ints, Ints, Ints]:
    """Go back along chains: return the lowest leg passed, the number of steps, and the leg where the way ends, (L,)."""
    own = np.arange(len(before))
    jump = np.where(before >= 0, before, own)
    lowest, steps = np.minimum(own, jump), (before >= 0).astype(np.int64)
    # a loop never ends: after as many steps as there are legs in the batch at most, all of it has been passed
    for _ in range(len(before).bit_length()):
        further = jump[jump]
        if (further == jump).all():
            break
        lowest = np.minimum(lowest, lowest[jump])
        steps += steps[jump]
        jump = further
    return lowest, steps, jump


def _junctions(events: HardEvents, legs: _Legs, loose: Bools) -> list[list[int]]:
    """Return groups of legs with loose ends that meet in junctions.

    In the vertices of the record, where mothers become children, every tag goes on but three in a junction.

    Raises:
        InvalidEvent: for a loose tag that ends in no junction.
    """
    groups: list[list[int]] = []
    for e in np.unique(legs.event[loose.any(axis=1)]).tolist():
        ends = [(int(k), int(legs.tags[k, side])) for k, side in np.argwhere(loose & (legs.event == e)[:, None])]
        carriers: defaultdict[int, list[int]] = defaultdict(list)
        for leg, tag in ends:
            carriers[tag].append(leg)
        met = _tags_that_meet(events[np.array([e])])
        joined = {tag for tags in met for tag in tags}
        for tag, carrying in carriers.items():
            if len(carrying) != 1 or tag not in joined:
                num = len(carrying)
                raise InvalidEvent(
                    f"event {events.number[e]}: colour tag {tag} is carried by {num} leg{'s' if num != 1 else ''}; "
                    "it must start at one leg and end at another"
                )
        groups += [[leg for tag in tags for leg in carriers.get(tag, [])] for tags in met]
    return [group for group in groups if group]


def _tags_that_meet(event: HardEvents) -> list[set[int]]:
    """Return, for one event, the tags of each connected set of junctions."""
    vertices: defaultdict[tuple[int, ...], Counter[tuple[int, int]]] = defaultdict(Counter)
    for own, colours in zip(event.mothers.tolist(), event.colours.tolist(), strict=True):
        mothers = tuple(dict.fromkeys(m for m in own if m >= 0))
        if not mothers:
            continue
        if mothers not in vertices:
            for m in mothers:
                vertices[mothers].update((int(tag), 1 - side) for side, tag in enumerate(event.colours[m]) if tag)
        vertices[mothers].update((tag, side) for side, tag in enumerate(colours) if tag)
    met: list[set[int]] = []
    for ends in vertices.values():
        for side in (SOURCE, SINK):
            tags = {tag for tag, end in ends if end == side and (tag, 1 - side) not in ends}
            if len(tags) == 3:
                connected = [other for other in met if other & tags]
                met = [other for other in met if not other & tags] + [tags.union(*connected)]
    return met


def assign_colours(events: HardEvents) -> HardEvents:
    """Return the events with colour tags for partons without any, as some generators write them.

    The partons that come from one colourless resonance, and those of the rest of the event with the incoming ones, are
    joined in the way their flavours allow: quarks with antiquarks of the least dipole mass sqrt(2 p_i p_j) first, then
    gluons, those of most energy first, each where it adds least to the sum of dipole masses; gluons alone make a loop.
    An incoming parton counts as an outgoing one of opposite colour. An intermediate state with colour, such as a top
    quark, gets the tags that its products carry on. The tally ``assigned_colours`` counts the events.

    Raises:
        InvalidEvent: if the partons of a group cannot be joined, or some of them have tags and others not.
    """
    legs = _legs(events)
    bare = ~legs.tags.any(axis=1)
    if not bare.any():
        return events
    colours = events.colours.copy()
    changed = np.unique(legs.event[bare])
    next_tag = np.full(len(events), 500, dtype=np.int64)
    np.maximum.at(next_tag, events.index, colours.max(axis=1))
    chosen = np.isin(legs.event, changed)
    rows, bare = legs.rows[chosen], bare[chosen]
    groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for k, key in enumerate(zip(legs.event[chosen].tolist(), _resonances(events, rows).tolist(), strict=True)):
        groups[key].append(k)
    charge = _colour_charge(events.pdg_id[rows])
    charge = np.where(charge == OCTET, OCTET, charge * events.status[rows])
    for (e, _), group in groups.items():
        if not bare[group].any():
            continue
        members = rows[group]
        if not bare[group].all():
            raise InvalidEvent(
                f"event {events.number[e]}: some of the partons {_listed(events, members)} have no colour tag"
            )
        for a, b in _flow(events, e, members, charge[group]):
            next_tag[e] += 1
            colours[members[a], 0 if events.status[members[a]] == 1 else 1] = next_tag[e]
            colours[members[b], 1 if events.status[members[b]] == 1 else 0] = next_tag[e]
    for e in changed.tolist():
        _colour_intermediates(events, e, colours)
    return replace(events, colours=colours).tally(ASSIGNED_COLOURS, changed)


def _colour_intermediates(events: HardEvents, event: int, colours: Ints) -> None:
    """Give the intermediate states of one event, in ``colours`` (K, 2), the tags that their products carry on.

    States of which the products' tags are not those of their colour charge are left as they are.
    """
    start, end = events.offsets[event : event + 2].tolist()
    charge = _colour_charge(events.pdg_id[start:end])
    inner = np.isin(events.status[start:end], (2, -2)) & (charge != 0) & ~colours[start:end].any(axis=1)
    for _ in range(int(inner.sum())):  # a generation at least each time: tags come from the products
        for k in np.flatnonzero(inner).tolist():
            products = colours[start:end][(events.mothers[start:end] == k).any(axis=1)]
            source, sink = (Counter(products[products[:, side] > 0, side].tolist()) for side in (SOURCE, SINK))
            ends = list((source - sink).elements()), list((sink - source).elements())
            if [len(tags) for tags in ends] == [charge[k] in (1, OCTET), charge[k] in (-1, OCTET)]:
                colours[start + k] = [tags[0] if tags else 0 for tags in ends]


def _resonances(events: HardEvents, rows: Ints) -> Ints:
    """Return the row of the nearest colourless resonance that each entry comes from, -1 for none."""
    start = events.offsets[events.index]
    mother = np.where(events.mothers[:, 0] >= 0, events.mothers[:, 0] + start, -1)
    colourless = (events.status == 2) & (_colour_charge(events.pdg_id) == 0) & ~events.colours.any(axis=1)
    row = mother[rows]
    while (walks := (row >= 0) & ~colourless[row]).any():
        row = np.where(walks, mother[row], row)
    return row


def _listed(events: HardEvents, rows: Ints) -> str:
    return ", ".join(str(k) for k in events.pdg_id[rows])


def _flow(events: HardEvents, event: int, members: Ints, charge: Ints) -> list[tuple[int, int]]:
    """Return the colour lines that join partons, each from the place of its source to that of its sink.

    Args:
        events: the batch.
        event: the partons' event.
        members: rows of the partons (K,).
        charge: their colour charge as outgoing partons, (K,).

    Raises:
        InvalidEvent: if there are not as many sources as sinks.
    """
    p = events.p4[members]
    dot = np.outer(p[:, 0], p[:, 0]) - p[:, 1:] @ p[:, 1:].T
    dipole = np.sqrt(2 * np.abs(dot))
    quarks, antiquarks = np.flatnonzero(charge == 1).tolist(), np.flatnonzero(charge == -1).tolist()
    gluons = [int(k) for k in np.argsort(-p[:, 0], kind="stable") if charge[k] == OCTET]
    if len(quarks) != len(antiquarks) or (not quarks and len(gluons) < 2):
        raise InvalidEvent(
            f"event {events.number[event]}: no colour flow joins the partons {_listed(events, members)}, which have no "
            "colour tags"
        )
    lines: list[tuple[int, int]] = []
    while quarks:
        best = min((dipole[a, b], a, b) for a in quarks for b in antiquarks)
        lines.append((best[1], best[2]))
        quarks.remove(best[1])
        antiquarks.remove(best[2])
    if not lines:
        a, b, *gluons = gluons
        lines = [(a, b), (b, a)]
    for gluon in gluons:
        added = [dipole[a, gluon] + dipole[gluon, b] - dipole[a, b] for a, b in lines]
        a, b = lines.pop(int(np.argmin(added)))
        lines += [(a, gluon), (gluon, b)]
    return lines
