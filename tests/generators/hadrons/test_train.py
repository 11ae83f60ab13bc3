"""Training of a model of primary hadrons from a config: card and weights that load, resume, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastsim
from fastsim.errors import FastsimError
from fastsim.event import Partons
from fastsim.registry import load_for_run
from generators.hadrons.data import DataConfig, read_configs, shard
from generators.hadrons.latent import NUM_CONDITION
from generators.hadrons.tree.context import NUM_CONTEXT
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tree.source import TreeSource
from tests.helpers.partons import spread

SHORT = {"num_steps": 3, "warmup": 1, "validate_every": 3, "checkpoint_every": 3, "log_every": 1}
CONFIG: dict[str, Any] = {
    "name": "tiny",
    "kind": "primary-tree",
    "pt_min": 5,
    "pt_max": 100,
    "data": {"seed": 1, "num_events": 60, "shard_events": 60, "pt_max": 100.0},
    "latent": {"batch_size": 16, "network": {"count_width": 8, "flow_width": 8, "num_bins": 4}, "loop": SHORT},
    "tree": {
        "batch_size": 64,
        "num_validation": 20,
        "network": {"width": 16, "num_blocks": 1, "head_width": 8, "num_bins": 16, "num_components": 2},
        "loop": SHORT,
    },
}


FLOW = {
    **{key: value for key, value in CONFIG.items() if key not in ("kind", "tree")},
    "kind": "primary-flow",
    "flow": {
        "batch_size": 16,
        "num_validation": 20,
        "num_validated": 10,
        "flow": {
            "num_inference_steps": 4,
            "network": {"width": 16, "heads": 2, "context_width": 16, "blocks": ["attention"], "pair_features": 4},
        },
        "loop": SHORT,
    },
}


def written(path: Path, *, base: dict[str, Any] = CONFIG, **changes: Any) -> Path:
    path.write_text(json.dumps({**base, **changes}))
    return path


def test_a_config_becomes_a_model(tmp_path: Path) -> None:
    config = written(tmp_path / "tiny.json")
    card = fastsim.train(config, tmp_path / "run")
    model = fastsim.load_model(card)
    sets = model.sample(spread([1, 5, 21], [20.0, 40.0, 60.0]), rng=1)
    assert (sets.counts > 0).all() and sets.history is not None
    # trained again, the checkpoints give the same weights
    assert fastsim.load_model(fastsim.train(config, tmp_path / "run")).sha256 == model.sha256
    other = written(tmp_path / "other.json", name="other", latent=str(card))
    fastsim.load_model(fastsim.train(other, tmp_path / "other"))


def test_a_diffusion_model_takes_the_latent_of_a_tree(tmp_path: Path) -> None:
    extras = {"init": "hadron-tree", "batch_size": 16, "loop": SHORT}
    config = written(tmp_path / "tiny.json", base=FLOW, latent=extras)
    card = fastsim.train(config, tmp_path / "run")
    model, tree = fastsim.load_model(card), fastsim.load_model("hadron-tree")
    partons = spread([1, 5, 21], [20.0, 40.0, 60.0])
    sets = model.sample(partons, rng=1)
    assert (sets.counts > 0).all() and np.isfinite(sets.p4).all()
    # counts and total four-momenta are those of the tree model
    ours, theirs = (m.draw_latent(partons, np.random.default_rng(1)) for m in (model, tree))
    np.testing.assert_array_equal(ours.counts, theirs.counts)
    np.testing.assert_array_equal(ours.total, theirs.total)
    assert ours.extras.shape == (3, 5)
    # a model of the kind has all of the latent: nothing is trained
    other = written(tmp_path / "other.json", base=FLOW, name="other", latent=str(card))
    fastsim.load_model(fastsim.train(other, tmp_path / "other"))
    assert not (tmp_path / "other" / "latent").exists()


FURTHER: dict[str, Any] = {
    "name": "further",
    "kind": "primary-tree",
    "init": "hadron-tree-small",
    "data": [
        {"seed": 1, "num_events": 40, "shard_events": 40, "pt_max": 100.0},
        {"seed": 2, "num_events": 60, "shard_events": 60, "pt_max": 100.0, "tunes": ["alphaS", "aLund"]},
    ],
    "latent": {"batch_size": 16, "loop": SHORT},
    "tree": {"batch_size": 64, "num_validation": 20, "loop": SHORT},
}


@pytest.mark.parametrize(("left", "trained"), [("counts", "total_flow"), ("totals", "count_model")])
def test_a_part_of_the_latent_is_trained_further_alone(left: str, trained: str, tmp_path: Path) -> None:
    config = {**FURTHER, "data": FURTHER["data"][0], "latent": {**FURTHER["latent"], left: False}}
    del config["tree"]
    card = fastsim.train(written(tmp_path / "part.json", base=config), tmp_path / "run")
    before, after = (fastsim.load_model(name) for name in ("hadron-tree-small", str(card)))
    assert isinstance(before, PrimaryTree) and isinstance(after, PrimaryTree)
    now = after.tensors()
    changed = {k.split(".")[1] for k, v in before.tensors().items() if not torch.equal(v, now[k])}
    assert changed == {trained} | ({"context"} if trained == "total_flow" else set())


def test_numbers_of_tokens_are_trained_further_alone(tmp_path: Path) -> None:
    latent = {**FURTHER["latent"], "totals": False, "composition": False}
    config = {**FURTHER, "data": FURTHER["data"][0], "latent": latent}
    del config["tree"]
    card = fastsim.train(written(tmp_path / "size.json", base=config), tmp_path / "run")
    before, after = (fastsim.load_model(name) for name in ("hadron-tree-small", str(card)))
    assert isinstance(before, PrimaryTree) and isinstance(after, PrimaryTree)
    now = after.tensors()
    changed = {k for k, v in before.tensors().items() if not torch.equal(v, now[k])}
    assert changed and all(k.startswith("latent_model.count_model.size.") for k in changed)


def test_a_model_begins_with_another_and_learns_tunes(tmp_path: Path) -> None:
    card = fastsim.train(written(tmp_path / "further.json", base=FURTHER), tmp_path / "run")
    model, init = fastsim.load_model(card), fastsim.load_model("hadron-tree-small")
    assert isinstance(model, PrimaryTree) and isinstance(init, PrimaryTree) and model.card is not None
    assert model.tune_parameters == ("aLund", "alphaS")
    assert (model.domain.pt_min, model.domain.pt_max) == (init.domain.pt_min, init.domain.pt_max)
    assert model.card.training["config"]["init"] == "hadron-tree-small"
    # three steps have moved the weights a little, those of the tunes from zero; the bins are what they were
    torch.testing.assert_close(model.net.edges, init.net.edges)
    own, theirs = model.net.embed.weight, init.net.embed.weight
    torch.testing.assert_close(own[:, :NUM_CONTEXT], theirs[:, :NUM_CONTEXT], atol=0.01, rtol=0)
    of_tunes = own[:, NUM_CONTEXT : NUM_CONTEXT + 2].abs()
    assert 0 < of_tunes.max() < 0.01
    partons = spread([1, 5, 21], [20.0, 40.0, 60.0])
    sets = model.at("aLund=0.4").sample(partons, rng=1)
    assert (sets.counts > 0).all() and sets != model.sample(partons, rng=1)
    # once more from there, the particles alone
    onward = {key: value for key, value in FURTHER.items() if key != "latent"}
    changes = {"name": "onward", "init": str(card), "data": FURTHER["data"][1:]}
    again = fastsim.load_model(fastsim.train(written(tmp_path / "b.json", base=onward, **changes), tmp_path / "b"))
    assert isinstance(again, PrimaryTree) and again.tune_parameters == ("aLund", "alphaS")
    np.testing.assert_array_equal(
        again.draw_latent(partons, np.random.default_rng(1)).counts,
        model.draw_latent(partons, np.random.default_rng(1)).counts,
    )


def test_what_depends_on_tunes_learns_alone(tmp_path: Path) -> None:
    loop = {**SHORT, "learning_rate": 0.01}
    sections = {"latent": {**FURTHER["latent"], "loop": loop}, "tree": {**FURTHER["tree"], "loop": loop}}
    changes = {"init": "hadron-tree-tunes", "only_tunes": True, **sections}
    card = fastsim.train(written(tmp_path / "only.json", base=FURTHER, **changes), tmp_path / "run")
    model, init = fastsim.load_model(card), fastsim.load_model("hadron-tree-tunes")
    assert isinstance(model, PrimaryTree) and isinstance(init, PrimaryTree)
    before, after = init.tensors(), model.tensors()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    of_counts = {"first", "size.0.weight", "carrier.0.weight", "composition.0.weight"}
    of_counts |= {f"responses.{name}" for name in ("size", "carrier", "types")}
    own = {"net.embed.weight", "net.pair.trunk.0.weight", "latent_model.context.0.weight"}
    assert changed <= own | {f"latent_model.count_model.{name}" for name in of_counts}
    assert own < changed and "latent_model.count_model.first" in changed
    sets = shard(DataConfig(num_events=40, shard_events=40, pt_max=100.0), 0)
    sets = sets[np.flatnonzero(sets.counts > 1)]
    np.testing.assert_array_equal(model.log_density(sets), init.log_density(sets))
    moved = np.full(len(model.tune_parameters), 0.5)
    assert np.abs(model.log_density(sets, moved) - init.log_density(sets, moved)).max() > 1e-3
    for wrong, message in (
        ({"init": "hadron-tree-small", "data": FURTHER["data"][0]}, "only_tunes: further depends on no tune"),
        ({"tree": {**FURTHER["tree"], "loop": {**SHORT, "weight_decay": 0.1}}}, "weight_decay would change other"),
    ):
        with pytest.raises(FastsimError, match=message):
            fastsim.train(written(tmp_path / "w.json", base=FURTHER, **{**changes, **wrong}), tmp_path / "w")
    with pytest.raises(FastsimError, match="only_tunes: only of a model that 'init' names"):
        fastsim.train(written(tmp_path / "n.json", only_tunes=True), tmp_path / "n")


def test_what_acts_on_carriers_is_fitted_alone(tmp_path: Path) -> None:
    data = {"seed": 5, "num_events": 60, "shard_events": 60, "flavours": [5], "shares": [1.0], "tunes": ["rFactB"]}
    tree = {"num_validation": 20, "scoring": {"rounds": 1, "ridges": [10.0]}}
    changes = {"init": "hadron-tree", "only_tunes": True, "data": data, "tree": tree}
    base = {key: value for key, value in FURTHER.items() if key != "latent"}
    card = fastsim.train(written(tmp_path / "carriers.json", base=base, **changes), tmp_path / "run")
    model, source = fastsim.load_model(card, tune="rFactB=0.7"), load_for_run(card, tune="rFactB=0.7")
    assert isinstance(model, PrimaryTree) and isinstance(source, TreeSource)
    assert model.config()["splitting"]["of_carriers"]
    assert model.net.gates is not None and model.net.gates[:, 0].tolist() == [NUM_CONTEXT]
    given = Partons.from_pt_eta_phi(np.array([5, -5, 2]), np.full(3, 30.0), np.zeros(3), np.zeros(3))
    assert source.primary(given, rng=1) == model.primary(given, rng=1)
    with pytest.raises(FastsimError, match="scoring: the model has no parameters that act on carriers alone"):
        wrong = {**changes, "data": {**data, "tunes": ["aLund"]}}
        fastsim.train(written(tmp_path / "w.json", base=base, **wrong), tmp_path / "w")


def test_a_latent_is_fitted_at_once(tmp_path: Path) -> None:
    data = {"seed": 5, "num_events": 60, "shard_events": 60, "flavours": [5], "shares": [1.0], "tunes": ["rFactB"]}
    changes = {"init": "hadron-tree", "only_tunes": True, "data": data, "latent": {"scoring": {"rounds": 1}}}
    base = {key: value for key, value in FURTHER.items() if key != "tree"}
    card = fastsim.train(written(tmp_path / "latent.json", base=base, **changes), tmp_path / "run")
    model, source = fastsim.load_model(card, tune="rFactB=0.7"), load_for_run(card, tune="rFactB=0.7")
    assert isinstance(model, PrimaryTree) and isinstance(source, TreeSource)
    assert model.config()["latent"]["of_carriers"] and "of_carriers" not in model.config()["splitting"]
    assert model.latent_model.gates is not None and model.latent_model.gates.tolist() == [[NUM_CONDITION, 4]]
    given = Partons.from_pt_eta_phi(np.array([5, -5, 2]), np.full(3, 30.0), np.zeros(3), np.zeros(3))
    assert source.primary(given, rng=1) == model.primary(given, rng=1)
    with pytest.raises(FastsimError, match="scoring: the model depends on no tune"):
        wrong = {**changes, "only_tunes": False, "data": {**data, "tunes": []}}
        fastsim.train(written(tmp_path / "w.json", base=base, **wrong), tmp_path / "w")


def test_counts_answer_to_parameters_directly(tmp_path: Path) -> None:
    data = {"seed": 5, "num_events": 60, "shard_events": 60, "flavours": [5], "shares": [1.0], "tunes": ["rFactB"]}
    latent = {"responses": {"rounds": 1, "ridges": [1.0]}}
    changes = {"init": "hadron-tree", "only_tunes": True, "data": data, "latent": latent}
    base = {key: value for key, value in FURTHER.items() if key != "tree"}
    card = fastsim.train(written(tmp_path / "latent.json", base=base, **changes), tmp_path / "run")
    model, source = fastsim.load_model(card, tune="rFactB=0.7"), load_for_run(card, tune="rFactB=0.7")
    assert isinstance(model, PrimaryTree) and isinstance(source, TreeSource)
    assert model.config()["latent"]["responses"] and model.latent_model.count_model.responses is not None
    given = Partons.from_pt_eta_phi(np.array([5, -5, 2]), np.full(3, 30.0), np.zeros(3), np.zeros(3))
    assert source.primary(given, rng=1) == model.primary(given, rng=1)
    with pytest.raises(FastsimError, match="responses: the model depends on no tune"):
        wrong = {**changes, "only_tunes": False, "data": {**data, "tunes": []}}
        fastsim.train(written(tmp_path / "w.json", base=base, **wrong), tmp_path / "w")


def test_data_of_other_settings_of_pythia(tmp_path: Path) -> None:
    (tmp_path / "own.cmnd").write_text("! a comment\nStringZ:aLund = 0.5  ! another\n\nStringPT:sigma = 0.3\n")
    section = {"seed": 1, "num_events": 60, "shard_events": 60, "cmnd": "own.cmnd", "settings": ["StringZ:bLund = 1.1"]}
    (config,) = read_configs(section, tmp_path / "a.json")
    assert isinstance(config, DataConfig)
    assert config.settings == ("StringZ:aLund = 0.5", "StringPT:sigma = 0.3", "StringZ:bLund = 1.1")
    sample = shard(config, 0)
    monash = shard(replace(config, settings=()), 0)
    assert (sample.flavour == monash.flavour).all() and (sample.counts != monash.counts).any()
    assert config.key != replace(config, settings=()).key
    # the cache of 0.1.0 and of runs without settings is still theirs
    assert DataConfig(seed=1).key == "2de8c7e6e09df7bf"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"settings": ["StringZ:aLand = 0.5"]}, r"a.json: data: Pythia does not know 'StringZ:aLand'"),
        ({"settings": ["StringZ:aLund"]}, "data: 'StringZ:aLund' is no setting of Pythia: give 'KEY = VALUE'"),
        ({"cmnd": "no.cmnd"}, r"data: cmnd: .*no.cmnd: No such file"),
        ({"cmnd": "bad.cmnd"}, r"bad.cmnd:2: Pythia does not know 'StringZ:aLand'"),
        (
            {"settings": ["PartonShowers:Model=2"]},
            r"data: 'PartonShowers:Model=2': .* learn from files of whole events",
        ),
        ({"tunes": ["aLund", "alund"]}, "data: tunes: no parameter 'alund': there are aLund, bLund"),
        ([{}, {"tune": []}], r"data\[1\]: unknown key 'tune'"),
    ],
)
def test_wrong_data_is_named(tmp_path: Path, section: Any, message: str) -> None:
    (tmp_path / "bad.cmnd").write_text("StringZ:aLund = 0.5\nStringZ:aLand = 0.5\n")
    with pytest.raises(FastsimError, match=message):
        fastsim.train(written(tmp_path / "a.json", data=section), tmp_path / "run")


def test_a_wrong_beginning_is_named(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="init: hadron-diffusion is a primary-flow model, not primary-tree"):
        fastsim.train(written(tmp_path / "a.json", base=FURTHER, init="hadron-diffusion"), tmp_path / "run")
    with pytest.raises(FastsimError, match="unknown model 'hadron-bush'"):
        fastsim.train(written(tmp_path / "a.json", base=FURTHER, init="hadron-bush"), tmp_path / "run")
    with pytest.raises(FastsimError, match="tree: the network is that of hadron-tree-small: leave out 'network'"):
        tree = {**FURTHER["tree"], "network": {"width": 8}}
        fastsim.train(written(tmp_path / "a.json", base=FURTHER, tree=tree), tmp_path / "run")
    nothing = {**FURTHER, "latent": {**FURTHER["latent"], "counts": False, "totals": False}}
    with pytest.raises(FastsimError, match="latent: without 'counts' and 'totals' nothing is trained"):
        fastsim.train(written(tmp_path / "n.json", base=nothing), tmp_path / "run")
    neither = {key: value for key, value in FURTHER.items() if key not in ("latent", "tree")}
    with pytest.raises(FastsimError, match="missing keys 'latent' and 'tree': give what is trained further"):
        fastsim.train(written(tmp_path / "a.json", base=neither), tmp_path / "run")


def test_a_wrong_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="pb-si-cascade is a cascade model: it has no latent for this kind"):
        fastsim.train(written(tmp_path / "a.json", latent="pb-si-cascade"), tmp_path / "run")
    with pytest.raises(FastsimError, match="unknown"):
        fastsim.train(written(tmp_path / "b.json", branches={}), tmp_path / "run")
    wrong = {**CONFIG["tree"], "network": {"depth": 3}}
    with pytest.raises(FastsimError, match="depth"):
        fastsim.train(written(tmp_path / "c.json", tree=wrong), tmp_path / "run")
    with pytest.raises(FastsimError, match="leave out 'network'"):
        latent = {"init": "hadron-tree", "network": {"count_width": 8}}
        fastsim.train(written(tmp_path / "d.json", base=FLOW, latent=latent), tmp_path / "run")
