"""The validation run: its test partons, its cache, and its report, with a toy in place of Pythia."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.validation import hadrons as validate
from fastsim.errors import FastsimError
from fastsim.event import ParticleSet, Partons
from fastsim.event.kinematics import pt
from metrics import compare
from tests.helpers.jets import toy_sets


class Toy:
    """Sets that have nothing to do with the partons' directions; counts its calls."""

    calls = 0

    def sample(self, partons: Partons, *, rng: np.random.Generator) -> ParticleSet:
        self.calls += 1
        return toy_sets(len(partons), 5.0, rng)[0]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "BLOCK", 200)


@pytest.mark.parametrize("cell", ["light-20-60", "c-60-200", "b-200-600", "g-600-2000"])
def test_partons_fill_their_cell(cell: str) -> None:
    partons = validate.test_partons(cell, "A", 0)
    flavours, lo, hi = validate.CELLS[cell]
    assert set(np.abs(partons.pdg_id)) == set(flavours)
    assert np.all((pt(partons.p4) > lo) & (pt(partons.p4) < hi))
    assert (partons.pdg_id < 0).any() == (cell[0] != "g")


def test_every_block_has_its_own_partons_and_always_the_same() -> None:
    keys = [(c, s, b) for c in ("g-20-60", "g-60-200") for s in "AB" for b in (0, 1)]
    drawn = [validate.test_partons(*key).p4[0, 0] / validate.CELLS[key[0]][1] for key in keys]
    assert len(set(drawn)) == len(keys)
    np.testing.assert_array_equal(validate.test_partons(*keys[0]).p4, validate.test_partons(*keys[0]).p4)


def test_blocks_on_disk_are_reused_and_extended(tmp_path: Path) -> None:
    toy = Toy()
    first = validate.sample_features(toy, "toy", "g-20-60", "A", 400, tmp_path, keep_sets=True)
    assert toy.calls == 2
    longer = validate.sample_features(toy, "toy", "g-20-60", "A", 600, tmp_path)
    assert toy.calls == 3
    np.testing.assert_array_equal(longer.efps[:400], first.efps)
    # features made again from the sets kept in single precision
    (tmp_path / "toy" / "g-20-60-A-0.npz").unlink()
    again = validate.sample_features(toy, "toy", "g-20-60", "A", 400, tmp_path)
    assert toy.calls == 3
    np.testing.assert_allclose(again.efps, first.efps, rtol=1e-4, atol=1e-9)


def test_report_needs_results_and_writes_document_and_summary(tmp_path: Path) -> None:
    cell = "g-20-60"
    with pytest.raises(FastsimError, match=r"run 'python -m bench\.validation\.hadrons run' first"):
        validate.write_report([cell], [], 600, tmp_path, tmp_path / "docs", [], {})
    sets = {s: validate.sample_features(Toy(), "pythia", cell, s, 600, tmp_path) for s in "AB"}
    result = compare(sets["A"], sets["B"])
    path = validate.result_path(tmp_path, "pythia", cell, 600)
    path.parent.mkdir()
    path.write_text(json.dumps(result.to_dict()))
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "models.md").write_text("before\n<!-- validation -->\nold\n<!-- /validation -->\nafter\n")
    validate.write_report([cell], [], 600, tmp_path, docs, [], {})
    assert f"| {cell} |" in (docs / "validation.md").read_text()
    summary = (docs / "models.md").read_text()
    assert "| Pythia | 1 |" in summary
    assert "old" not in summary
    assert summary.startswith("before") and summary.endswith("after\n")
