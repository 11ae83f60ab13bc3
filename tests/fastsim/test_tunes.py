"""Hadrons of a tune: from the model of tunes and from Pythia, by command and by function, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim.cli import main
from fastsim.errors import FastsimError
from fastsim.formats import hdf5
from generators.hadrons.tunes import PARAMETERS
from tests.helpers.partons import spread

TUNE = "aLund=0.4 alphaS=0.13"
GUN = "flavour=u pt=50:60 num=40"


def test_a_run_of_the_model_is_of_its_tune_and_says_so(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.h5" for name in ("command", "function", "monash")]
    words = ["--model", "hadron-tree-tunes", "--tune", TUNE, "--seed", "3"]
    assert main(["generate", "--gun", GUN, "-o", str(paths[0]), *words]) == 0
    model = fastsim.load_model("hadron-tree-tunes", tune={"aLund": 0.4, "alphaS": 0.13})
    fastsim.generate(GUN, paths[1], model=model, seed=3)
    fastsim.generate(GUN, paths[2], model="hadron-tree-tunes", seed=3)
    (_, command, facts), (_, function, _), (_, monash, others) = map(hdf5.read, paths)
    assert command == function and command != monash
    assert facts["model_tune"] == TUNE and others["model_tune"] == "Monash"


def test_pythia_is_of_the_tune_too(tmp_path: Path) -> None:
    path, monash = tmp_path / "reference.h5", tmp_path / "monash.h5"
    assert main(["reference", "--gun", GUN, "-o", str(path), "--tune", TUNE, "--seed", "3"]) == 0
    fastsim.reference(GUN, monash, seed=3)
    (_, sets, facts), (_, others, _) = hdf5.read(path), hdf5.read(monash)
    assert sets != others and facts["model_tune"] == TUNE
    assert str(fastsim.load_model("pythia", tune=TUNE).tune) == TUNE


def test_means_follow_pythias() -> None:
    """A far corner, where Monash is off by 8%."""
    partons = spread([2] * 3000, [45.6] * 3000)
    tune = "aLund=1.0 bLund=0.7 alphaS=0.145"
    real, monash = (fastsim.load_model("pythia", tune=t).primary(partons, rng=1).counts for t in (tune, None))
    generated = fastsim.load_model("hadron-tree-tunes", tune=tune).primary(partons, rng=2).counts
    error = np.hypot(real.std(), generated.std()) / 3000**0.5
    assert abs(generated.mean() - real.mean()) < 5 * error
    assert abs(monash.mean() - real.mean()) > 5 * error


def test_what_knows_no_tunes_refuses_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "sets.h5"
    assert main(["generate", "--gun", GUN, "-o", str(output), "--tune", TUNE]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "fastsim: model 'hadron-tree' is of one tune, that of its data: hadron-tree-tunes and pythia take others"
    )
    for text, message in (("aLund=7", "aLund=7 is outside 0.3 to 1.1"), ("a=7", "no parameter 'a': there are aLund")):
        assert main(["generate", "--gun", GUN, "-o", str(output), "--model", "hadron-tree-tunes", "--tune", text]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(FastsimError, match="a model of hadrons, its steps or a tune are given, but calorimeter takes"):
        fastsim.generate("x.h5", output, steps="calorimeter", tune=TUNE)
    assert not output.exists()


def test_the_documentation_has_all_parameters() -> None:
    text = (Path(fastsim.__file__).parents[1] / "docs" / "tunes.md").read_text(encoding="utf-8")
    for p in PARAMETERS:
        assert f"| {p.name} | {p.key} | {p.default:g} | {p.low:g} to {p.high:g} | {p.meaning} |" in text, p.name
