"""Our JetNet mode against what JetNet 0.2.5 itself answered (jetnet/outputs.json, made by jetnet/record.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metrics import jetnet
from metrics.hadrons.jets import padded, relative
from metrics.result import MetricResult
from metrics.statistics.permutation import with_null
from tests.helpers.jets import toy_sets
from tests.metrics.jetnet import inputs

RECORDED = json.loads((Path(__file__).parent / "jetnet" / "outputs.json").read_text())["outputs"]
DIGITS = 1e-6
"""Relative: JetNet's own sums of 2.5e7 kernels and its matrix square roots are good to 1e-7 or so."""


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return inputs.make()


def numbers(result: MetricResult | dict[str, MetricResult]) -> list[Any]:
    """Collect values and errors as JetNet returns them: a pair of floats, or of lists."""
    if isinstance(result, MetricResult):
        return [result.value, result.error]
    return [[r.value for r in result.values()], [r.error for r in result.values()]]


def assert_recorded(result: MetricResult | dict[str, MetricResult], recorded: list[Any], rtol: float = DIGITS) -> None:
    np.testing.assert_allclose(numbers(result), recorded, rtol=rtol, atol=0.0)


@pytest.mark.parametrize("name", ["features", "features_equal"])
def test_fpd_and_kpd_are_those_of_jetnet(data: dict[str, Any], name: str) -> None:
    real, generated = data[name]
    recorded = RECORDED[name]
    assert_recorded(jetnet.fpd(real, generated, **inputs.FPD), recorded["fpd"])
    assert_recorded(jetnet.fpd(real, generated, **inputs.FPD, normalise=False, seed=3), recorded["fpd_raw"])
    assert_recorded(jetnet.kpd(real, generated, **inputs.KPD), recorded["kpd"])
    assert_recorded(jetnet.kpd(real, generated, **inputs.KPD, normalise=False, seed=3), recorded["kpd_raw"])
    assert_recorded(jetnet.kpd(real, generated, **inputs.KPD, parallel=True), recorded["kpd_parallel"])


@pytest.mark.parametrize("metric", ["fpd", "kpd"])
def test_defaults_are_those_of_jetnet(data: dict[str, Any], metric: str) -> None:
    real, generated = data["features_full"]
    assert_recorded(getattr(jetnet, metric)(real, generated), RECORDED["features_full"][metric])


# JetNet computes EFPs in the precision of the jets
@pytest.mark.parametrize(("name", "rtol"), [("jets", DIGITS), ("jets_float32", 1e-5)])
def test_metrics_of_efps_are_those_of_jetnet(data: dict[str, Any], name: str, rtol: float) -> None:
    real, generated = data[name]
    recorded = RECORDED[name]
    efps = jetnet.jet_efps(real), jetnet.jet_efps(generated)
    np.testing.assert_allclose(efps[0][:3], recorded["efps"], rtol=rtol)
    assert_recorded(jetnet.fpd(*efps, **inputs.FPD), recorded["fpd"], rtol)
    assert_recorded(jetnet.kpd(*efps, **inputs.KPD), recorded["kpd"], rtol)
    assert_recorded(jetnet.w1efp(real, generated, **inputs.W1, seed=inputs.SEED), recorded["w1efp"], rtol)


@pytest.mark.parametrize("name", ["jets", "jets_float32", "jets_mass"])
def test_w1_of_masses_and_particles_are_those_of_jetnet(data: dict[str, Any], name: str) -> None:
    real, generated = data[name]
    assert_recorded(jetnet.w1m(real, generated, **inputs.W1, seed=inputs.SEED), RECORDED[name]["w1m"])
    found = jetnet.w1p(real, generated, **inputs.W1, seed=inputs.SEED)
    assert list(found) == ["w1p_eta", "w1p_phi", "w1p_pt", "w1p_mass"][: real.shape[2]]
    assert_recorded(found, RECORDED[name]["w1p"])


@pytest.mark.parametrize("name", ["jets", "jets_float32"])
def test_coverage_and_mmd_are_those_of_jetnet(data: dict[str, Any], name: str) -> None:
    pytest.importorskip("ot", reason="the energy mover's distance needs POT")
    found = jetnet.cov_mmd(*data[name], **inputs.COV_MMD, seed=inputs.SEED)
    np.testing.assert_allclose([found["cov"].value, found["mmd"].value], RECORDED[name]["cov_mmd"], rtol=DIGITS)


def test_the_wrong_seed_gives_other_numbers(data: dict[str, Any]) -> None:
    real, generated = data["features"]
    assert jetnet.fpd(real, generated, **inputs.FPD, seed=41).value != pytest.approx(
        RECORDED["features"]["fpd"][0], rel=1e-3
    )


def test_null_is_the_metric_between_halves_of_the_real_sample(data: dict[str, Any]) -> None:
    real, generated = data["features"]
    without = jetnet.kpd(real, generated, **inputs.KPD)
    assert np.isnan([without.null_value, without.null_error]).all()
    found = with_null(jetnet.kpd, real, generated, **inputs.KPD, num_cuts=6)["kpd"]
    assert numbers(found) == numbers(without)
    assert (found.num_real, found.num_generated, found.seed) == (5_000, 6_000, 42)
    assert abs(found.null_value) < 2 * found.null_error
    assert found.sigmas > 3
    real, generated = data["jets"]
    for name, result in with_null(jetnet.w1p, real, generated, **inputs.W1, num_cuts=4).items():
        assert result.name == name
        assert 0 < result.null_value < (2 if name == "w1p_pt" else 0.5) * result.value
    assert with_null(jetnet.w1p, real, real, **inputs.W1, num_cuts=4)["w1p_eta"].sigmas < 3


@pytest.mark.parametrize("metric", [jetnet.w1m, jetnet.w1p, jetnet.w1efp])
def test_padding_and_order_of_particles_change_nothing(
    data: dict[str, Any], metric: Callable[..., Any], rng: np.random.Generator
) -> None:
    real, generated = (jets[:300] for jets in data["jets"])
    more = np.pad(generated, ((0, 0), (0, 5), (0, 0)))[:, rng.permutation(inputs.NUM_PARTICLES + 5)]
    options: dict[str, Any] = {"num_eval_samples": 200, "num_batches": 2}
    # the mass of a jet of one particle is a rounding error
    np.testing.assert_allclose(
        numbers(metric(real, more, **options)), numbers(metric(real, generated, **options)), rtol=1e-6
    )


def test_emd_of_two_particles_is_by_hand() -> None:
    pytest.importorskip("ot", reason="the energy mover's distance needs POT")
    one = np.array([[[0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]] * 2)
    two = np.array([[[0.3, 0.4, 0.4], [0.0, 0.0, 0.0]]] * 2)
    # 0.4 of pT moved by 0.5, and 0.1 made
    found = jetnet.cov_mmd(one, two, num_eval_samples=2, num_batches=1)
    assert found["mmd"].value == pytest.approx(0.4 * 0.5 + 0.1)
    assert found["cov"].value == 0.5
    nothing = np.zeros((1, 2, 3))
    found = jetnet.cov_mmd(np.concatenate([one[:1], nothing]), two, num_eval_samples=20, num_batches=2)
    assert 0.3 < found["mmd"].value < 0.4


def test_sets_are_padded_leading_particles_first(rng: np.random.Generator) -> None:
    sets = relative(*toy_sets(20, 6.0, rng))
    jets = padded(sets, num_particles=5)
    assert jets.shape == (20, 5, 3)
    for k in range(20):
        kept = slice(sets.offsets[k], min(sets.offsets[k] + 5, sets.offsets[k + 1]))
        expected = np.stack([sets.eta_rel[kept], sets.phi_rel[kept], sets.pt_rel[kept]], axis=1)
        np.testing.assert_array_equal(jets[k, : len(expected)], expected)
        assert not jets[k, len(expected) :].any()


def test_bad_input_is_refused(data: dict[str, Any]) -> None:
    real, generated = (jets[:10].copy() for jets in data["jets"])
    with pytest.raises(ValueError, match=r"generated jets of shape \(10, 20, 4\)"):
        jetnet.w1p(real, np.zeros((10, 20, 4)))
    with pytest.raises(ValueError, match=r"real jets of shape \(10, 3\)"):
        jetnet.w1m(real[:, 0], generated[:, 0])
    with pytest.raises(ValueError, match=r"generated jets of shape \(0, 20, 3\)"):
        jetnet.w1efp(real, generated[:0])
    with pytest.raises(ValueError, match="the generated jets hold no particles"):
        jetnet.w1p(real, np.zeros_like(generated))
    for bad in (np.nan, np.inf):
        broken = generated.copy()
        broken[3, 0, 1] = bad
        with pytest.raises(ValueError, match="jet 3 of the generated sample holds NaN or infinity"):
            jetnet.w1m(real, broken)
        with pytest.raises(ValueError, match="generated feature 1 of event 3"):
            jetnet.fpd(real[:, 0], broken[:, 0])
    generated[0, 0, 2] = -0.1
    with pytest.raises(ValueError, match=r"a particle has pT -0\.1"):
        jetnet.cov_mmd(real, generated)
    with pytest.raises(ValueError, match="expected"):
        jetnet.kpd(real[:, 0], generated[:, 0, :2])
