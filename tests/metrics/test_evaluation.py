"""Whole evaluations: every metric found, bins, a second real sample, weights, results that do not depend on threads."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastsim.errors import FastsimError
from fastsim.event import HardEvents, ParticleSet
from fastsim.extras import missing_text
from metrics import array_sample
from metrics.evaluation import condition_bins, evaluate
from metrics.hadrons.sample import jet_sample
from metrics.registry import METRICS, metrics_for
from metrics.result import MetricResult
from metrics.sample import Sample
from tests.helpers.jets import toy_sets


def arrays(num: int, rng: np.random.Generator, shift: float = 0.0, *, only_above: float = -np.inf) -> Sample:
    """Draw three correlated features, the first shifted where the condition is above a limit."""
    x = rng.normal(size=(num, 3))
    energy = rng.uniform(0, 4, num)
    x[:, 0] += np.where(energy > only_above, shift, 0.0)
    return Sample("arrays", {"a": x[:, 0], "b": x[:, 1]}, x, {"energy": energy})


@pytest.fixture
def samples(rng: np.random.Generator) -> dict[str, Sample]:
    return {
        "real": arrays(1500, rng),
        "good": arrays(1500, rng),
        "bad": arrays(1200, rng, 0.8),
        "corner": arrays(1500, rng, 1.2, only_above=3.0),
    }


def test_metrics_tell_good_from_bad_and_name_the_worst_bin(samples: dict[str, Sample]) -> None:
    real = samples.pop("real")
    found, tests = evaluate(real, samples, bins={"energy": None}, seed=1)
    assert list(found.results["good"]) == ["fpd", "fpd_clipped", "kpd", "w1 a", "w1 b", "auc"]
    for name in ("fpd", "kpd", "w1 a", "auc"):
        assert found.results["bad"][name].excess > 5
        assert abs(found.results["good"][name].excess) < 4
    worst = found.worst_bin("corner", "auc")
    assert worst is not None
    assert worst[0].startswith("energy 3")
    assert len(found.bins) == 4
    assert found.num_events == {"real": 1500, "good": 1500, "bad": 1200, "corner": 1500}
    assert set(tests) == {"good: auc", "bad: auc", "corner: auc"}
    assert tests["bad: auc"].weights().std() > tests["good: auc"].weights().std()
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert MetricResult(**plain["results"]["bad"]["fpd"]) == found.results["bad"]["fpd"]


def test_threads_change_nothing(samples: dict[str, Sample]) -> None:
    real = samples.pop("real")
    options: dict[str, Any] = {"metrics": ("fpd", "w1"), "bins": {"energy": (0, 2, 4)}, "seed": 3}
    alone, together = (evaluate(real, samples, workers=n, **options)[0] for n in (1, 3))
    assert replace(alone, seconds={}) == replace(together, seconds={})


def test_a_second_real_sample_gives_the_null(samples: dict[str, Sample]) -> None:
    found, _ = evaluate(samples["real"], {"bad": samples["bad"]}, metrics=["fpd"], null=samples["good"])
    direct, _ = evaluate(samples["real"], {"good": samples["good"][:1200]}, metrics=["fpd"])
    assert found.results["bad"]["fpd"].p_value is None
    assert found.results["bad"]["fpd"].null_value == direct.results["good"]["fpd"].value
    assert found.results["bad"]["fpd"].excess > 5


def test_jets_have_every_metric_but_those_that_weights_forbid(rng: np.random.Generator) -> None:
    sets = [toy_sets(400, 12.0, rng, width=w) for w in (0.3, 0.5)]
    real, wide = (jet_sample(*s) for s in sets)
    found, _ = evaluate(real, {"wide": wide}, metrics=["fpd", "kpd", "w1", "w1p", "auc", "prdc"])
    assert {"w1 mass", "w1 number of photon", "w1p eta_rel", "precision", "coverage"} <= set(found.results["wide"])
    assert found.results["wide"]["w1p eta_rel"].excess > 5
    signed = replace(wide, weights=np.where(np.arange(400) % 5 == 0, -1.0, 1.0))
    found, _ = evaluate(real, {"signed": signed}, metrics=["fpd", "kpd", "w1", "auc", "prdc"])
    assert {"fpd", "kpd", "w1 mass"} <= set(found.results["signed"])
    never = {f"w1 number of {name}" for name in ("K0S", "nbar", "n", "hyperon", "Lambda", "Lambdabar")}
    constant = {what for what, why in found.skipped.items() if why.startswith("constant")}
    assert {f"signed: {name}" for name in never} <= constant, "toy sets hold none of these"
    assert set(found.skipped) - constant == {"signed: auc", "signed: prdc"}
    assert "non-negative" in found.skipped["signed: auc"]


def test_generators_are_ranked_together(samples: dict[str, Sample]) -> None:
    real = samples.pop("real")
    found, _ = evaluate(real, samples, metrics=["posterior"])
    ranked = sorted(samples, key=lambda name: found.results[name]["log_posterior"].value)
    assert ranked == ["bad", "corner", "good"]
    assert found.results["bad"]["log_posterior"].excess > 5
    alone, _ = evaluate(real, {"bad": samples["bad"]}, metrics=["posterior"])
    assert "at least 2" in alone.skipped["all samples: posterior"]


def test_what_cannot_be_computed_is_said(rng: np.random.Generator) -> None:
    found, _ = evaluate(arrays(1000, rng), {"few": arrays(20, rng)})
    assert found.skipped["few: fpd"] == "FPD needs at least 240 events a sample, got 1000 and 20"
    assert "w1 a" in found.results["few"]


def test_bins_of_categories_values_and_combinations(rng: np.random.Generator) -> None:
    sample = replace(
        arrays(100, rng), condition={"flavour": rng.choice([1.0, 21.0], 100), "pt": rng.uniform(1, 9, 100)}
    )
    marks = {
        label: inside(sample) for label, inside in condition_bins(sample, {"flavour": None, "pt": (1, 4, 9)}).items()
    }
    assert list(marks) == ["flavour 1, pt 1-4", "flavour 1, pt 4-9", "flavour 21, pt 1-4", "flavour 21, pt 4-9"]
    np.testing.assert_array_equal(np.sum(list(marks.values()), axis=0), 1)
    with pytest.raises(ValueError, match="no condition 'mass'; these events have flavour, pt"):
        condition_bins(sample, {"mass": None})
    with pytest.raises(ValueError, match="rising"):
        condition_bins(sample, {"pt": (4, 1)})


def test_what_does_not_fit_is_refused(samples: dict[str, Sample]) -> None:
    with pytest.raises(ValueError, match="no metric 'fid'; there are fpd"):
        metrics_for("arrays", ["fid"])
    with pytest.raises(ValueError, match="no metric for arrays"):
        metrics_for("arrays", None, "jetnet")
    assert metrics_for("jets", ["all"]) == [*(n for n, m in METRICS.items() if "jets" in m.kinds), "posterior"]
    other = replace(samples["bad"], observables={"c": samples["bad"].observables["a"]})
    with pytest.raises(ValueError, match="differ in observables"):
        evaluate(samples["real"], {"other": other})
    with pytest.raises(ValueError, match="different lengths"):
        replace(other, weights=np.ones(3))


def test_what_is_constant_but_for_rounding_gets_no_verdict_and_tells_nothing(rng: np.random.Generator) -> None:
    """Rounding is another in each format: the samples below differ in nothing else."""
    real, equal = (
        Sample(
            "jets", {"mass": rng.normal(size=600), "net_phi": rng.normal(scale=s, size=600)}, rng.normal(size=(600, 2))
        )
        for s in (1e-17, 3e-12)
    )
    found, _ = evaluate(real, {"equal": equal}, metrics=["w1", "auc"])
    assert list(found.results["equal"]) == ["w1 mass", "auc"]
    assert found.skipped == {"equal: w1 net_phi": "constant in both samples, but for rounding"}
    assert found.results["equal"]["auc"].sigmas < 3


def test_arrays_lists_tensors_and_events_are_samples(rng: np.random.Generator) -> None:
    import torch

    real, other = rng.normal(size=(300, 2)), rng.normal(0.5, size=(300, 2))
    results = [
        evaluate(one, two, metrics="w1", seed=3)[0].results["generated"]
        for one, two in (
            (real, other),
            (real.tolist(), other.tolist()),
            (torch.tensor(real, requires_grad=True), torch.tensor(other)),
            (array_sample(real), {"generated": array_sample(other)}),
        )
    ]
    assert list(results[0]) == ["w1 column 0", "w1 column 1"]
    assert results[0]["w1 column 0"].sigmas > 5
    assert results[1:] == results[:1] * 3
    events = [HardEvents.of_partons(partons, sets) for sets, partons in (toy_sets(60, 8.0, rng) for _ in range(2))]
    found, _ = evaluate(events[0], {"model": events[1]}, metrics="w1", bins="flavour")
    assert found.kind == "jets" and set(found.bins) == {"flavour 1", "flavour 2", "flavour 3"}


@pytest.mark.parametrize(
    ("real", "message"),
    [
        ("nothing.h5", "real: 'nothing.h5' is no array of numbers"),
        (np.zeros((3, 2, 2)), "particles: 2 features, expected eta, phi, pT"),
        (np.zeros((0, 2)), "expected columns of one length, at least 1"),
        ({"a": [1.0], "b": [1.0, 2.0]}, "a 1, b 2; expected columns of one length"),
        (ParticleSet.empty(2), "jet_sample"),
        (HardEvents.empty(), "there are no events"),
    ],
)
def test_what_is_no_sample_is_refused_by_name(real: object, message: str) -> None:
    with pytest.raises(FastsimError, match=re.escape(message)):
        evaluate(real, np.ones((5, 2)), metrics="w1")


def test_a_sample_is_not_compared_with_itself(samples: dict[str, Sample]) -> None:
    with pytest.raises(FastsimError, match="real and copy hold the same events"):
        evaluate(samples["real"], {"copy": replace(samples["real"])}, metrics="w1")


def test_a_missing_library_stops_only_its_metrics(samples: dict[str, Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    found, _ = evaluate(samples["real"], {"good": samples["good"]}, metrics="w1,auc,kpd")
    assert {"w1 a", "kpd"} <= set(found.results["good"])
    assert found.skipped == {"good: auc": missing_text("sklearn")}
    assert "pip install 'fastsim-hep[evaluate]'" in missing_text("sklearn")
