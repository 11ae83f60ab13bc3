"""Weights of events: how much of a sample they leave."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.errors import FastsimError
from fastsim.tuning.weights import Variation, effective_share, refuse_collapsed


def test_the_share_of_gaussian_weights_is_that_of_theory(rng: np.random.Generator) -> None:
    # moving a unit Gaussian by d leaves exp(-d^2) of the sample
    x, d = rng.normal(size=200_000), 0.5
    variation = Variation("shifted", np.exp(d * x - 0.5 * d**2))
    assert variation.share == pytest.approx(np.exp(-(d**2)), rel=0.02)
    mean, error = variation.mean
    assert abs(mean - 1) < 4 * error
    assert f"{variation.share:.1%}" in variation.row()
    assert effective_share(np.zeros(3)) == 0.0


def test_what_collapses_is_refused_by_name() -> None:
    good, bad = Variation("near", np.ones(100)), Variation("far", np.r_[100.0, np.zeros(99)])
    refuse_collapsed([good, bad], 0.01, "a.h5")
    with pytest.raises(FastsimError, match=r"a.h5: weights for far leave 1 effective events of 100 .*min-ess"):
        refuse_collapsed([good, bad], 0.1, "a.h5")


def test_a_mean_that_is_not_one_is_flagged() -> None:
    spread = 0.2 * np.resize([1.0, -1.0], 1600)  # an error of 0.005
    assert Variation("near", 1.01 + spread).row().endswith("mean weight 1.0100 ± 0.0050")
    far = "mean weight 1.0500 ± 0.0050: off 1 by 10.0 errors, divide weights by it"
    assert Variation("far", 1.05 + spread).row().endswith(far)
    assert Variation("same", np.ones(5)).row().endswith("± 0.0000")
