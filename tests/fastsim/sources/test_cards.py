"""Model cards: round trip, refusal of what does not fit, and verified weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim import registry
from fastsim.errors import WeightsError
from fastsim.registry import load_model, load_showers
from fastsim.sources import cards
from fastsim.sources.cards import Figure, ModelCard
from fastsim.sources.domains import Domain, ShowerDomain

CARD = ModelCard(
    name="tiny",
    kind="tree",
    version="1",
    config={"width": 8, "layers": [1, 2]},
    domain=Domain(frozenset({1, -1, 21}), 20.0, 2000.0),
    training={"command": "fastsim train tiny.json", "seed": 1},
    metrics={"auc": Figure(0.55, 0.01, 0.5, 0.01)},
)
TENSORS: dict[str, NDArray[Any]] = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bias": np.zeros(3, np.float64),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return cards.save(CARD, TENSORS, tmp_path)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_json_round_trip() -> None:
    card = replace(CARD, sha256="00", weights="tiny.safetensors")
    assert ModelCard.from_json(card.to_json()) == card


def test_a_card_of_showers_has_a_detector_and_their_domain(tmp_path: Path) -> None:
    domain = ShowerDomain(frozenset({11, 22}), 1.0, 100.0)
    card = replace(CARD, name="showers", kind="cascade", domain=domain, config={"detector": "pb-si-ecal"})
    path = cards.save(card, TENSORS, tmp_path)
    back, _ = cards.load(path)
    assert back.domain == domain and back.detector == "pb-si-ecal" and CARD.detector is None
    assert json.loads(path.read_text())["domain"]["particles"] == [11, 22]
    edit(path, config={"width": 3})
    with pytest.raises(WeightsError, match="config: missing key 'detector'"):
        cards.load(path)
    edit(path, config={"detector": "pb-si-ecal"}, kind="primary-tree")
    with pytest.raises(WeightsError, match="kind 'primary-tree' makes no showers, but the domain is one of showers"):
        load_showers(path)


def test_shipped_models_by_kind() -> None:
    both = cards.available(cards.HADRONS) + cards.available(cards.SHOWERS)
    assert sorted(both) == cards.available() and cards.DEFAULT_MODEL in cards.available(cards.HADRONS)


def test_save_then_load_gives_card_and_weights(saved: Path) -> None:
    from safetensors.numpy import load_file

    card, weights = cards.load(saved)
    assert replace(card, sha256="", weights="") == CARD
    assert weights == saved.with_suffix(".safetensors")
    stored = load_file(weights)
    assert stored.keys() == TENSORS.keys()
    assert all(np.array_equal(stored[key], value) for key, value in TENSORS.items())
    assert sorted(p.name for p in saved.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_torch_and_numpy_write_the_same_weights(saved: Path, tmp_path: Path) -> None:
    import torch

    other = cards.save(CARD, {key: torch.tensor(value) for key, value in TENSORS.items()}, tmp_path / "torch")
    assert cards.load(other)[0] == cards.load(saved)[0]


def test_altered_weights_are_refused(saved: Path) -> None:
    weights = saved.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match=r"tiny\.safetensors: weights were altered: SHA-256 is [0-9a-f]{12}"):
        cards.load(saved)


def test_missing_weights_are_named(saved: Path) -> None:
    saved.with_suffix(".safetensors").unlink()
    with pytest.raises(WeightsError, match=r"tiny\.safetensors: weights of model 'tiny' are missing"):
        cards.load(saved)


def test_weights_outside_the_folder_are_refused(saved: Path) -> None:
    edit(saved, weights="../tiny.safetensors")
    with pytest.raises(WeightsError, match="beside the card"):
        cards.load(saved)


def test_pickled_weights_are_refused(saved: Path) -> None:
    edit(saved, weights="tiny.pt")
    with pytest.raises(WeightsError, match=r"must be a \.safetensors file"):
        cards.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "unknown key 'colour': allowed are config, domain"),
        (
            {"kind": "gan"},
            "unknown kind 'gan': there are cascade, primary-flow, primary-tree, shower-flow; install the package",
        ),
        ({"kind": "diffusion"}, "is of fastsim 0.1, whose models made final particles: train the model anew"),
        ({"kind": "cascade"}, "kind 'cascade' makes no hadrons, but the domain is one of hadrons"),
        ({"domain": {"flavours": [1], "pt_min": 1.0}}, "domain: missing key 'pt_max'"),
        ({"domain": {"particles": [11], "flavours": [1]}}, "domain: unknown key 'flavours': allowed are max_energy"),
        ({"domain": {"flavours": ["u"], "pt_min": 1.0, "pt_max": 2.0}}, "invalid literal"),
        ({"domain": [1, 2]}, "domain: expected an object, found list"),
        ({"metrics": {"auc": {"value": 0.5}}}, r"metrics\.auc: missing key 'error'"),
    ],
)
def test_malformed_cards_are_refused(saved: Path, changes: dict[str, object], message: str) -> None:
    edit(saved, **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value) and str(saved) in str(caught.value)


def test_text_that_is_not_json_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{\n"name": }')
    with pytest.raises(WeightsError, match=r"broken\.json:2: not a model card"):
        cards.load(path)


def test_unknown_model_lists_the_shipped_ones() -> None:
    with pytest.raises(WeightsError, match="unknown model 'nope': there are") as caught:
        cards.load("nope")
    assert all(name in str(caught.value) for name in cards.available())


def test_every_shipped_model_verifies_and_is_small() -> None:
    for name in cards.available():
        card, weights = cards.load(name)
        assert card.name == name
        assert weights.stat().st_size <= 4_000_000, f"{weights} is over 4 MB"
        assert card.training.get("command"), f"{name} does not say what made it"


def test_weights_and_folders_stand_for_the_card_beside_or_in_them(tmp_path: Path) -> None:
    folder = cards.read("hadron-tree")[1].parent
    assert cards.read(folder / "hadron-tree.safetensors")[0].name == "hadron-tree"
    with pytest.raises(WeightsError, match=r"several cards: give one of .*hadron-tree\.json"):
        cards.read(folder)
    for ending in (".json", ".safetensors"):
        shutil.copy(folder / f"hadron-tree{ending}", tmp_path)
    assert cards.load(tmp_path)[1] == tmp_path / "hadron-tree.safetensors"
    (tmp_path / "hadron-tree.json").unlink()
    with pytest.raises(WeightsError, match=r"the folder has no card"):
        cards.read(tmp_path)
    with pytest.raises(WeightsError, match=r"the card hadron-tree\.json is not beside them"):
        cards.read(tmp_path / "hadron-tree.safetensors")


def test_another_pythia_than_the_cards_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "_warned", set())
    monkeypatch.setattr(registry, "installed_version", lambda _: "8.399.1")
    for _ in range(2):
        registry.load_model("hadron-tree-small")
    assert [record.getMessage() for record in caplog.records] == [
        "hadron-tree-small learned from Pythia 8.317.2, and this is 8.399.1: its defaults may differ, and so what "
        "fastsim compares with"
    ]
