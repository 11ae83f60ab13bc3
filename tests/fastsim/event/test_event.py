"""Ragged batches: slicing, joining, sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsim.event import HardEvents, ParticleSet, Partons, RunInfo, kinematics, offsets_from_counts, ragged_indices
from fastsim.formats import lhe
from tests.helpers.events import with_hadrons


def ragged(counts: list[int]) -> ParticleSet:
    num = sum(counts)
    p4 = np.arange(4.0 * num).reshape(num, 4)
    return ParticleSet(offsets_from_counts(np.array(counts, dtype=np.int64)), np.arange(num), p4)


counts = st.lists(st.integers(0, 5), max_size=12)


@given(counts)
def test_sets_are_slices(sizes: list[int]) -> None:
    sets = ragged(sizes)
    assert len(sets) == len(sizes) and sets.counts.tolist() == sizes
    for i, total in enumerate(sets.sums()):
        rows = slice(sets.offsets[i], sets.offsets[i + 1])
        np.testing.assert_array_equal(total, sets.p4[rows].sum(axis=0))
        np.testing.assert_array_equal(sets.index[rows], i)
        np.testing.assert_array_equal(sets[i : i + 1].p4, sets.p4[rows])


@given(counts, st.randoms(use_true_random=False))
def test_any_order_of_rows(sizes: list[int], random: object) -> None:
    sets = ragged(sizes)
    rows = np.array(sorted(range(len(sizes)), key=lambda _: random.random()), dtype=np.int64)  # type: ignore[attr-defined]
    chosen = sets[rows]
    assert chosen.counts.tolist() == [sizes[r] for r in rows]
    np.testing.assert_array_equal(chosen.pdg_id, sets.pdg_id[ragged_indices(sets.offsets, rows)])
    np.testing.assert_array_equal(chosen[np.argsort(rows)].p4, sets.p4)


@given(counts, st.integers(0, 12))
def test_split_and_join(sizes: list[int], at: int) -> None:
    sets = ragged(sizes)
    joined = ParticleSet.concatenate([sets[:at], sets[at:]])
    np.testing.assert_array_equal(joined.offsets, sets.offsets)
    np.testing.assert_array_equal(joined.p4, sets.p4)


def test_masks_and_empty_sets() -> None:
    sets = ragged([2, 0, 3])
    assert sets[np.array([True, False, True])].counts.tolist() == [2, 3]
    assert len(ParticleSet.empty(4)) == 4
    assert ParticleSet.empty(4).sums().tolist() == [[0.0] * 4] * 4
    assert len(ParticleSet.concatenate([])) == 0


def test_inconsistent_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="offsets must start at 0"):
        ParticleSet(np.array([0, 2]), np.zeros(1, int), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="1 PDG ids but 2 four-momenta"):
        ParticleSet(np.array([0, 1]), np.zeros(1, int), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="1 PDG ids but 2 four-momenta"):
        Partons(np.zeros(1, int), np.zeros((2, 4)))


def test_partons_from_coordinates() -> None:
    partons = Partons.from_pt_eta_phi(np.array([21, -5]), np.array([50.0, 60.0]), np.array([0.5, -1]), np.array([1, 2]))
    assert kinematics.pt(partons.p4) == pytest.approx([50, 60])
    assert kinematics.mass(partons.p4) == pytest.approx([0, 4.8], abs=1e-6)
    joined = Partons.concatenate([partons[:1], partons[1:]])
    np.testing.assert_array_equal(joined.p4, partons.p4)


@pytest.mark.parametrize("size", [1, 7, 48, 100])
def test_chunks_of_events_join_again(examples: Path, size: int) -> None:
    events = with_hadrons(next(lhe.read(examples / "pp_mixed.lhe.gz")[1]), per_parton=3)
    chunks = list(events.chunks(size))
    assert [len(c) for c in chunks[:-1]] == [size] * (len(chunks) - 1)
    joined = HardEvents.concatenate(chunks)
    for name in ("number", "offsets", "pdg_id", "mothers", "colours", "p4", "weights", "origin"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(events, name))
    assert joined.particles is not None and events.particles is not None
    np.testing.assert_array_equal(joined.particles.p4, events.particles.p4)


def test_joining_adds_tallies_and_drops_partial_particles() -> None:
    partons = Partons.from_pt_eta_phi(np.array([21]), np.array([50.0]), np.array([0.5]), np.array([1.0]))
    bare = HardEvents.of_partons(partons).tally("fallback", np.array([0, 0])).tally("redrawn", np.array([0]))
    full = HardEvents.of_partons(partons, ParticleSet.empty(1), first_number=1).tally("fallback", np.array([0]))
    joined = HardEvents.concatenate([bare, full])
    assert joined.notes == {"fallback": 3, "redrawn": 1}
    assert joined.tallies["fallback"].tolist() == [2, 1] and joined[1:].notes == {"fallback": 1}
    assert joined.particles is None and joined.origin is None
    assert joined.number.tolist() == [0, 1]


def test_total_cross_section() -> None:
    run = RunInfo(processes=((3.0, 0.3, 1.0, 1), (4.0, 0.4, 1.0, 2)))
    assert run.cross_section == pytest.approx((7.0, 0.5))
    assert RunInfo().cross_section == (0.0, 0.0)
