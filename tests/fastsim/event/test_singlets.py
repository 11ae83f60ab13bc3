"""Colour singlets: chains in order, loops, junctions, partons connected to the beams, events without tags."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastsim.errors import InvalidEvent
from fastsim.event import Floats, HardEvents
from fastsim.event.singlets import Kind, Singlets, assign_colours, find_singlets
from fastsim.formats import lhe
from generators.reference.resonances import DecayResonances
from tests.helpers.sources import hard_event

Entry = tuple[int, int, tuple[int, int], tuple[int, int]]
"""PDG id, status, mothers within the event, colours."""

EE: list[Entry] = [(11, -1, (-1, -1), (0, 0)), (-11, -1, (-1, -1), (0, 0))]


def event(entries: list[Entry], number: int = 7, seed: int = 1) -> HardEvents:
    """Return an event with made-up massless momenta."""
    p = np.random.default_rng(seed).normal(size=(len(entries), 3)) * 50
    p4 = np.column_stack([np.linalg.norm(p, axis=1), p])
    made = hard_event([(e[0], e[1], e[2], list(q)) for e, q in zip(entries, p4, strict=True)], number)
    return replace(made, colours=np.array([e[3] for e in entries]))


def out(pdg_id: int, colour: int = 0, anticolour: int = 0, mothers: tuple[int, int] = (0, 1), status: int = 1) -> Entry:
    return pdg_id, status, mothers, (colour, anticolour)


def partons(singlets: Singlets) -> list[list[int]]:
    return [s.tolist() for s in np.split(singlets.partons, singlets.offsets[1:-1])]


def test_a_string_runs_from_the_quark_over_the_gluons_to_the_antiquark() -> None:
    made = event(
        [*EE, out(-3, 0, 503), out(21, 501, 502), out(22), out(3, 501 + 3), out(21, 502, 504), out(21, 503, 501)]
    )
    found = find_singlets(made)
    assert partons(found) == [[5, 6, 3, 7, 2]]
    assert found.kind.tolist() == [Kind.STRING] and found.closed.all() and found.event.tolist() == [0]
    assert found.p4[0] == pytest.approx(made.p4[[2, 3, 5, 6, 7]].sum(axis=0))
    assert found.mass[0] > 0 and found.charge[0] == 0 and found.baryon_number[0] == 0


@pytest.mark.parametrize("size", [2, 3, 5, 8, 13])
def test_a_gluon_loop_begins_with_its_first_row(size: int) -> None:
    order = np.random.default_rng(size).permutation(size)
    tags = {int(k): (501 + i, 501 + (i - 1) % size) for i, k in enumerate(order)}
    made = event([(25, -1, (-1, -1), (0, 0)), *(out(21, *tags[k], (0, 0)) for k in range(size))])
    found = find_singlets(HardEvents.concatenate([made, made]))
    start = order.tolist().index(0)
    expected = [1 + int(order[(start + i) % size]) for i in range(size)]
    assert partons(found) == [expected, [k + size + 1 for k in expected]]
    assert (found.kind == Kind.GLUON_LOOP).all() and found.closed.all() and found.event.tolist() == [0, 1]


def test_what_reaches_the_beams_is_not_closed_and_a_resonance_of_the_same_event_is() -> None:
    # u g -> u g Z, Z -> d dbar
    made = event(
        [
            out(2, 501, 0, (-1, -1), -1),
            out(21, 502, 501, (-1, -1), -1),
            out(2, 503),
            out(21, 502, 503),
            out(23, status=2),
            out(1, 504, 0, (4, 4)),
            out(-1, 0, 504, (4, 4)),
        ]
    )
    found = find_singlets(made)
    assert partons(found) == [[2, 3], [5, 6]]
    assert found.closed.tolist() == [False, True]
    assert found.charge == pytest.approx([2 / 3, 0]) and found.flavour[0].tolist() == [0, 1, 0, 0, 0, 0]


def test_the_bottom_quark_of_a_top_is_joined_to_the_partner_of_the_top() -> None:
    entries = [*EE, out(6, 501), out(21, 502, 501), out(-6, 0, 502)]
    made = event(entries)
    p4 = made.p4.copy()
    p4[:, 0] = np.sqrt(p4[:, 0] ** 2 + np.where(np.abs(made.pdg_id) == 6, 172.5, 0) ** 2)
    done = DecayResonances().step(replace(made, p4=p4), rng=np.random.default_rng(3))
    found = find_singlets(done)
    ids = [done.pdg_id[s].tolist() for s in partons(found)]
    first = next(i for i in ids if 21 in i)
    assert len(first) == 3 and first[0] in (1, 3, 5) and first[1] == 21 and first[2] in (-1, -3, -5)
    for others in (i for i in ids if 21 not in i):  # W -> q qbar'
        assert len(others) == 2 and others[0] > 0 > others[1]
    assert found.closed.all() and found.charge[ids.index(first)] == pytest.approx(0)


def test_three_colours_meet_in_a_junction() -> None:
    # a neutralino decays to u d s, and the strange quark radiates; the Z beside it is an ordinary pair
    made = event(
        [
            *EE,
            out(1000022, status=2),
            out(23, status=2),
            out(2, 501, 0, (2, 2)),
            out(1, 502, 0, (2, 2)),
            out(3, 503, 0, (2, 2), 2),
            out(1, 504, 0, (3, 3)),
            out(-1, 0, 504, (3, 3)),
            out(3, 505, 0, (6, 6)),
            out(21, 503, 505, (6, 6)),
        ]
    )
    found = find_singlets(made)
    # arms from the junction outward: the gluon is nearer to it than the strange quark
    assert partons(found) == [[4, 5, 10, 9], [7, 8]]
    assert found.kind.tolist() == [Kind.JUNCTION, Kind.STRING] and found.closed.all()
    assert found.baryon_number == pytest.approx([1, 0]) and found.charge == pytest.approx([0, 0])


def test_a_junction_and_an_antijunction_are_one_singlet() -> None:
    # stop antistop, the colours of which are joined: each decays to two quarks
    made = event(
        [
            *EE,
            out(1000006, 501, status=2),
            out(-1000006, 0, 501, status=2),
            out(-1, 0, 502, (2, 2)),
            out(-3, 0, 503, (2, 2)),
            out(1, 504, 0, (3, 3)),
            out(3, 505, 0, (3, 3)),
        ]
    )
    found = find_singlets(made)
    assert [sorted(s) for s in partons(found)] == [[4, 5, 6, 7]]
    assert found.kind.tolist() == [Kind.JUNCTION] and found.baryon_number == pytest.approx([0])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([out(2, 503), out(-2, 0, 501)], r"event 7: colour tag 503 is carried by 1 leg; it must"),
        ([out(2, 501), out(-2, 0, 501), out(21, 501, 502), out(21, 502, 501)], r"event 7: colour tag 501 .* 4 legs"),
        ([out(2, 501), out(2, 501)], r"event 7: colour tag 501 is carried by 2 legs"),
        ([out(2), out(-2, 0, 501)], r"event 7: particle 3 \(PDG id 2\) has no colour tag"),
    ],
)
def test_tags_that_close_nothing_are_named(entries: list[Entry], message: str) -> None:
    good = event([*EE, out(2, 501), out(-2, 0, 501)], number=6)
    with pytest.raises(InvalidEvent, match=message):
        find_singlets(HardEvents.concatenate([good, event([*EE, *entries])]))


def test_no_events_have_no_singlets() -> None:
    found = find_singlets(HardEvents.empty())
    assert len(found) == 0 and found.mass.shape == (0,) and found.flavour.shape == (0, 6)


def test_real_files(shared: Path) -> None:
    for name in ("madgraph5-3.5.8-pp_to_jj.lhe.gz", "powheg-box-v2-W.lhe", "powheg-box-v2-hvq.lhe"):
        events = HardEvents.concatenate(list(lhe.read(shared / "lhe" / name)[1]))
        found = find_singlets(events)
        final = np.flatnonzero((events.status == 1) & events.colours.any(axis=1))
        assert np.array_equal(np.sort(found.partons), final)
        # an independent walk along the tags: neighbours share a tag
        for singlet in partons(found):
            for a, b in itertools.pairwise(singlet):
                shares = events.colours[a, 0] == events.colours[b, 1]
                assert shares or not found.closed.all()
        if name.startswith("madgraph"):  # d dbar -> d dbar by exchange of a gluon: both ends of both lines
            assert found.closed.sum() == 17 and (found.kind[found.closed] == Kind.STRING).all()
    _, batches = lhe.read(shared / "lhe" / "whizard-3.1.4-eeWW.lhe")
    done = DecayResonances().step(next(batches), rng=np.random.default_rng(1))
    found = find_singlets(done)
    assert len(found) > 5 and found.closed.all() and np.abs(found.charge) == pytest.approx(np.ones(len(found)))
    assert found.mass == pytest.approx(np.full(len(found), 80.419), rel=1e-6)


def test_colours_are_assigned_where_there_are_none() -> None:
    # as p-colour-none.lhe
    pair = event([*EE, out(2), out(-2)], number=0)
    tagged = event([*EE, out(2, 501), out(-2, 0, 501)], number=1)
    done = assign_colours(HardEvents.concatenate([pair, tagged]))
    assert done.notes == {"assigned_colours": 1} and done.tallies["assigned_colours"].tolist() == [1, 0]
    assert partons(find_singlets(done)) == [[2, 3], [6, 7]]
    assert assign_colours(tagged) is tagged


def test_gluons_without_colours_go_where_the_dipoles_are_lightest() -> None:
    entries = [*EE, out(2), out(-2), *(out(21) for _ in range(3))]
    for seed in range(20):
        made = event(entries, seed=seed)
        p = made.p4

        def length(chain: tuple[int, ...], p: Floats = p) -> float:
            pairs = [(p[a], p[b]) for a, b in itertools.pairwise(chain)]
            return sum(float(np.sqrt(2 * (a[0] * b[0] - a[1:] @ b[1:]))) for a, b in pairs)

        found = partons(find_singlets(assign_colours(made)))
        best = min(length((2, *middle, 3)) for middle in itertools.permutations((4, 5, 6)))
        assert len(found) == 1 and found[0][0] == 2 and found[0][-1] == 3
        assert length(tuple(found[0])) < 1.15 * best  # the insertion of one after the other is near the optimum


def test_assigned_colours_respect_resonances_and_beams() -> None:
    # u ubar -> Z Z with one gluon, each Z -> q qbar of the same flavour, no tags at all
    entries = [
        out(2, 0, 0, (-1, -1), -1),
        out(-2, 0, 0, (-1, -1), -1),
        out(23, status=2),
        out(23, status=2),
        out(21),
        *(out(sign * 1, 0, 0, (z, z)) for z in (2, 3) for sign in (1, -1)),
    ]
    for seed in range(10):
        found = find_singlets(assign_colours(event(entries, seed=seed)))
        assert sorted(partons(found)) == [[4], [5, 6], [7, 8]]
        assert found.closed[[s == [4] for s in partons(found)]].tolist() == [False]
    loop = find_singlets(
        assign_colours(event([(25, -1, (-1, -1), (0, 0)), *(out(21, mothers=(0, 0)) for _ in range(4))]))
    )
    assert loop.kind.tolist() == [Kind.GLUON_LOOP] and loop.counts.tolist() == [4]


def test_what_no_flow_joins_is_named() -> None:
    with pytest.raises(InvalidEvent, match=r"event 7: no colour flow joins the partons 2, 2, which"):
        assign_colours(event([*EE, out(2), out(2)]))
    with pytest.raises(InvalidEvent, match=r"event 7: some of the partons 2, -2, 21 have no colour tag"):
        assign_colours(event([*EE, out(2, 501), out(-2, 0, 501), out(21)]))


def test_intermediate_states_get_the_tags_of_their_products() -> None:
    """Top quarks e+ e- -> t tbar -> b W+ bbar W-, W+ -> u dbar: the W has none; a gluon -> g g carries two."""
    tops = [out(6, status=2), out(-6, status=2), out(5, mothers=(2, 2)), out(24, status=2, mothers=(2, 2))]
    rest = [out(-5, mothers=(3, 3)), out(-24, mothers=(3, 3)), out(2, mothers=(5, 5)), out(-1, mothers=(5, 5))]
    done = assign_colours(event([*EE, *tops, *rest]))
    b, bbar = done.colours[4], done.colours[6]
    assert b[0] == bbar[1] > 0 and done.colours[2].tolist() == b.tolist() and done.colours[3].tolist() == bbar.tolist()
    assert done.colours[5].tolist() == [0, 0] and done.colours[8, 0] == done.colours[9, 1] > 0
    split = [out(21, status=2), out(21, mothers=(2, 2)), out(21, mothers=(2, 2)), out(2), out(-2)]
    colours = assign_colours(event([*EE, *split])).colours
    source, sink = colours[2].tolist()
    inner = set(colours[3]) & set(colours[4])
    assert len(inner) == 1 and {source, sink} == set(colours[3:5].ravel()) - inner
    assert {source, sink} == set(colours[5:].ravel()) - {0}


def test_an_assigned_flow_fits_the_flavours_and_repeats(shared: Path) -> None:
    events = HardEvents.concatenate(list(lhe.read(shared / "lhe" / "madgraph5-3.5.8-pp_to_jj.lhe.gz")[1]))
    bare = replace(events, colours=np.zeros_like(events.colours))
    done = assign_colours(bare)
    assert np.array_equal(done.colours, assign_colours(bare).colours)
    # quarks of the file keep to the side of their charge
    assert np.array_equal((done.colours != 0), (events.colours != 0))
    assert find_singlets(done).counts.sum() == find_singlets(events).counts.sum()
