"""The figures of a validation cell: equal samples look equal, each distortion shows where it should."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastsim.formats.calochallenge import Showers
from metrics.showers.comparison import READOUT, ShowerComparison, compare_showers, read_out
from tests.helpers.showers import electron_binning, toy_showers

BINNING = electron_binning(num_layers=6, num_r=3, num_alpha=8)
NUM = 400


def toys(seed: int, **options: float) -> Showers:
    return toy_showers(NUM, BINNING, np.random.default_rng(seed), energy=(1e4, 5e4), **options)


@pytest.fixture(scope="module")
def real() -> Showers:
    return toys(1)


@pytest.fixture(scope="module")
def equal(real: Showers) -> ShowerComparison:
    return compare_showers(real, toys(2), BINNING, classifiers=["auc trees"], seed=3)


def test_equal_samples_look_equal(equal: ShowerComparison) -> None:
    assert equal.num == NUM and equal.readout == READOUT
    for name, result in equal.figures.items():  # about 30 figures: one beyond 4 sigma has p = 2e-3
        assert abs(result.sigmas) < 4, f"{name}: {result}"
    assert abs(equal.figures["response"].value - 1) < 4 * equal.figures["response"].error < 0.1


def test_parts_of_a_comparison_join(real: Showers, equal: ShowerComparison) -> None:
    figures = compare_showers(real, toys(2), BINNING, classifiers=[], seed=3)
    trees = compare_showers(real, toys(2), BINNING, classifiers=["auc trees"], other_figures=False, seed=3)
    assert set(trees.figures) == {"auc trees"} and "auc trees" not in figures.figures
    joined = figures.join(trees)
    assert joined.figures == equal.figures and joined.seen == equal.seen and set(joined.seconds) == set(equal.seconds)
    assert ShowerComparison.from_dict(json.loads(json.dumps(joined.to_dict()))) == joined


@pytest.mark.parametrize(
    ("distortion", "seen"),
    [
        ({"response": 1.05}, ("response", "w1 E_tot/E_inc", "separation E_tot/E_inc")),
        ({"quantum": 25.0}, ("resolution", "core resolution", "separation sparsity", "largest separation sparsity")),
        ({"depth": 1.2}, ("separation E_layer", "w1 E_layer", "largest separation E_layer")),
        ({"width": 1.2}, ("separation centre r", "auc trees")),
    ],
)
def test_distortions_show(real: Showers, distortion: dict[str, float], seen: tuple[str, ...]) -> None:
    found = compare_showers(real, toys(2, **distortion), BINNING, classifiers=["auc trees"], seed=3)
    assert found.seen and found.seen[0].value >= found.seen[-1].value
    for name in seen:
        assert abs(found.figures[name].sigmas) > 5, f"{name}: {found.figures[name]}"


def test_ratios_are_of_generated_to_real(real: Showers) -> None:
    brighter = Showers(real.incident, real.voxels * np.float32(1.25))
    found = compare_showers(real, brighter, BINNING, classifiers=[]).figures
    assert found["response"].value == pytest.approx(1.25, rel=1e-5)
    assert found["resolution"].value == pytest.approx(1.0, rel=1e-5)
    assert found["core resolution"].value == pytest.approx(1.0, rel=1e-5)


def test_networks_are_the_challenges(real: Showers) -> None:
    names = ("auc features", "auc voxels")
    found = compare_showers(real, toys(2, response=3.0), BINNING, classifiers=names, num_epochs=1)
    assert {name: found.figures[name].name for name in names} == dict(zip(names, names, strict=True))
    assert min(found.figures[name].value for name in names) > 0.8
    with pytest.raises(ValueError, match="no classifier 'trees'; there are auc trees, auc features, auc voxels"):
        compare_showers(real, real, BINNING, classifiers=["trees"])


def test_threshold_is_that_of_both_sides(real: Showers) -> None:
    """Check that dust below the threshold, of either sample, changes nothing."""
    dust = np.where(real.voxels == 0, np.float32(0.9 * READOUT), real.voxels)
    dusty = Showers(real.incident, dust.astype(np.float32))
    assert np.array_equal(read_out(dusty).voxels, read_out(real).voxels) and (dusty.voxels > 0).all()
    other = toys(2)
    clean = compare_showers(real, other, BINNING, classifiers=[])
    assert compare_showers(dusty, other, BINNING, classifiers=[]).figures == clean.figures
    assert not np.array_equal(read_out(real, 5.0).voxels, read_out(real).voxels)


def test_round_trip(equal: ShowerComparison) -> None:
    assert ShowerComparison.from_dict(json.loads(json.dumps(equal.to_dict()))) == equal
