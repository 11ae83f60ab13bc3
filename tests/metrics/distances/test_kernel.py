"""KPD against pairs counted one by one, closed forms, and its own null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics import kpd
from metrics.distances import kernel


def brute_force(x: NDArray[Any], y: NDArray[Any], u: NDArray[Any], v: NDArray[Any]) -> float:
    """Compute weighted unbiased MMD^2 from whole kernel matrices."""

    def k(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 4)

    def within(a: NDArray[Any], w: NDArray[Any]) -> float:
        pairs = np.outer(w, w) * (1 - np.eye(len(w)))
        return float(np.sum(pairs * k(a, a)) / np.sum(pairs))

    return within(x, u) + within(y, v) - 2 * float(np.sum(np.outer(u, v) * k(x, y)) / (u.sum() * v.sum()))


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_both_ways_count_every_pair(
    moments: bool, weighted: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = ("_gram_of_moments", "_gram_of_pairs")
    monkeypatch.setattr(kernel, ways[moments], getattr(kernel, ways[not moments]))
    x, y = rng.normal(size=(120, 5)), rng.normal(0.1, 1, size=(75, 5))
    u, v = rng.normal(1, 1, 120), rng.normal(1, 0.5, 75)
    if not weighted:
        u, v = np.ones(120), np.ones(75)
    found = kpd(x, y, real_weights=u, generated_weights=v, scale=np.ones(5))
    assert found.value == pytest.approx(brute_force(x, y, u, v), rel=1e-9)
    assert (found.num_real, found.num_generated) == (120, 75)


@pytest.mark.parametrize("dimension", [2, 10, 40])
def test_equal_distributions_have_none(dimension: int, rng: np.random.Generator) -> None:
    found = [kpd(*rng.normal(size=(2, 600, dimension)), num_permutations=50, seed=s) for s in range(30)]
    values = np.array([f.value for f in found])
    spread = values.std(ddof=1)
    assert abs(values.mean()) < 3 * spread / np.sqrt(30)
    # error and null are those of the values
    assert 0.5 < np.mean([f.null_error for f in found]) / spread < 2
    assert 0.5 < np.mean([f.error for f in found]) / spread < 2.5
    assert np.mean([f.p_value is not None and f.p_value < 0.1 for f in found]) < 0.3


def test_a_shift_is_seen(rng: np.random.Generator) -> None:
    found = kpd(rng.normal(size=(3000, 6)), rng.normal(0.15, 1, size=(2000, 6)))
    assert found.sigmas > 5
    assert found.p_value == pytest.approx(1 / 501)


def test_constant_features_and_the_order_of_events_do_not_matter(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 400, 3))
    x[:, 1] = y[:, 1] = 0.0
    first = kpd(x, y)
    assert np.isfinite(first.value)
    assert kpd(x[::-1], y[::-1]).value == pytest.approx(first.value, abs=1e-12)


def test_bad_input_is_refused(rng: np.random.Generator) -> None:
    x = rng.normal(size=(50, 3))
    with pytest.raises(ValueError, match="expected"):
        kpd(x, x[:, :2])
    with pytest.raises(ValueError, match="at least 8"):
        kpd(x, x[:5])
    with pytest.raises(ValueError, match="feature 1 of event 7 is nan"):
        kpd(x, np.where(np.arange(150).reshape(50, 3) == 22, np.nan, x))
    with pytest.raises(ValueError, match="positive sum"):
        kpd(x, x, real_weights=np.tile([1.0, -1.0], 25))
    with pytest.raises(ValueError, match="one weight an event"):
        kpd(x, x, real_weights=np.ones(49))
