"""The validation run of showers: its cells, what it refuses, its cache and its report, with toys in place of Geant4."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.validation import showers as validate
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError
from fastsim.sources import cards
from fastsim.sources.cards import ModelCard
from fastsim.sources.domains import ShowerDomain
from generators.showers.data import initial_facts, trained_on
from generators.showers.library import ShowerLibrary
from generators.showers.stored import read_stored
from tests.helpers.showers import ToySource, electron_binning, store, toy_showers

BINNING = electron_binning(num_layers=4, num_r=3, num_alpha=8)


def write(path: Path, seed: int, num: int = 900, **settings: object) -> Path:
    showers = toy_showers(num, BINNING, np.random.default_rng(seed), energy=(1e3, 1e5))
    return store(path, showers, BINNING, seed=seed, **settings)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("truth")
    return {name: [write(folder / f"{name}.h5", seed)] for seed, name in enumerate(("real", "null", "library"))}


def options(folder: Path) -> argparse.Namespace:
    return argparse.Namespace(num=None, classifiers=[], epochs=1, network_energy=100.0, known=False, folder=folder)


def test_cells_hold_every_shower_once(files: dict[str, list[Path]]) -> None:
    truth = validate.read_truth(files["real"])[11]
    parts = [validate.part_of(truth, low, high) for _, low, high in validate.cells([11]).values()]
    assert sorted(np.concatenate([part.place for part in parts]).tolist()) == list(range(900))
    assert [len(validate.part_of(truth, low, high, 5)) for _, low, high in validate.cells([11]).values()] == [5] * 3
    energy = parts[1].incident / 1e3
    assert energy.min() >= 4.64 and energy.max() < 21.5
    truth.incident[0] = 1e5
    assert 0 in validate.part_of(truth, 21.5, 100.0).place


def test_showers_of_several_files_are_those_of_their_energies(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{seed}.h5", seed, 20) for seed in (5, 6)]
    truth = validate.read_truth(paths)[11]
    stored = [read_stored(path).showers for path in paths]
    assert truth.seeds == (5, 6) and len(truth) == 40
    rows = np.array([35, 3, 21])
    some = truth.part(rows)
    expected = np.concatenate([showers.voxels for showers in stored])[rows]
    assert np.array_equal(some.showers().voxels, expected)
    assert np.array_equal(some.incident, np.concatenate([showers.incident for showers in stored])[rows])
    assert some.identity() != truth.part(rows[::-1]).identity() == truth.part(rows[::-1]).identity()
    with pytest.raises(FastsimError, match=r"5\.h5, .*5\.h5: two have one seed"):
        validate.read_truth([*paths, paths[0]])


def test_numbers_of_showers_are_one_or_one_a_range() -> None:
    assert validate.showers_asked([7]) == (7, 7, 7) and validate.showers_asked([3, 2, 1]) == (3, 2, 1)
    assert validate.showers_asked(None, 9) == (9, 9, 9) and validate.showers_asked(None) == (None,) * 3
    for wrong in ([1, 2], [-1], [1, 2, 3, 4]):
        with pytest.raises(FastsimError, match="one number of showers a cell, or 3"):
            validate.showers_asked(wrong)
    assert validate.ranges([610003, 610001, 610002, 7, 9]) == "7, 9, 610001-610003"


class Carded(ToySource):
    """A source with a card."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card


def test_samples_that_share_showers_are_refused(files: dict[str, list[Path]], tmp_path: Path) -> None:
    real, null, library = (validate.runs_of(validate.read_truth(paths)) for paths in files.values())
    tests = {"real": real, "null": null}
    validate.refuse_shared(tests, {"library": library, "model": library})
    for others in ({"library": real}, {"library": library, "model": library | real}):
        with pytest.raises(FastsimError, match=r"'real' and '(library|model)' both hold Geant4's showers of e- with"):
            validate.refuse_shared(tests, others)
    with pytest.raises(FastsimError, match=r"'null' and 'real' both hold .* with seed 0"):
        validate.refuse_shared({"real": real, "null": real}, {})
    config = {"data": [{"particle": "e-", "num": 9, "seed": 4}, {"particle": "gamma", "num": 9, "seed": 5}]}
    domain = ShowerDomain(frozenset({11}), 1.0, 100.0)
    card = ModelCard("m", "cascade", "1", {"detector": "pb-si-ecal"}, domain, {"config": config})
    assert trained_on(card) == {(11, 4), (22, 5)} and trained_on(None) == set()
    data = [{"particle": "e-", "num": 9, "seed": 6, "energy": [1, 2]}, {"files": "a.h5"}]
    data.append({"particle": "gamma", "num": 9, "seed": 4, "model": "pb-si-cascade"})
    later = ModelCard(
        "pb-si-cascade", "cascade", "9", {}, domain, {"config": {"data": data}, "init": initial_facts(Carded(card))}
    )
    assert trained_on(later) == {(11, 4), (22, 5), (11, 6)}, "what it learns anew, and what it began with had learned"
    student = ModelCard("s", "shower-flow", "1", {}, domain, {"config": {}, "teacher": initial_facts(Carded(card))})
    assert trained_on(student) == trained_on(card)
    taught, teacher = (trained_on(cards.read(name)[0]) for name in ("pb-si-rings", "pb-si-cascade"))
    assert taught == teacher and (22, 1001) in teacher  # its own seeds are those of the teacher's showers
    with pytest.raises(FastsimError, match="two have one seed"):
        validate.read_truth([*files["real"], *files["real"]])
    made = write(tmp_path / "model.h5", 7, 5, model="cascade")
    with pytest.raises(FastsimError, match=r"model\.h5: made by cascade; give Geant4's in pb-si-ecal at theta 0"):
        validate.read_truth([made])
    tilted = write(tmp_path / "tilted.h5", 7, 5, theta=0.2)
    with pytest.raises(FastsimError, match=r"tilted\.h5: made by Geant4 in pb-si-ecal at theta 0\.2"):
        validate.read_truth([tilted])


class Counting(ShowerLibrary):
    """A library that keeps the energies it was asked for."""

    asked: list[float]

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        self.asked = [*getattr(self, "asked", []), *incidents.energy]
        return super().draw(incidents, rng)


def test_run_and_report(files: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truths = {name: validate.read_truth(paths) for name, paths in files.items()}
    library = Counting(files["library"])
    results, sizes = validate.run(truths, {"library-0": library}, options(tmp_path))
    assert list(results) == ["e- 1-4.64", "e- 4.64-21.5", "e- 21.5-100"] and min(sizes.values()) >= 240
    # every sample has the same number of showers, and the library the energies of sample B
    for cell, (_, low, high) in validate.cells([11]).items():
        assert {c.num for c in results[cell].values()} == {sizes[cell]}
        null = truths["null"][11]
        expected = validate.part_of(null, low, high, sizes[cell]).incident / 1e3
        assert set(expected) <= set(library.asked)
    assert len(library.asked) == sum(sizes.values())
    # once more: from disk
    again, _ = validate.run(truths, {"library-0": library}, options(tmp_path))
    assert again == results and len(library.asked) == sum(sizes.values())
    # an unfinished run: what has not been judged is left out
    known = argparse.Namespace(**{**vars(options(tmp_path)), "known": True, "classifiers": ["auc trees"]})
    some, _ = validate.run(truths, {"library-0": library, "library-1": library}, known)
    assert some == results and len(library.asked) == sum(sizes.values())
    # other truth is another result
    other = {**truths, "null": truths["library"]}
    assert validate.run(other, {}, options(tmp_path))[0]["e- 1-4.64"] != {"Geant4": results["e- 1-4.64"]["Geant4"]}

    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "calorimeter.md").write_text("a\n<!-- validation -->\nold\n<!-- /validation -->\nb\n")
    validate.write_report(results, sizes, truths, {"library-0": library}, docs)
    text = (docs / "validation-showers.md").read_text()
    assert "| e- 1-4.64 | library |" in text and "Seeds of Geant4's runs: real 0; null 1; library 2." in text
    assert f"{sizes['e- 1-4.64']:,} (e- 1-4.64 GeV)" in text and "0.5 keV" in text
    assert all((docs / part.split(")")[0]).is_file() for part in text.split("](")[1:] if "images/" in part)
    assert "| library | 3 |" in (docs / "calorimeter.md").read_text()
    figures = validate.card_figures(results, "library-0")
    null_value = results["e- 1-4.64"]["Geant4"].figures["separation E_layer"].value
    assert figures["separation-e_layer/e--1-4.64"].null == null_value


def test_small_cells_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truths = {
        name: validate.read_truth([write(tmp_path / f"{name}.h5", seed, 30)])
        for seed, name in enumerate(("real", "null"))
    }
    results, _ = validate.run(truths, {}, options(tmp_path))
    assert results == {} and "240 are needed: left out" in capsys.readouterr().err


def test_halves_hold_every_shower_once(files: dict[str, list[Path]]) -> None:
    whole = validate.read_truth(files["null"])[11]
    one, other = validate.halves(whole)
    both = np.concatenate([one.place, other.place])
    assert len(one) == len(other) == 450 and sorted(both.tolist()) == list(range(900))
    assert one.identity() != other.identity()


def test_truth_makes_showers_of_each_cell_and_goes_on(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(validate, "FILE", 2)
    asked = {"particles": ["gamma"], "samples": ["real"], "workers": 1, "geant4_data": shared / "geant4" / "em"}
    for num, made in (([3, 0, 0], 2), ([3, 1, 0], 1)):
        validate.make_truth(argparse.Namespace(**asked, num=num, folder=tmp_path))
        assert capsys.readouterr().err.count("Geant4: ") == made, "what is there is not made again"
    paths = validate.made(argparse.Namespace(**asked, folder=tmp_path), "real")
    truth = validate.read_truth(paths)[22]
    assert truth.seeds == (611000, 611001, 611100) and not validate.made(
        argparse.Namespace(**asked, folder=tmp_path), "null"
    )
    counts = [len(validate.part_of(truth, low, high)) for _, low, high in validate.cells([22]).values()]
    assert counts == [4, 2, 0]
    energies = [(1.0, 4.64), (4.64, 21.5)]
    assert [len(validate.pictured(truth, energies, num)) for num in (3, 1)] == [5, 2]
    too_many = argparse.Namespace(**asked, num=[201], folder=tmp_path)
    with pytest.raises(FastsimError, match="at most 200 showers a cell"):
        validate.make_truth(too_many)
    wrong = {**asked, "particles": ["pi+"]}
    with pytest.raises(FastsimError, match=r"no showers of pi\+: there are e-, gamma, e\+"):
        validate.make_truth(argparse.Namespace(**wrong, num=None, folder=tmp_path))
