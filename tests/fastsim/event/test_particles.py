"""Particle sets with what decayed into them: slices, joins, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.event import Decayed, History, ParticleSet


def sets(shift: float = 0.0) -> ParticleSet:
    """Two sets: K0S -> pi+ pi- beside a photon, and a lone photon."""
    decayed = Decayed([0, 1, 1], [310], [[1.0 + shift, 0, 0, 0.5]], [-1], np.zeros((1, 4)))
    vertex = np.array([[0, 0, 0, 0], [5, 1, 2, 3], [5, 1, 2, 3], [0, 0, 0, 0]]) + shift
    history = History(decayed, [-1, 0, 0, -1], vertex)
    return ParticleSet([0, 3, 4], [22, 211, -211, 22], np.ones((4, 4)) + shift, history)


def test_rows_keep_their_history() -> None:
    two = sets()
    turned = two[np.array([1, 0])]
    assert turned.history is not None
    assert turned.pdg_id.tolist() == [22, 22, 211, -211]
    assert turned.history.mother.tolist() == [-1, -1, 0, 0]
    assert turned.history.decayed.counts.tolist() == [0, 1]
    assert two[1:].history is not None
    assert len(two[1:].history.decayed.pdg_id) == 0


def test_joined_sets_keep_their_history_if_all_have_one() -> None:
    both = ParticleSet.concatenate([sets(), ParticleSet.empty(), sets(1.0)])
    assert both.history is not None
    assert both.history.decayed.counts.tolist() == [1, 0, 1, 0]
    assert np.array_equal(both[2:].history.vertex, sets(1.0).history.vertex)  # type: ignore[union-attr]
    assert ParticleSet.concatenate([sets(), sets().without_history()]).history is None


def test_a_history_of_other_particles_is_refused() -> None:
    two = sets()
    with pytest.raises(ValueError, match="other particles"):
        ParticleSet(two.offsets[:2], two.pdg_id[:3], two.p4[:3], two.history)
