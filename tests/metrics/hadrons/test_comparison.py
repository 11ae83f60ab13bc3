"""The comparison of two samples: a null passes, a wrong sample does not; tables and plots."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.validation import hadron_document as report
from metrics import Comparison, Features, compare, features
from tests.helpers.jets import toy_sets

CELL = "light-200-600"


@pytest.fixture(scope="module")
def samples() -> dict[str, Features]:
    rng = np.random.default_rng(5)
    return {
        "real": features(*toy_sets(1000, 20.0, rng)),
        "pythia": features(*toy_sets(1000, 20.0, rng)),
        "wrong": features(*toy_sets(1000, 22.0, rng, width=0.35)),
    }


@pytest.fixture(scope="module")
def results(samples: dict[str, Features]) -> dict[str, Comparison]:
    return {name: compare(samples["real"], samples[name]) for name in ("pythia", "wrong")}


def test_the_null_is_compatible_with_no_difference(results: dict[str, Comparison]) -> None:
    null = results["pythia"]
    assert abs(null.figures["fpd"].value) < 3 * null.figures["fpd"].error
    assert abs(null.figures["auc"].value - 0.5) < 3.5 * null.figures["auc"].error
    assert len(null.species_outside()) <= 1
    assert abs(null.figures["auc_shapes"].sigmas) < 4
    content = [r for name, r in null.figures.items() if name.startswith(("content", "peak"))]
    assert len(content) > 20
    assert all(abs(r.sigmas) < 5 for r in content)
    assert null.flow_deviation().excess(0.02) < 0.05


def test_a_wrong_sample_is_found_out(results: dict[str, Comparison]) -> None:
    null, wrong = results["pythia"], results["wrong"]
    assert wrong.figures["auc"].value > 0.55 + null.figures["auc"].error
    for name in ("multiplicity", "girth", "eta of pi"):
        assert wrong.figures[f"w1 {name}"].value > 2 * null.figures[f"w1 {name}"].value
    assert wrong.species["all"].ratio == pytest.approx(1.1, abs=0.02)
    assert {"all", "charged", "22"} <= set(wrong.species_outside())
    assert wrong.flow_deviation().excess(0.02) > 0.02


def test_json_round_trip(results: dict[str, Comparison]) -> None:
    text = json.dumps(results["wrong"].to_dict(), allow_nan=False)
    assert Comparison.from_dict(json.loads(text)) == results["wrong"]


def test_different_truncations_do_not_compare(samples: dict[str, Features]) -> None:
    with pytest.raises(ValueError, match="leading particles"):
        compare(samples["real"], replace(samples["wrong"], max_particles=30))


def test_document_has_a_row_for_each_cell_and_states_the_null(results: dict[str, Comparison]) -> None:
    text = report.markdown({CELL: results}, ["pythia", "wrong"], [Path("images/a.png")])
    assert text.count(f"| {CELL} |") == 5 + 2 * 5
    assert "| 0.02-0.05 |" in text
    assert "| cell | Pythia | wrong |" in text
    assert "leading 50 particles" in text
    assert "![a](images/a.png)" in text
    value = results["wrong"].figures["auc"]
    assert f"{value.value:.3f} ± {value.error:.3f}" in text


def test_plots_are_written(tmp_path: Path, samples: dict[str, Features], results: dict[str, Comparison]) -> None:
    report.plot_heat_map(tmp_path / "map.png", {CELL: results}, ["pythia", "wrong"])
    others = {k: samples[k] for k in ("pythia", "wrong")}
    report.plot_cell(tmp_path / "cell.png", CELL, samples["real"], others)
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2
