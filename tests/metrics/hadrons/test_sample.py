"""Features on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metrics import Features, features
from tests.helpers.jets import toy_sets


def test_round_trip_and_join(tmp_path: Path, rng: np.random.Generator) -> None:
    sets, partons = toy_sets(60, 20.0, rng)
    whole = features(sets, partons)
    halves = [features(sets[rows], partons[rows]) for rows in (slice(0, 25), slice(25, 60))]
    for number, half in enumerate(halves):
        half.save(tmp_path / f"{number}.npz")
    joined = Features.concatenate([Features.load(tmp_path / f"{k}.npz") for k in range(2)])
    assert len(joined) == 60
    for name in ("counts", "condition", "particles"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert joined.masses.shape == (4, whole.masses.shape[1])
    np.testing.assert_array_equal(joined.masses.sum(axis=0), whole.masses.sum(axis=0))
    np.testing.assert_array_equal(joined.content, whole.content)
    for name in ("efps", "observables", "flow"):
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name), rtol=1e-4, atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.npz", "1.npz"]


def test_old_definitions_are_refused(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    features(*toy_sets(3, 5.0, rng)).save(tmp_path / "a.npz")
    monkeypatch.setattr("metrics.hadrons.sample.VERSION", 99)
    with pytest.raises(ValueError, match="delete it and rerun"):
        Features.load(tmp_path / "a.npz")


def test_different_truncations_are_not_joined(rng: np.random.Generator) -> None:
    sets = toy_sets(3, 5.0, rng)
    with pytest.raises(ValueError, match="max_particles"):
        Features.concatenate([features(*sets), features(*sets, max_particles=30)])
