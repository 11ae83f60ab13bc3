"""``fastsim train`` on tiny configs: data, both stages, card and weights; resume; refusal of bad configs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import fastsim
from fastsim.errors import FastsimError
from fastsim.event import Partons
from generators.hadrons.train import train

LOOP = {"num_steps": 6, "warmup": 2, "checkpoint_every": 3, "log_every": 2, "validate_every": 3}
TREE: dict[str, Any] = {
    "name": "tiny-tree",
    "kind": "tree",
    "seed": 2,
    "data": {"seed": 5, "num_events": 60, "shard_events": 60, "pt_min": 20, "pt_max": 60},
    "latent": {"batch_size": 32, "network": {"count_width": 8, "flow_width": 16}, "loop": LOOP},
    "tree": {
        "batch_size": 64,
        "num_validation": 20,
        "network": {"width": 24, "num_blocks": 1, "head_width": 16, "num_bins": 24, "num_components": 3},
        "loop": LOOP,
    },
}


def write(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(json.dumps(config))
    return path


def test_a_tiny_tree_trains_resumes_and_generates(tmp_path: Path) -> None:
    config = write(tmp_path / "tiny.json", TREE)
    card = train(config, tmp_path / "run")
    log = (tmp_path / "run" / "particles" / "log.csv").read_text()
    assert "validation/w1" in log and "validation/nll" in log
    # all steps are done: a second call ends at once, with the same weights
    weights = card.with_suffix(".safetensors").read_bytes()
    assert train(config, tmp_path / "run") == card
    assert card.with_suffix(".safetensors").read_bytes() == weights
    model = fastsim.load_model(card)
    partons = Partons.from_pt_eta_phi(np.full(8, 21), np.full(8, 40.0), np.zeros(8), np.zeros(8))
    assert len(model.sample(partons, seed=1)) == 8


def test_a_latent_can_be_that_of_another_model_with_plain_layers_on_top(tmp_path: Path) -> None:
    network = {**TREE["tree"]["network"], "plain": True, "pair_width": 12}
    config = {**TREE, "latent": "hadron-tree", "tree": {**TREE["tree"], "network": network}}
    model = fastsim.load_model(train(write(tmp_path / "tiny.json", config), tmp_path / "run"))
    partons = Partons.from_pt_eta_phi(np.full(8, 21), np.full(8, 40.0), np.zeros(8), np.zeros(8))
    assert len(model.sample(partons, seed=1)) == 8
    own, other = model.latent(partons, seed=4), fastsim.load_model("hadron-tree").latent(partons, seed=4)
    assert (own.counts == other.counts).all() and (own.total == other.total).all()


def test_a_network_for_pairs_trains_by_itself_after_the_rest(tmp_path: Path) -> None:
    network = {**TREE["tree"]["network"], "pair_width": 12}
    config = {**TREE, "tree": {**TREE["tree"], "network": network, "pairs": LOOP}}
    path = write(tmp_path / "pairs.json", config)
    with_pairs = load_file(train(path, tmp_path / "pairs").with_suffix(".safetensors"))
    without = load_file(train(write(tmp_path / "tiny.json", TREE), tmp_path / "run").with_suffix(".safetensors"))
    assert set(without) < set(with_pairs)
    for name, value in without.items():  # it changes nothing of the rest
        np.testing.assert_array_equal(with_pairs[name], value, err_msg=name)
    assert (with_pairs["net.pair.previous.weight"] != 0).any()  # zero before it is trained
    # a run that was stopped between the two goes on to the same weights
    shutil.rmtree(tmp_path / "pairs" / "particles" / "pairs")
    resumed = load_file(train(path, tmp_path / "pairs").with_suffix(".safetensors"))
    assert all((resumed[name] == with_pairs[name]).all() for name in with_pairs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "oracle"}, "kind 'oracle': allowed are tree, diffusion"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"data": {"num_evnts": 3}}, "data: unknown key 'num_evnts'; known are .*num_events"),
        ({"tree": {"loop": {"steps": 3}}}, "tree.loop: unknown key 'steps'"),
        ({"latent": "no-such-model"}, "unknown model 'no-such-model'"),
        ({"latent": "hadron-diffusion"}, "hadron-diffusion is a diffusion model: a latent is taken from a tree"),
    ],
)
def test_bad_configs_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FastsimError, match=message):
        train(write(tmp_path / "bad.json", {**TREE, **change}), tmp_path / "run")


def test_a_config_that_is_no_json_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{\n "name": \n}')
    with pytest.raises(FastsimError, match=r"bad.json:3: not JSON"):
        train(path, tmp_path / "run")
