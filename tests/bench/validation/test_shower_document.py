"""The validation document of calorimeter models: its tables hold the figures, its pictures the samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.validation import shower_document as report
from metrics.classifiers.importance import Importance
from metrics.report.histograms import Histogram
from metrics.report.pictures import Picture
from metrics.result import MetricResult
from metrics.showers.comparison import ShowerComparison
from metrics.showers.features import showers_sample
from tests.helpers.showers import electron_binning, toy_showers

BINNING = electron_binning(num_layers=12, num_r=3, num_alpha=8)


def result(name: str, value: float) -> MetricResult:
    return MetricResult(name, value, 0.01, 0.0, 0.01, 300, 300, 1)


def comparison(response: float, auc: float | None = None) -> ShowerComparison:
    figures = {"response": result("response", response), "fpd": result("fpd", 0.25)}
    if auc is not None:
        figures["auc trees"] = result("auc trees", auc)
    return ShowerComparison(300, 5e-4, figures, {})


def test_tables_hold_every_sample_of_every_cell() -> None:
    results = {
        "e- 1-2": {"Geant4": comparison(1.001, 0.501), "model": comparison(0.97, 0.6)},
        "e- 2-4": {"Geant4": comparison(0.998, 0.49), "model": comparison(1.02, 0.7)},
    }
    text = report.markdown(results, ["Geant4", "model"], ["What was compared."], {"images/a.svg": "A picture"})
    assert "What was compared." in text and "![A picture](images/a.svg)" in text
    assert "| e- 1-2 | model | 0.9700 ± 0.0100 |" in text
    assert "| model | 2 | 0.9700 ± 0.0100 (e- 1-2) | 0.700 ± 0.010 (e- 2-4) |" in text, "the worst cells"
    assert "Classifiers" in text and "Separation powers" not in text, "a table without figures is left out"
    lone = {"e- 1-2": {"Geant4": comparison(1.0, 0.5), "model": comparison(1.1)}}
    assert "| model | 1 | 1.1000 ± 0.0100 (e- 1-2) |  |" in report.summary(lone, ["Geant4", "model", "absent"])


def test_what_differs_most_is_named() -> None:
    figures = {
        f"shape {name}": result(f"shape {name}", value) for name, value in (("core", 0.05), ("wander / mm", 0.3))
    }
    figures |= {"shape depth / layers": result("shape depth / layers", 0.03), "fpd": result("fpd", 9.0)}
    seen = (
        Importance("E_layer 3 / MeV", 0.02, 0.001),
        Importance("core", 0.04, 0.002),
        Importance("start", 0.02, 0.01),
    )
    model = replace(comparison(1.0), figures=figures, seen=seen)
    text = report.markdown({"e- 1-2": {"model": model}}, ["model"], [], {})
    assert "| e- 1-2 | model | wander 0.300 (0.000), core 0.050 (0.000) | core 0.040, E_layer 3 0.020 |" in text


def test_pictures_of_samples(tmp_path: Path) -> None:
    samples = {
        name: toy_showers(60, BINNING, np.random.default_rng(seed), energy=(1e3, 1e5))
        for seed, name in enumerate(("Geant4", "model"))
    }
    pictures = report.draw(samples, BINNING, 5e-4)
    titles = [picture.title for picture in pictures]
    for title in ("Longitudinal profile", "Voxel spectrum", "E_layer 10 / MeV", "clusters", "model, layer and radius"):
        assert title in titles
    written = report.write_pictures(pictures, tmp_path / "images", "toy")
    assert len(written) == len(titles) and all(path.stat().st_size > 1000 for path in written)
    assert tmp_path / "images" / "toy-voxel-spectrum.svg" in written


def test_voxel_spectrum_counts_voxels_a_shower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the spectrum sums to the voxels above the threshold, with the error of a mean over showers."""
    showers = toy_showers(50, BINNING, np.random.default_rng(1), energy=(1e4, 1e5))
    drawn: dict[str, Histogram] = {}

    def panel(title: str, axis: object, histograms: dict[str, Histogram], *args: object, **more: object) -> Picture:
        drawn.update(histograms)
        return Picture(title, "", "", b"", "image/png")

    monkeypatch.setattr(report, "panel", panel)
    sample = showers_sample(showers, BINNING)
    assert report.voxel_spectrum({"real": sample, "twice": replace(sample)}, 5e-4).title == "Voxel spectrum"
    counts = (showers.voxels >= 5e-4).sum(axis=1)
    top = (showers.voxels == showers.voxels.max()).sum() / len(showers)  # the largest may lie on the last edge
    assert drawn["real"].value.sum() == pytest.approx(counts.mean(), abs=1.01 * top)
    assert 0 < drawn["real"].error.max() < counts.std()
