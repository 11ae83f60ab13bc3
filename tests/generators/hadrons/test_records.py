"""Training data from records: hemispheres as the gun has them, carriers, weights, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import fastsim
from fastsim.errors import FastsimError
from generators.hadrons.gun import token_sample
from generators.hadrons.likelihood import with_carriers
from generators.hadrons.records import load, read_config, with_drawn_carriers
from generators.hadrons.tokens import SPECIES, TokenSample
from generators.hadrons.tree.model import PrimaryTree

NUM = 20
"""Pairs of each flavour."""
EE = """<LesHouchesEvents version="3.0">
<init>
11 -11 45.6 45.6 0 0 0 0 3 1
1.0 0.1 1.0 1
</init>
{events}</LesHouchesEvents>
"""
EVENT = """<event>
4 1 1.0 91.2 0.0078 0.118
11 -1 0 0 0 0 0 0 {e} {e} 0 0 9
-11 -1 0 0 0 0 0 0 -{e} {e} 0 0 9
{pdg} 1 1 2 501 0 {x:.10e} {y:.10e} {z:.10e} {e} {m:.10e} 0 9
-{pdg} 1 1 2 0 501 {mx:.10e} {my:.10e} {mz:.10e} {e} {m:.10e} 0 9
</event>
"""


def written(path: Path, flavours: list[int], energy: float = 45.6) -> Path:
    """An LHE file of e+ e- -> q qbar in random directions."""
    rng, events = np.random.default_rng(1), []
    for pdg in flavours:
        m = {1: 0.33, 2: 0.33, 3: 0.5, 4: 1.5, 5: 4.8}[pdg]
        direction = rng.normal(size=3)
        x, y, z = np.sqrt(energy**2 - m**2) * direction / np.linalg.norm(direction)
        events.append(EVENT.format(pdg=pdg, m=m, e=energy, x=x, y=y, z=z, mx=-x, my=-y, mz=-z))
    path.write_text(EE.format(events="".join(events)))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same events of Pythia with and without their partons, and others."""
    folder = tmp_path_factory.mktemp("records")
    lhe = written(folder / "ee.lhe", [2, 5] * NUM)
    for name in ("ee.h5", "ee.hepmc3"):
        fastsim.reference(lhe, folder / name, seed=2)
    fastsim.reference(written(folder / "dd.lhe", [1] * 2 * NUM), folder / "dd.h5", seed=3)
    return folder


def read(folder: Path, section: object, model: PrimaryTree | None = None) -> TokenSample:
    assert isinstance(section, dict)
    return load(read_config(section, "a.json: data"), folder, model, "a.json: data")


def test_records_hold_the_hemispheres_of_pairs(folder: Path) -> None:
    sample = read(folder, {"files": ["ee.h5"]})
    assert len(sample) == 4 * NUM and sample.flavour.tolist() == [2, 2, 5, 5] * NUM
    np.testing.assert_allclose(sample.pt, np.repeat([45.5988, 45.3467], 2).tolist() * NUM, rtol=1e-4)
    assert (sample.p4[:, 3] > 0).all()
    # energies and momenta of both add up to those of the pair at rest
    total = np.stack([np.bincount(sample.index, sample.p4[:, k], len(sample)) for k in range(4)], -1).reshape(-1, 2, 4)
    np.testing.assert_allclose(total[..., 0].sum(1), 91.2, rtol=1e-3)
    np.testing.assert_allclose(total[:, 0, 3], total[:, 1, 3], rtol=2e-2, atol=0.14)
    # the two hemispheres have what a quark and its antiquark have
    assert (sample.content().reshape(-1, 2, 8).sum(1)[:, :5] % 1 == 0).all()
    beauty = sample.content()[sample.flavour == 5, 4]
    assert (beauty == 1).mean() > 0.85
    gun = token_sample(np.array([2, 5] * 200), np.full(400, 45.6), seed=3)
    for flavour in (2, 5):
        ours, theirs = (s.counts[s.flavour == flavour] for s in (sample, gun))
        assert abs(ours.mean() - theirs.mean()) < 5 * np.hypot(ours.std() / (2 * NUM) ** 0.5, theirs.std() / 400**0.5)


def test_partons_may_come_from_another_file(folder: Path) -> None:
    alone = read(folder, {"files": ["ee.h5"]})
    both = read(folder, {"files": [{"path": "ee.hepmc3", "partons": "ee.lhe"}]})
    assert (both.flavour == alone.flavour).all() and (both.counts == alone.counts).all()
    np.testing.assert_allclose(both.p4, alone.p4, rtol=1e-3, atol=1e-3)


def test_carriers_are_those_that_may_be(folder: Path) -> None:
    model = fastsim.load_model("hadron-tree")
    assert isinstance(model, PrimaryTree)
    sample = token_sample(np.array([2, 5] * 40), np.full(80, 45.6), seed=4)
    unknown = replace(sample, carrier=np.zeros(len(sample.species), dtype=bool))
    for judge, of_light in ((None, 0.35), (model, 0.45)):
        found = with_drawn_carriers(unknown, judge, np.random.default_rng(1))
        assert (np.bincount(found.index, found.carrier, len(found)) <= 1).all()
        same = found.carriers == sample.carriers
        # a beauty hadron is found; of light quarks several hadrons may hold it
        assert same[sample.flavour == 5].mean() > 0.9
        assert same[sample.flavour == 2].mean() > of_light
    # drawn as often as the model says
    one = unknown[:1]
    readings, _ = with_carriers(one)
    log_p = model.log_prob(readings)
    expected = np.exp(log_p - np.logaddexp.reduce(log_p))
    many = TokenSample.concatenate([one] * 200)
    drawn = with_drawn_carriers(many, model, np.random.default_rng(2)).carriers
    counts = np.bincount(np.where(drawn < 0, len(SPECIES), drawn), minlength=len(SPECIES) + 1) / 200
    of_species = np.bincount(np.where(readings.carriers < 0, len(SPECIES), readings.carriers), expected, len(counts))
    np.testing.assert_allclose(counts, of_species, atol=0.14)


def test_weights_are_shares(folder: Path) -> None:
    sample = read(folder, {"files": [{"path": "ee.h5", "weight": 3.0}, "dd.h5"], "seed": 5})
    assert abs(len(sample) - 8 * NUM) < NUM
    assert abs((sample.flavour != 1).mean() - 0.75) < 0.05
    # pairs stay pairs
    np.testing.assert_allclose(np.bincount(sample.index, sample.p4[:, 0]).reshape(-1, 2).sum(1), 91.2, rtol=1e-3)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"files": []}, "a.json: data: files: .*give a list of paths"),
        ({"files": ["no.h5"]}, "a.json: data: no.h5: "),
        ({"files": [{"path": "ee.h5", "wieght": 2}]}, r"files\[0\]: unknown key 'wieght'"),
        ({"files": [{"path": "ee.h5", "weight": -1}]}, r"files\[0\]: weight -1 is no positive number"),
        ({"files": ["ee.h5"], "tune": "aLund=9"}, "data: tune: aLund=9 is outside"),
        ({"files": ["ee.hepmc3"]}, r"ee.hepmc3: event 0 has 0 final partons: .*name the LHE file"),
        ({"files": [{"path": "ee.h5", "partons": "few.lhe"}]}, "few.lhe has fewer events than the record"),
        ({"files": [{"path": "ee.h5", "partons": "other.lhe"}]}, r"ee.h5: event 0: its hadrons have a four-momentum"),
        ({"files": ["final.h5"]}, "final.h5: the record holds final particles alone: write it with --record full"),
        ({"files": ["negative.h5"]}, "negative.h5: event 0: its weight is -1: give events of positive weights"),
    ],
)
def test_what_cannot_be_learned_from_is_named(folder: Path, section: object, message: str) -> None:
    if not (folder / "few.lhe").exists():
        written(folder / "few.lhe", [2, 5])
        written(folder / "other.lhe", [2, 5] * NUM, energy=55.6)
        fastsim.reference(folder / "few.lhe", folder / "final.h5", record="final")
        shutil.copy(folder / "ee.h5", folder / "negative.h5")
        with h5py.File(folder / "negative.h5", "r+") as file:
            file["event/weights"][:] = -1.0
    with pytest.raises(FastsimError, match=message):
        read(folder, section)


def test_a_model_learns_from_records(folder: Path) -> None:
    loop = {"num_steps": 2, "warmup": 1, "log_every": 1}
    config = {
        "name": "recorded",
        "kind": "primary-tree",
        "init": "hadron-tree-small",
        "data": [{"files": ["ee.h5"]}, {"files": ["ee.h5"], "tune": "aLund=0.5"}],
        "latent": {"batch_size": 16, "loop": loop},
        "tree": {"batch_size": 64, "num_validation": 20, "loop": loop},
    }
    (folder / "a.json").write_text(json.dumps(config))
    model = fastsim.load_model(fastsim.train(folder / "a.json", folder / "run"))
    assert isinstance(model, PrimaryTree) and model.tune_parameters == ("aLund",)
    assert model.card is not None and model.card.training["sets"] == 8 * NUM
    assert len(model.card.training["files"]["ee.h5"]) == 64
