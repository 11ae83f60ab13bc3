"""Fluctuations of showers in copper: heavy tails, cores and correlations of layers are told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.validation import copper_spread as spread
from bench.validation.copper import Fractions
from fastsim.detector.detector import load_detector
from fastsim.errors import FastsimError
from fastsim.shipped import data_folder
from tests.helpers.showers import store, toy_showers

DISTANCES = ("correlations", "of r > 2", "hottest of r > 2")
COLUMN = {name: place for place, name in enumerate(spread.HEAD)}


def muons(num: int, seed: int, *, tail: float = 0.08, core: float = 0.1, slope: float = 0.0) -> Fractions:
    """Draw showers of ten layers; ``tail`` of them show eight times as much, ``slope`` is how their depths differ."""
    rng = np.random.default_rng(seed)
    energy = np.exp(rng.uniform(np.log(10), np.log(200), num))
    x = np.exp(core * rng.standard_normal(num)) * np.where(rng.random(num) < tail, 8, 1) / energy
    each = np.exp(0.5 * rng.standard_normal((num, 10)) + slope * rng.standard_normal((num, 1)) * np.linspace(-1, 1, 10))
    layers = x[:, None] * each / each.sum(axis=1, keepdims=True)
    return Fractions(energy, layers, layers[:, :3])


def figure(text: str) -> tuple[float, float]:
    value, error = text.split(" ± ")
    return float(value), float(error)


def test_each_fault_is_found_in_its_own_column() -> None:
    real, first = {"mu-": muons(6000, 1)}, {"mu-": muons(3000, 2)}
    found = {}
    changes = {"same": {}, "tail": {"tail": 0.16}, "core": {"core": 0.2}, "layers": {"slope": 1.0}}
    for name, change in changes.items():
        (row,) = spread.rows(name, real, first, {"mu-": muons(3000, 3, **change)})
        assert row[:4] == ["mu-, mu+", "10-200", name, "3000"] and row[COLUMN["without deposit, %"]] == "0.0, 0.0"
        found[name] = {column: row[COLUMN[column]] for column in ("standard deviation", "core", *DISTANCES)}
        geant4, model = (figure(part) for part in row[COLUMN["r > 5, %"]].split(", "))
        assert geant4[0] == pytest.approx(8, abs=4 * geant4[1])
        assert model[0] == pytest.approx(16 if name == "tail" else 8, abs=4 * model[1])
    for name in found:
        width, core = (figure(found[name][column]) for column in ("standard deviation", "core"))
        assert width[0] == pytest.approx((0.16 * 0.84 / 0.08 / 0.92) ** 0.5 if name == "tail" else 1, rel=0.15)
        assert 0 < width[1] < 0.1
        if name != "tail":  # its 84th percentile lies between the two kinds of showers
            assert core[0] == pytest.approx(2 if name == "core" else 1, rel=0.1) and 0 < core[1] < 0.2
        for column in DISTANCES:
            value, error = figure(found[name][column])
            null = figure(found["same"][column])[0]
            assert (value > null + 4 * error) == (name == "layers"), (name, column)


def test_what_has_no_median_has_no_tail() -> None:
    real, half = muons(3000, 1), muons(1500, 2)
    low = [Fractions(s.energy / 200, np.where(s.energy[:, None] < 30, 0, s.layers), s.rings) for s in (real, half)]
    (row,) = (row for row in spread.rows("x", {"p": low[0]}, {"p": low[1]}, {"p": low[1]}) if row[1] == "0.1-1")
    empty = [float(part) for part in row[COLUMN["without deposit, %"]].split(", ")]
    assert empty[0] == empty[1] > 5 and row[COLUMN["r > 2, %"]] == "" and figure(row[COLUMN["core"]])[0] == 1
    assert spread.rows("x", {"p": low[0]}, {"p": low[1]}, {"p": muons(100, 4)}) == []


def test_the_command_writes_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    for path in (data_folder() / "models").glob("copper-towers.*"):
        shutil.copy(path, tmp_path / "models")
    card = tmp_path / "models" / "copper-towers.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "metrics": {}}))
    monkeypatch.setattr(spread, "data_folder", lambda: tmp_path)
    binning = load_detector("copper").binning("mu-")
    assert binning is not None
    showers = toy_showers(420, binning, np.random.default_rng(0), energy=(2e4, 1e5))
    settings = {"detector": {"name": "copper"}, "energy": [0.1, 200.0]}
    store(tmp_path / "mu.h5", showers, binning, seed=5, **settings)
    (tmp_path / "calorimeter.md").write_text("a\n<!-- copper-spread -->\nold\n<!-- /copper-spread -->\nb\n")
    spread.main([str(tmp_path / "mu.h5"), "--models", "copper-towers", "--docs", str(tmp_path)])
    figures = json.loads((tmp_path / "models" / "copper-towers.json").read_text())["metrics"]
    assert set(figures) == {f"{name}-off/mu--10-200" for name in ("response", "standard-deviation", "core")}
    assert figures["response-off/mu--10-200"]["value"] > 0.1 > figures["response-off/mu--10-200"]["null"]
    table = capsys.readouterr().out
    assert [line.split(" | ")[2] for line in table.splitlines()[2:]] == ["Geant4, copper-towers", "copper-towers"]
    text = (tmp_path / "calorimeter.md").read_text()
    assert table in text and "old" not in text and text.endswith("b\n")
    store(tmp_path / "seen.h5", showers, binning, seed=13001, **settings)
    with pytest.raises(FastsimError, match=r"both hold Geant4's showers of mu- with seed 13001"):
        spread.main([str(tmp_path / "seen.h5"), "--models", "copper-towers"])
