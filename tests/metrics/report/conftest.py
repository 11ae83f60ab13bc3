"""Pages made once from toy events: jets with weights of both signs and file names meant to break out, and showers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from fastsim.detector.binning import Binning, Layer
from metrics.classifiers.trees import ClassifierTest
from metrics.evaluation import Evaluation
from metrics.hadrons.jets import relative
from metrics.report import html
from metrics.result import MetricResult
from metrics.sample import Sample
from metrics.showers.features import showers_sample
from tests.helpers.jets import toy_sets
from tests.helpers.showers import toy_showers

NASTY = '<b>x</b>&"$\\frac.h5'


@dataclass(frozen=True)
class Page:
    """What went into a page, and the page."""

    evaluation: Evaluation
    samples: dict[str, Sample]
    classifiers: dict[str, ClassifierTest]
    path: Path


def result(name: str, sigmas: float = 0.5, p_value: float | None = None) -> MetricResult:
    return MetricResult(name, 0.5 + 0.1 * sigmas, 0.02, 0.5, 0.1, 100, 100, 7, p_value)


def jets_sample(num: int, seed: int, width: float, weights: bool = False) -> Sample:
    rng = np.random.default_rng(seed)
    jets = relative(*toy_sets(num, 12.0, rng, width=width))
    observables = {"multiplicity": jets.counts.astype(np.float64), "sum_pt": jets.sum(jets.pt_rel)}
    signs = np.where(rng.random(num) < 0.1, -1.0, 1.0) if weights else None
    return Sample("jets", observables, np.zeros((num, 1)), {"pt": jets.parton_pt}, signs, jets)


@pytest.fixture(scope="session")
def jets_page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    rng = np.random.default_rng(5)
    samples = {"real.h5": jets_sample(300, 1, 0.3), "model.h5": jets_sample(250, 2, 0.3)}
    samples[NASTY] = jets_sample(200, 3, 0.4, weights=True)
    results = {
        "model.h5": {"fpd": result("fpd", 0.3, 0.4), "auc": result("auc", 1.0, 0.2)},
        NASTY: {"fpd": result("fpd", 2.5), "w1 <mass>": result("w1 <mass>", np.inf)},
    }
    bins = {
        "pt 20-60": {"model.h5": {"fpd": result("fpd", 1.0)}, NASTY: {"fpd": result("fpd", 1.0)}},
        "pt 60-200": {"model.h5": {"fpd": result("fpd", 0.0)}, NASTY: {"fpd": result("fpd", 12.3)}},
    }
    sizes = {name: len(sample) for name, sample in samples.items()}
    skipped = {f"{NASTY}: auc": "negative weights", f"{NASTY}, pt 20-60: auc": "negative weights"}
    seconds = {"fpd": 1.5, "auc": 0.25}
    evaluation = Evaluation("jets", "real.h5", sizes, "fastsim", 7, results, bins, seconds, skipped)
    test = ClassifierTest(result("auc"), rng.beta(5, 4, 60), rng.beta(4, 5, 60))
    folder = tmp_path_factory.mktemp("jets") / "new" / "report"
    classifiers = {"model.h5: auc": test}
    path = html.write(folder, evaluation, samples, classifiers, title="Jets & <models>")
    return Page(evaluation, samples, classifiers, path)


@pytest.fixture(scope="session")
def showers_page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    binning = Binning(
        "photon", 22, (Layer(0, (0.0, 5.0, 10.0), 1), Layer(1, (0.0,), 1), Layer(12, (0.0, 4.0, 20.0), 6))
    )
    samples = {}
    for seed, name in enumerate(("geant4.hdf5", "model.hdf5")):
        rng = np.random.default_rng(seed)
        sample = showers_sample(toy_showers(150, binning, rng, energy=(1e3, 1e5)), binning)
        kept = [name for name in sample.observables if name.startswith("E_")]
        samples[name] = replace(sample, observables={name: sample.observables[name] for name in kept})
    sizes = {name: len(sample) for name, sample in samples.items()}
    results = {"model.hdf5": {"fpd": result("fpd")}}
    evaluation = Evaluation("showers", "geant4.hdf5", sizes, "fastsim", 7, results, {}, {})
    path = html.write(tmp_path_factory.mktemp("showers"), evaluation, samples)
    return Page(evaluation, samples, {}, path)
