"""Training of a model of primary hadrons from a config: card and weights that load, resume, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastsim
from fastsim.errors import FastsimError
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
    # a model of the kind has all of the latent: nothing of it is trained
    other = written(tmp_path / "other.json", base=FLOW, name="other", latent=str(card))
    fastsim.load_model(fastsim.train(other, tmp_path / "other"))
    assert not (tmp_path / "other" / "latent").exists()


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
