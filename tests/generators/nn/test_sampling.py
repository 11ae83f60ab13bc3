"""Compiled draws: frequencies are the weights, fractions are uniform, parts are truncated as said."""

from __future__ import annotations

from math import comb

import numpy as np

from generators.nn.sampling import pick, pick_bin, share


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


def test_parts_follow_their_truncated_binomials() -> None:
    num, counts, p = 60_000, np.array([3, 0, 2], dtype=np.uint8), (0.4, 0.8)
    logits = np.log(np.array([p[0], 0.5, p[1]]) / np.array([1 - p[0], 0.5, 1 - p[1]])).astype(np.float32)
    weights = np.ones((num, 1), dtype=np.float32)
    drawn = share(weights, np.tile(logits, (num, 1, 1)), np.tile(counts, (num, 1)), 2, np.random.default_rng(2))
    expected = {
        (i, j): comb(3, i) * p[0] ** i * (1 - p[0]) ** (3 - i) * comb(2, j) * p[1] ** j * (1 - p[1]) ** (2 - j)
        for i in range(4)
        for j in range(3)
        if 2 <= i + j <= 3
    }
    total = sum(expected.values())
    assert not drawn[:, 1].any()
    for (i, j), weight in expected.items():
        share_of_draws = ((drawn[:, 0] == i) & (drawn[:, 2] == j)).mean()
        assert abs(share_of_draws - weight / total) < 5 * np.sqrt(0.25 / num)


def test_a_hopeless_mixture_ends_with_the_first_members() -> None:
    never = np.full((1, 1, 3), -80.0, dtype=np.float32)
    counts = np.array([[1, 0, 3]], dtype=np.uint8)
    assert share(np.ones((1, 1), np.float32), never, counts, 2, np.random.default_rng(1)).tolist() == [[1, 0, 1]]
