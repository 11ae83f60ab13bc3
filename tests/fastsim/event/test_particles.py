"""Particle sets with what decayed into them: slices, joins, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.event import Decayed, HardEvents, History, ParticleSet


def sets(shift: float = 0.0) -> ParticleSet:
    """Two sets: K0S -> pi+ pi- beside a photon, and a lone photon."""
    kaon = np.array([[1.0 + shift, 0.0, 0.0, 0.5]])
    decayed = Decayed(np.array([0, 1, 1]), np.array([310]), kaon, np.array([-1]), np.zeros((1, 4)))
    vertex = np.array([[0, 0, 0, 0], [5, 1, 2, 3], [5, 1, 2, 3], [0, 0, 0, 0]]) + shift
    history = History(decayed, np.array([-1, 0, 0, -1]), vertex)
    return ParticleSet(np.array([0, 3, 4]), np.array([22, 211, -211, 22]), np.ones((4, 4)) + shift, history)


def test_rows_keep_their_history() -> None:
    two = sets()
    turned = two[np.array([1, 0])]
    assert turned.history is not None
    assert turned.pdg_id.tolist() == [22, 22, 211, -211]
    assert turned.history.mother.tolist() == [-1, -1, 0, 0]
    assert turned.history.decayed.counts.tolist() == [0, 1]
    second = two[1:].history
    assert second is not None and len(second.decayed.pdg_id) == 0


def test_joined_sets_keep_their_history_if_all_have_one() -> None:
    both = ParticleSet.concatenate([sets(), ParticleSet.empty(), sets(1.0)])
    assert both.history is not None
    assert both.history.decayed.counts.tolist() == [1, 0, 1, 0]
    last, single = both[2:].history, sets(1.0).history
    assert last is not None and single is not None and np.array_equal(last.vertex, single.vertex)
    assert ParticleSet.concatenate([sets(), sets().without_history()]).history is None


def test_a_history_of_other_particles_is_refused() -> None:
    two = sets()
    with pytest.raises(ValueError, match="other particles"):
        ParticleSet(two.offsets[:2], two.pdg_id[:3], two.p4[:3], two.history)


def test_decayed_particles_have_the_origin_of_what_they_decay_into() -> None:
    """B0 -> D- pi+ with D- -> K+ pi-, of parton 3; a pi0 of parton 1 in another set; a decayed one without finals."""
    decayed = Decayed(
        np.array([0, 3, 4]),
        np.array([511, -411, 443, 111]),
        np.ones((4, 4)),
        np.array([-1, 0, -1, -1]),
        np.zeros((4, 4)),
    )
    history = History(decayed, np.array([1, 1, 0, -1, 0, 0]), np.zeros((6, 4)))
    final = ParticleSet(np.array([0, 4, 6]), np.array([321, -211, 211, 22, 22, 22]), np.ones((6, 4)), history)
    origin = np.array([3, 3, 3, 0, 1, 1])
    assert final.of_decayed(origin).tolist() == [3, 3, -1, 1]
    events = HardEvents.of_particles(final, np.ones((2, 1)), np.arange(2)).with_particles(final, origin)
    assert events.decayed_origin.tolist() == [3, 3, -1, 1]
    assert events[1:].decayed_origin.tolist() == [1]
    both = HardEvents.concatenate([events[1:], events[:1]])
    assert both.particles is not None and both.particles.history is not None
    assert both.particles.history.decayed.pdg_id.tolist() == [111, 511, -411, 443]
    assert both.decayed_origin.tolist() == [1, 3, 3, -1]


def test_overlaid_sets_keep_their_mothers() -> None:
    """Two batches of two sets, one with a history: of each set first the particles of the one, then of the other."""
    numbers = np.array([310, 511, 411]), np.ones((3, 4)), np.array([-1, -1, 0]), np.zeros((3, 4))
    decayed = Decayed(np.array([0, 1, 3]), *numbers)
    history = History(decayed, np.array([0, -1, 0, 1]), np.arange(16.0).reshape(4, 4))
    one = ParticleSet(np.array([0, 2, 4]), np.array([1, 2, 3, 4]), np.ones((4, 4)), history)
    other = ParticleSet(np.array([0, 1, 1]), np.array([7]), np.zeros((1, 4)))
    both = ParticleSet.overlaid([other, one, one])
    assert both.pdg_id.tolist() == [7, 1, 2, 1, 2, 3, 4, 3, 4] and both.counts.tolist() == [5, 4]
    assert both.history is not None
    assert both.history.decayed.pdg_id.tolist() == [310, 310, 511, 411, 511, 411]
    assert both.history.decayed.mother.tolist() == [-1, -1, -1, 0, -1, 2]
    assert both.history.mother.tolist() == [-1, 0, -1, 1, -1, 0, 1, 2, 3]
    assert both.history.vertex[1].tolist() == [0, 1, 2, 3] and not both.history.vertex[0].any()
    final, above = both.roots()
    assert above.tolist() == [0, 1, 2, 2, 4, 4] and final.tolist() == [6, 0, 8, 1, 10, 2, 2, 4, 4]
    some = both.keeping(np.array([True, False, False, True, True, False, True, True, True]))
    assert some.pdg_id.tolist() == [7, 1, 2, 4, 3, 4] and some.roots()[0].tolist() == [6, 1, 8, 2, 4, 4]
    assert ParticleSet.overlaid([other, other]).history is None


def test_all_sets_in_order_are_not_copied() -> None:
    one = sets()
    assert one[[0, 1]] is one and one[:] is one
    assert one[[1, 0]].pdg_id.tolist() == [22, 22, 211, -211] and len(one[[0, 1, 1]]) == 3


def test_overlaid_sets_of_any_sizes() -> None:
    rng = np.random.default_rng(3)
    batches = []
    for number in range(3):
        counts = rng.integers(0, 4, 5)
        ids = 100 * number + np.arange(counts.sum())
        batches.append(ParticleSet(np.cumsum([0, *counts]), ids, np.outer(ids, np.ones(4))))
    both = ParticleSet.overlaid(batches)
    for i in range(5):
        wanted = [int(k) for b in batches for k in b.pdg_id[b.offsets[i] : b.offsets[i + 1]]]
        assert both.pdg_id[both.offsets[i] : both.offsets[i + 1]].tolist() == wanted
    assert np.array_equal(both.p4[:, 0], both.pdg_id)
