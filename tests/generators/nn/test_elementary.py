"""Exponentials and logarithms of float32 numbers, beside NumPy's in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from generators.nn.elementary import exponential, logarithm


@compiled
def _exponentials(x: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for i in range(len(x)):
        out[i] = exponential(x[i])


@compiled
def _logarithms(x: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for i in range(len(x)):
        out[i] = logarithm(x[i])


def test_exponentials_are_accurate_and_have_a_least_value() -> None:
    x = np.concatenate([np.linspace(-79.9, 80, 100_001), np.linspace(-1e-3, 1e-3, 1001)]).astype(np.float32)
    out = np.empty_like(x)
    _exponentials(x, out)
    exact = np.exp(x.astype(np.float64))
    # the argument itself is rounded: 2^-24 |x| of it
    assert (np.abs(out / exact - 1) < 3e-7 + 1.3e-7 * np.abs(x)).all()
    low = np.array([-1e30, -200, -80], np.float32)
    found = np.empty_like(low)
    _exponentials(low, found)
    np.testing.assert_allclose(found, np.exp(-80.0), rtol=2e-5)


def test_logarithms_are_accurate() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([10 ** rng.uniform(-37, 38, 100_000), 1 + rng.uniform(-0.3, 0.5, 100_000), [1.0, 0.5, 2.0]])
    x = x.astype(np.float32)
    out = np.empty_like(x)
    _logarithms(x, out)
    exact = np.log(x.astype(np.float64))
    assert (np.abs(out - exact) < 2e-7 * np.abs(exact) + 1e-7).all() and out[-3] == 0
