"""``fastsim reweight`` and ``fastsim tune``: closure on a model that is sampled from itself, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyhepmc
import pytest

import fastsim
from bench.fine_tuning import write_pairs
from fastsim.cli import main
from fastsim.errors import FastsimError
from fastsim.event import HardEvents
from generators.hadrons.step import CARRIER
from generators.hadrons.tree.model import PrimaryTree
from metrics.hadrons.tables import ALEPH, PDG
from tests.helpers.tunes import tilted
from tests.metrics.hadrons.test_tables import write

GUN = "flavour=u,b,g pt=20:60 num=500"
OTHER = "aLund=0.76 alphaS=0.1385"


@pytest.fixture(scope="module")
def model() -> PrimaryTree:
    return tilted(["aLund", "alphaS"], size=0.1)


@pytest.fixture(scope="module")
def files(model: PrimaryTree, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sets of a gun at Monash, and at another tune, with seeds of their own."""
    folder = tmp_path_factory.mktemp("tunes")
    found = {"monash": folder / "monash.h5", "other": folder / "other.h5"}
    fastsim.generate(GUN, found["monash"], model=model, seed=1)
    fastsim.generate(GUN, found["other"], model=model.at(OTHER), seed=2)
    return found


@pytest.fixture(scope="module")
def card(model: PrimaryTree, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model.save(tmp_path_factory.mktemp("card"), version="1", training={}))


def multiplicities(path: Path) -> np.ndarray:  # type: ignore[type-arg]
    events = fastsim.read(path)
    assert isinstance(events, HardEvents) and events.particles is not None
    return events.particles.counts.astype(float)


def test_reweighted_means_are_those_of_a_run_at_the_other_tune(
    files: dict[str, Path], card: str, tmp_path: Path
) -> None:
    out = tmp_path / "varied.h5"
    args = ["reweight", str(files["monash"]), "-o", str(out), "--to", OTHER, "--to", "aLund=0.68", "--model", card]
    assert main(args) == 0
    events = fastsim.read(out)
    assert isinstance(events, HardEvents)
    np.testing.assert_allclose(events.weights[:, [0, 2]], 1.0, atol=1e-3)  # nominal, and the same tune
    w, n = events.weights[:, 1], multiplicities(out)
    assert w.std() > 0.1
    direct = multiplicities(files["other"])
    value = np.average(n, weights=w)
    error = np.sqrt(np.sum(w**2 * (n - value) ** 2)) / w.sum()
    assert abs(value - direct.mean()) < 4 * np.hypot(error, direct.std() / np.sqrt(len(direct)))


def test_weights_have_names_in_hepmc_and_arrays_alone(
    files: dict[str, Path], model: PrimaryTree, tmp_path: Path
) -> None:
    made = fastsim.reweight(files["monash"], tmp_path / "a.hepmc3", to=[OTHER], model=model, num_events=50)
    with pyhepmc.open(tmp_path / "a.hepmc3") as file:
        events = list(file)
    assert events[0].weight_names == ["nominal", "aLund=0.76_alphaS=0.1385"]
    np.testing.assert_allclose([event.weights[1] for event in events], made.weights[:, 0])
    again = fastsim.reweight(files["monash"], tmp_path / "a.npz", to=OTHER, model=model, num_events=50)
    np.testing.assert_array_equal(again.weights, made.weights)
    arrays = np.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(arrays["weights"], made.weights)
    assert arrays["names"].tolist() == ["aLund=0.76_alphaS=0.1385"] and arrays["tune"] == "Monash"
    fastsim.reweight(files["monash"], tmp_path / "a.csv", to=OTHER, model=model, num_events=50)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "number,aLund=0.76_alphaS=0.1385" and len(lines) == 51
    assert float(lines[3].split(",")[1]) == made.weights[2, 0]
    assert "effective sample" in str(made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "aLund=3"}, "aLund=3 is outside 0.3 to 1.1"),
        ({"to": "aLond=0.5"}, "no parameter 'aLond'"),
        ({"to": "bLund=1.0"}, "does not know bLund"),
        ({"to": []}, "to which tune"),
        ({"to": OTHER, "tune": "aLund=0.7"}, "its events are of the tune Monash, not aLund=0.7"),
        ({"to": "aLund=1.1 alphaS=0.1465", "min_ess": 0.9}, "leave .* effective events of 500"),
        ({"to": OTHER, "min_ess": 2.0}, "a share of the events"),
        ({"to": OTHER, "model": "hadron-tree"}, "no density at other tunes"),
        ({"to": OTHER, "output": "a.txt"}, "ending names no format"),
    ],
)
def test_bad_weights_are_refused(
    files: dict[str, Path], model: PrimaryTree, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    options = {"model": model, "output": tmp_path / "out.npz", **options}
    with pytest.raises(FastsimError, match=message):
        fastsim.reweight(files["monash"], **options)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_records_without_what_is_needed_are_refused(model: PrimaryTree, tmp_path: Path) -> None:
    final = tmp_path / "final.h5"
    fastsim.generate("flavour=u pt=30 num=5", final, model=model, record="final")
    with pytest.raises(FastsimError, match=r"final.h5: the record holds final particles alone"):
        fastsim.reweight(final, to=OTHER, model=model)
    text = tmp_path / "a.hepmc3"
    fastsim.generate("flavour=u pt=30 num=5", text, model=model)
    with pytest.raises(FastsimError, match=r"a.hepmc3: HepMC files are read without their partons: give the .h5 or"):
        fastsim.reweight(text, to=OTHER, tune="Monash", model=model)
    plain = tmp_path / "plain.h5"
    fastsim.generate("flavour=u pt=30 num=5", plain, model="hadron-tree-small")
    with pytest.raises(FastsimError, match="does not say which tune"):
        fastsim.reweight(plain, to=OTHER, model=model)


def test_hepmc_keeps_its_record_and_gets_the_weights_of_its_events(card: str, tmp_path: Path) -> None:
    """The partons of HepMC come from the LHE file; the record is that of the file, but for the weights."""
    lhe, text, out = tmp_path / "ee.lhe", tmp_path / "ee.hepmc3", tmp_path / "varied.hepmc3.gz"
    write_pairs(lhe, 40, 1)
    fastsim.generate(lhe, text, model=card, seed=1)
    fastsim.generate(lhe, tmp_path / "ee.h5", model=card, seed=1)
    near = "aLund=0.7 alphaS=0.137"
    args = ["reweight", str(text), "--partons", str(lhe), "-o", str(out), "--to", near, "--to", "aLund=0.66"]
    assert main([*args, "-n", "30", "--model", card]) == 0
    options: dict[str, Any] = {"to": [near, "aLund=0.66"], "tune": "Monash", "model": card, "num_events": 30}
    known = fastsim.read(tmp_path / "ee.h5", history=True)
    assert isinstance(known, HardEvents)
    bare = replace(known, hard_columns={k: v for k, v in known.hard_columns.items() if k != CARRIER})
    wanted = fastsim.reweight(bare, **options)
    assert wanted.weights.std() > 0.01
    # HepMC does not say which hadrons carry the quarks: they are drawn, where the other file has them
    recorded = fastsim.reweight(tmp_path / "ee.h5", **options)
    same = np.isclose(recorded.weights, wanted.weights, rtol=1e-4).all(axis=1)
    assert 0.2 < same.mean() < 1 and abs(recorded.weights.mean() / wanted.weights.mean() - 1) < 0.05
    with pyhepmc.open(text) as file, pyhepmc.open(out) as varied:
        before, after = list(file), list(varied)
    assert len(after) == 30
    assert after[0].weight_names == ["nominal", "aLund=0.7_alphaS=0.137", "aLund=0.66"]
    np.testing.assert_allclose([event.weights for event in after], np.c_[np.ones(30), wanted.weights], rtol=1e-6)
    for one, other in zip(before, after, strict=False):
        assert [p.pid for p in one.particles] == [p.pid for p in other.particles]
        assert len(one.vertices) == len(other.vertices)
        np.testing.assert_allclose(other.numpy.particles.e, one.numpy.particles.e, rtol=1e-14)
    # events that have weights get more
    again = tmp_path / "again.hepmc3"
    fastsim.reweight(out, again, to="aLund=0.69", model=card, partons=lhe)
    with pyhepmc.open(again) as file:
        assert next(iter(file)).weight_names == ["nominal", "aLund=0.7_alphaS=0.137", "aLund=0.66", "aLund=0.69"]


def test_partons_of_other_events_are_refused(card: str, tmp_path: Path) -> None:
    lhe, short, text = tmp_path / "ee.lhe", tmp_path / "short.lhe", tmp_path / "ee.hepmc3"
    write_pairs(lhe, 25, 1)
    fastsim.generate(lhe, text, model=card, seed=1)
    write_pairs(short, 10, 1)
    write_pairs(tmp_path / "other.lhe", 25, 2)
    options: dict[str, Any] = {"to": "aLund=0.7", "model": card}
    for partons, message in (
        (short, "has fewer events than"),
        (tmp_path / "other.lhe", "the hadrons fly elsewhere than the partons do"),
        (tmp_path / "none.lhe", "none.lhe: no such file"),
    ):
        out = tmp_path / "out.hepmc3"
        with pytest.raises(FastsimError, match=message):
            fastsim.reweight(text, out, partons=partons, **options)
        assert not out.exists() and len(list(tmp_path.glob(".*"))) == 0
    fastsim.generate(lhe, tmp_path / "ee.h5", model=card, seed=1)
    with pytest.raises(FastsimError, match="partons are given to HepMC files"):
        fastsim.reweight(tmp_path / "ee.h5", partons=lhe, **options)


def test_whole_collisions_are_refused(examples: Path, rest_library: Path, card: str, tmp_path: Path) -> None:
    whole, line = tmp_path / "whole.h5", r"whole.h5: its events are whole collisions .* give the events of --event hard"
    options: dict[str, Any] = {"event": "full", "rest": rest_library, "num_events": 2}
    fastsim.generate(examples / "pp_dijet.lhe.gz", whole, model=card, **options)
    with pytest.raises(FastsimError, match=line):
        fastsim.reweight(whole, tmp_path / "w.npz", to=OTHER, model=card)
    with pytest.raises(FastsimError, match=line):
        fastsim.tune({"parameters": {"aLund": 0.68}, "events": {"files": [str(whole)], "num": 2}}, model=card)
    assert not (tmp_path / "w.npz").exists()


def test_a_hidden_point_is_found_from_events(files: dict[str, Path], card: str, tmp_path: Path) -> None:
    text = f"""
model = "{card}"
[parameters]
aLund = 0.68
alphaS = 0.1365
[events]
files = ["{files["other"]}"]
"""
    (tmp_path / "fit.toml").write_text(text)
    assert main(["tune", str(tmp_path / "fit.toml"), "-o", str(tmp_path / "fit")]) == 0
    found = json.loads((tmp_path / "fit.json").read_text())
    pulls = (np.array(found["values"]) - [0.76, 0.1385]) / found["errors"]
    assert (np.abs(pulls) < 4).all()
    assert np.array(found["errors"])[1] < 0.002
    assert found["chi2"]["p"] > 1e-4 and found["chi2"]["after"] < found["chi2"]["before"]
    assert found["flags"] == []
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")


def description(**changes: Any) -> dict[str, Any]:
    return {"parameters": {"aLund": 0.68}, "events": {"files": ["none.h5"]}, **changes}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (description(parameters={"aLund": 2.0}), "aLund: the start 2 is outside 0.3 to 1.1"),
        (description(parameters={"aLond": 2.0}), "no parameter 'aLond'"),
        (description(parameters={"bLund": 1.0}), "does not know bLund"),
        (description(parameters={"aLund": {"low": 0.1}}), "0.1 to 1.1 is no part of 0.3 to 1.1"),
        (description(fixed={"alphaS": 0.2}), "alphaS=0.2 is outside"),
        (description(), "none.h5: no such file"),
    ],
)
def test_bad_fits_are_refused(model: PrimaryTree, given: dict[str, Any], message: str) -> None:
    with pytest.raises(FastsimError, match=message):
        fastsim.tune(given, model=model)


def test_too_few_events_are_refused(files: dict[str, Path], model: PrimaryTree) -> None:
    given = description(events={"files": [str(files["monash"])], "num": 50})
    with pytest.raises(FastsimError, match="50 events: a fit needs 100"):
        fastsim.tune(given, model=model)


def tables(path: Path, **rows: str) -> dict[str, Any]:
    """A fit of tables with these rows; the names are those of ALEPH's and the PDG's."""
    write(path, **rows)
    return {"files": [str(path)], "observables": [name.replace("__", "/") for name in rows], "num": 600}


MEAN = f"{ALEPH}__d19-x01-y01"
PIONS = f"{PDG}__d01-x01-y03"


def test_a_hidden_point_is_found_from_tables(tmp_path: Path) -> None:
    """Of the shipped model: what random weights do to these observables is no more than their noise."""
    from generators.decays import decay
    from generators.reference.annihilation import TAU0_MAX, quark_pairs
    from metrics.hadrons.tables import fill_tables, read_tables

    bins = "\n".join(f"{x + 0.02:.2f} 0.02 0.02 1.0 0.1 0.1" for x in np.arange(0, 0.28, 0.04))
    given = tables(tmp_path / "a.yoda", **{f"{ALEPH}__d03-x01-y01": bins, MEAN: "91.2 0.5 0.5 20 0.2 0.2"})
    rng, num, model = np.random.default_rng(5), 1500, fastsim.load_model("hadron-tree-tunes")
    particles = decay(model.at("alphaS=0.145").draw_pairs(quark_pairs(num, 5), rng), rng, tau0_max=TAU0_MAX)
    filled = [each.agreement for each in fill_tables(particles, read_tables(tmp_path / "a.yoda"))]
    rows = {}
    for name, each in zip((f"{ALEPH}__d03-x01-y01", MEAN), filled, strict=True):
        middle, half = 0.5 * (each.table.low + each.table.high), 0.5 * (each.table.high - each.table.low)
        columns = (middle, half, half, each.value, each.error, each.error)
        rows[name] = "\n".join(" ".join(f"{x:.8g}" for x in row) for row in zip(*columns, strict=True))
    write(tmp_path / "a.yoda", **rows)
    settings = {"parameters": {"alphaS": 0.128}, "tables": {**given, "num": num, "max_points": 5}}
    found = fastsim.tune(settings, model=model)
    assert abs(found.values[0] - 0.145) < 4 * found.errors[0]
    assert found.errors[0] < 0.003 and found.chi2["before"] > 50
    assert found.chi2["after"] < found.chi2["bins"] + 5 * np.sqrt(2 * found.chi2["bins"])
    assert "1 - thrust" in str(found)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {MEAN: "91.2 0.5 0.5 2000 20 20"},
            r"d19-x01-y01 .* sums to 2e\+03 over its bins, the model to .* other units",
        ),
        ({f"{ALEPH}__d09-x01-y01": "5 1 1 10 1 1\n7 1 1 1 1 1"}, "other units"),  # x_p in GeV
        ({f"{ALEPH}__d03-x01-y01": "0.1 0.1 0.1 5 1 1\n0.2 0.1 0.1 5 1 1"}, "its bins overlap"),
        ({f"{ALEPH}__d03-x01-y01": "0.1 0 0 5 1 1\n0.2 0 0 5 1 1"}, "bins without a width"),
        ({f"{ALEPH}__d99-x01-y01": "0.1 0 0 5 1 1"}, "no prediction of this table"),
        ({f"{PDG}__d01-x01-y01": "10 1 1 6 1 1"}, "no prediction of this table, or it is of another energy"),
        ({MEAN: "91.2 0.5 0.5 20 0 0"}, "has a bin without an error"),
    ],
)
def test_tables_of_another_kind_are_refused(
    model: PrimaryTree, tmp_path: Path, rows: dict[str, str], message: str
) -> None:
    given = tables(tmp_path / "a.yoda", **rows)
    with pytest.raises(FastsimError, match=message):
        fastsim.tune({"parameters": {"aLund": 0.68}, "tables": {**given, "num": 500}}, model=model)


def test_unknown_tables_bins_and_energies_are_refused(model: PrimaryTree, tmp_path: Path) -> None:
    given = tables(tmp_path / "a.yoda", **{MEAN: "91.2 0.5 0.5 20 1 1"})
    start = {"parameters": {"aLund": 0.68}}
    for changes, message in (
        ({"observables": [f"{ALEPH}/d18-x01-y01"]}, "is in none of the files"),
        ({"observables": [f"{MEAN.replace('__', '/')}@5:6"]}, "no bin is within 5:6"),
        ({"observables": [f"{MEAN.replace('__', '/')}@5"]}, "'5' is no range of bins"),
        ({"energy": 35.0}, "the energy of the fit is 35 GeV"),
        ({"files": [str(tmp_path / "b.yoda")]}, "cannot read"),
    ):
        with pytest.raises(FastsimError, match=message):
            fastsim.tune({**start, "tables": {**given, **changes}}, model=model)


def test_a_parameter_without_effect_is_flagged(tmp_path: Path) -> None:
    model = tilted(["aLund", "rFactB"], size=0.1, without_effect=["rFactB"])
    events = tmp_path / "light.h5"
    fastsim.generate("flavour=u pt=20:60 num=150", events, model=model, seed=3)
    found = fastsim.tune(
        {"parameters": {"aLund": 0.68, "rFactB": 0.9}, "events": {"files": [str(events)], "num": 150}}, model=model
    )
    assert found.values[1] == pytest.approx(0.9)
    assert np.isinf(found.errors[1]) and np.isfinite(found.errors[0])
    assert any("degenerate direction" in flag and "rFactB" in flag for flag in found.flags)
