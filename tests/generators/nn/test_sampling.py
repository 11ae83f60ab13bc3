"""Compiled draws: frequencies are the weights, fractions are uniform."""

from __future__ import annotations

import numpy as np

from generators.nn.sampling import pick, pick_bin


def test_frequencies_and_fractions() -> None:
    weights = np.array([0.0, 1.0, 0.0, 3.0, 0.0], dtype=np.float32)
    u = np.random.default_rng(1).random(100_000)
    index, fraction = pick(np.tile(weights, (len(u), 1)), u)
    assert set(index) == {1, 3}
    assert abs((index == 3).mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / len(u))
    for chosen in (1, 3):
        inside = fraction[index == chosen]
        assert abs(inside.mean() - 0.5) < 0.01 and abs(inside.var() - 1 / 12) < 0.005


def test_bins_follow_the_softmax_and_values_fill_them() -> None:
    logits = np.array([0.3, -200.0, 2.0, -1.0, 5.0, 0.0, 1.0, 0.5, 4.0, -7.0], dtype=np.float32)
    edges = np.linspace(-1, 1, 11) ** 3
    u = np.random.default_rng(4).random(200_000)
    index, value = pick_bin(np.tile(logits, (len(u), 1)), u, edges)
    probs = np.exp(logits) / np.exp(logits).sum()
    frequencies = np.bincount(index, minlength=10) / len(u)
    assert (np.abs(frequencies - probs) < 5 * np.sqrt(probs / len(u)) + 1e-9).all()
    assert ((value >= edges[index]) & (value <= edges[index + 1])).all()
    inside = ((value - edges[index]) / np.diff(edges)[index])[index == 4]
    assert abs(inside.mean() - 0.5) < 0.01 and abs(inside.var() - 1 / 12) < 0.005
    # inversion: the same as that of the exact cumulative sum, up to rounding
    exact = np.minimum(np.searchsorted(np.cumsum(probs.astype(np.float64)), u, side="right"), 9)
    assert (index == exact).mean() > 0.9999
    last, _ = pick_bin(logits[None], np.array([np.nextafter(1.0, 0.0)]), edges)
    assert last[0] == 9 and pick_bin(logits[None], np.zeros(1), edges)[1][0] == edges[0]


def test_the_last_weight_is_never_passed() -> None:
    weights = np.array([[0.25, 0.75, 0.0]], dtype=np.float32)
    index, fraction = pick(weights, np.array([np.nextafter(1.0, 0.0)]))
    assert index.tolist() == [1] and 0 <= fraction[0] <= 1
