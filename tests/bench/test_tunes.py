"""Weights beside those of the model: of a classifier, and of Pythia's shower."""

from __future__ import annotations

import numpy as np
import pytest

from bench.tunes import Moved, classified, own_weights
from generators.hadrons.tunes import Tune


def test_a_classifier_moves_means(rng: np.random.Generator) -> None:
    base, other, values = (rng.normal(mean, 1.0, (4000, 2)) for mean in ((0.0, 0.0), (0.3, 0.0), (0.0, 0.0)))
    found = Moved.of(values, classified(base, other, values), np.array([0.3, 0.0]), np.full(2, 0.02))
    assert found.shift[0] == pytest.approx(0.3, abs=0.06)
    assert abs(found.shift[1]) < 0.06
    assert 0.8 < found.share < 0.98  # exp(-0.3^2) = 0.91
    np.testing.assert_allclose(found.pulls, (found.shift - [0.3, 0.0]) / np.hypot(found.error, 0.02))


def test_the_scale_of_the_shower_gives_its_coupling() -> None:
    strings, switch, shower = own_weights({"aLund": Tune.of({"aLund": 0.8}), "alphaS": Tune.of({"alphaS": 0.1415})})
    assert strings == "VariationFrag:List = {aLund frag:aLund=0.8}"
    assert switch == "UncertaintyBands:doVariations = on"
    factor = float(shower.split("fsr:muRfac=")[1].rstrip("}"))
    # one loop: 1 / alpha_s falls by beta log(mu^2) towards lower scales
    assert 1 / 0.1365 + 23 / (12 * np.pi) * np.log(factor**2) == pytest.approx(1 / 0.1415, rel=1e-4)
