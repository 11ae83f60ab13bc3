"""Model cards: what a trained model is, where it holds, and how far its weights may be trusted.

A model is two files with one stem: ``NAME.json``, the card, and ``NAME.safetensors``, the weights. The card
carries the SHA-256 of the weights, and nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.errors import WeightsError
from fastsim.shipped import data_folder, sha256_of
from fastsim.sources.domains import Domain, ShowerDomain

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_MODEL = "hadron-tree"
"""The shipped model that validates best (docs/models.md)."""

HADRONS, SHOWERS = "hadrons", "showers"
"""The results of models, as cards and :func:`available` name them."""


@dataclass(frozen=True)
class Figure:
    """A validation figure with its error; ``null`` is the same figure for two samples of the reference."""

    value: float
    error: float
    null: float
    null_error: float


@dataclass(frozen=True)
class ModelCard:
    """All that is known of a trained model, apart from its weights.

    Attributes:
        name: its name on the command line, and the stem of its files.
        kind: the sort of model; :mod:`fastsim.registry` finds its class.
        version: version of the weights.
        config: network and sampler settings, as the model's class takes them; of a model of showers also "detector",
            the name of the detector that they are in.
        domain: the inputs that it was trained and validated on: the partons for a model of hadrons, the particles that
            hit the calorimeter for a model of showers. Others go to the reference.
        training: how it was made: command, data, seed, steps.
        metrics: validation figures by name.
        sha256: hex digest of the weights file.
        licence: SPDX name of the weights' licence.
        weights: name of the weights file, beside the card.
    """

    name: str
    kind: str
    version: str
    config: dict[str, Any]
    domain: Domain | ShowerDomain
    training: dict[str, Any]
    metrics: dict[str, Figure] = field(default_factory=dict)
    sha256: str = ""
    licence: str = "BSD-3-Clause"
    weights: str = ""

    @property
    def detector(self) -> str | None:
        """The detector that a model of showers is for; None for models of hadrons."""
        return str(self.config["detector"]) if self.makes == SHOWERS else None

    @property
    def makes(self) -> str:
        """What the model makes: "hadrons" or "showers"."""
        return SHOWERS if isinstance(self.domain, ShowerDomain) else HADRONS

    def to_json(self) -> str:
        """Return the card as JSON, with sorted keys so that equal cards are equal files."""
        values = asdict(self)
        # sets as sorted lists
        limits = {k: v for k, v in values["domain"].items() if v or k not in _OPTIONAL}
        values["domain"] = {k: sorted(v) if isinstance(v, frozenset) else v for k, v in limits.items()}
        return json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, place: str = "card") -> ModelCard:
        """Read a card; ``place`` names the file in messages.

        Raises:
            WeightsError: if the text is not JSON, or keys are unknown, missing or of the wrong kind.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise WeightsError(
                f"{place}:{error.lineno}: not a model card: {error.msg}; install the model again"
            ) from None
        _check_keys(values, cls, place)
        of_showers = isinstance(values["domain"], dict) and "particles" in values["domain"]
        _check_keys(values["domain"], ShowerDomain if of_showers else Domain, f"{place}: domain")
        config = values["config"]
        if of_showers and not (isinstance(config, dict) and isinstance(config.get("detector"), str)):
            raise WeightsError(f"{place}: config: missing key 'detector', the name of what the showers are in")
        for name, figure in values.get("metrics", {}).items():
            _check_keys(figure, Figure, f"{place}: metrics.{name}")
        try:
            values["domain"] = _shower_domain(values["domain"]) if of_showers else _parton_domain(values["domain"])
            values["metrics"] = {
                name: Figure(**{key: float(value) for key, value in figure.items()})
                for name, figure in values.get("metrics", {}).items()
            }
        except (TypeError, ValueError) as error:
            raise WeightsError(f"{place}: {error}; install the model again") from None
        return cls(**values)


_OPTIONAL = frozenset({"metrics", "licence", "scale_min", "ratio_min"})
"""Keys that a card, or its domain, need not have."""


def _parton_domain(values: Mapping[str, Any]) -> Domain:
    limits = {key: float(value) for key, value in values.items() if key != "flavours"}
    return Domain(frozenset(int(i) for i in values["flavours"]), **limits)


def _shower_domain(values: Mapping[str, Any]) -> ShowerDomain:
    limits = {key: float(values[key]) for key in ("min_energy", "max_energy", "max_theta")}
    return ShowerDomain(frozenset(int(i) for i in values["particles"]), **limits)


def _check_keys(values: object, owner: type, place: str) -> None:
    if not isinstance(values, dict):
        raise WeightsError(f"{place}: expected an object, found {type(values).__name__}")
    known = {f.name for f in fields(owner)}
    required = {"value", "error", "null", "null_error"} if owner is Figure else known - _OPTIONAL
    if unknown := sorted(set(values) - known):
        raise WeightsError(f"{place}: unknown key {unknown[0]!r}: allowed are {', '.join(sorted(known))}")
    if missing := sorted(required - set(values)):
        raise WeightsError(f"{place}: missing key {missing[0]!r}")


def available(makes: str | None = None) -> list[str]:
    """Return the names of the models that ship with the package, sorted.

    Args:
        makes: "hadrons" or "showers" for models that make these; None for all.
    """
    names = sorted(path.stem for path in (data_folder() / "models").glob("*.json"))
    return names if makes is None else [name for name in names if read(name)[0].makes == makes]


def read(name_or_path: str | os.PathLike[str]) -> tuple[ModelCard, Path]:
    """Return the card of a model, and that file's path; the weights are not looked at.

    Args:
        name_or_path: a shipped model's name, the path of a card or of the weights beside it, or a folder that has one
            card with its weights.

    Raises:
        WeightsError: if there is no such model, or its card is malformed.
    """
    text = os.fspath(name_or_path)
    path = data_folder() / "models" / f"{text}.json" if text in available() else _card_of(Path(text))
    if path.suffix != ".json" or not path.is_file():
        known = ", ".join((*available(), "pythia"))
        raise WeightsError(
            f"unknown model {text!r}: there are {known}; or give the path of a card (.json) or library (.h5)"
        )
    try:
        return ModelCard.from_json(path.read_text(encoding="utf-8"), str(path)), path
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from error


def _card_of(path: Path) -> Path:
    """Return the card that a path stands for: a card, the weights beside it, or a folder with one card in it.

    Raises:
        WeightsError: if a folder has no card or several, or weights have none.
    """
    if path.suffix == ".safetensors":
        card = path.with_suffix(".json")
        if not card.is_file():
            raise WeightsError(f"{path}: weights alone are no model: the card {card.name} is not beside them")
        return card
    if path.is_dir():
        found = sorted(card for card in path.glob("*.json") if card.with_suffix(".safetensors").is_file())
        if len(found) == 1:
            return found[0]
        what = f"several cards: give one of {', '.join(map(str, found))}" if found else "no card (.json) with weights"
        raise WeightsError(f"{path}: the folder has {what}")
    return path


def load(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> tuple[ModelCard, Path]:
    """Return the card of a model, and the path of its weights, verified by their SHA-256.

    Args:
        name_or_path: as :func:`read` takes it.

    Raises:
        WeightsError: if card or weights are missing, malformed or altered.
    """
    card, path = read(name_or_path)
    weights = path.parent / card.weights
    if Path(card.weights).name != card.weights or weights.suffix != ".safetensors":
        raise WeightsError(f"{path}: weights must be a .safetensors file beside the card, not {card.weights!r}")
    if not weights.is_file():
        raise WeightsError(f"{weights}: weights of model {card.name!r} are missing; install the model again")
    sha256 = sha256_of(weights)
    if sha256 != card.sha256:
        raise WeightsError(
            f"{weights}: weights were altered: SHA-256 is {sha256[:12]}..., "
            f"the card says {card.sha256[:12]}...; install the model again"
        )
    return card, weights


def load_named(name: str, config: Path) -> tuple[ModelCard, Path]:
    """Return what :func:`load` does of the model that a config names: a shipped one, or a path from its folder.

    Args:
        name: of the model, or the path.
        config: path of the config.

    Raises:
        WeightsError: as :func:`load`.
    """
    beside = config.parent / name
    return load(beside if name not in available() and beside.exists() else name)


def save(card: ModelCard, tensors: Mapping[str, Tensor | np.ndarray[Any, Any]], folder: str | os.PathLike[str]) -> Path:
    """Write ``NAME.safetensors`` and then ``NAME.json`` with its digest; a reader never sees half of either.

    Args:
        card: the card; its ``weights`` and ``sha256`` are set here.
        tensors: named torch tensors or NumPy arrays.
        folder: the folder to write to, created if it does not exist.

    Returns:
        The path of the card.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{card.name}.safetensors"
    partial = weights.with_suffix(".partial")
    if all(isinstance(value, np.ndarray) for value in tensors.values()):
        from safetensors.numpy import save_file as save_arrays

        save_arrays({key: np.ascontiguousarray(value) for key, value in tensors.items()}, partial)
    else:
        import torch
        from safetensors.torch import save_file as save_tensors

        save_tensors(
            {key: torch.as_tensor(value).detach().cpu().contiguous() for key, value in tensors.items()}, partial
        )
    partial.chmod(0o644)  # safetensors writes for its owner alone
    complete = replace(card, weights=weights.name, sha256=sha256_of(partial))
    os.replace(partial, weights)
    return _write(complete, folder / f"{card.name}.json")


def add_figures(path: Path, figures: Mapping[str, Figure]) -> None:
    """Put validation figures, named ``METRIC/CELL``, into the card at ``path``; they replace those of the same name."""
    card, _ = read(path)
    _write(replace(card, metrics={**card.metrics, **figures}), path)


def _write(card: ModelCard, path: Path) -> Path:
    draft = path.with_suffix(".json.partial")
    draft.write_text(card.to_json(), encoding="utf-8")
    os.replace(draft, path)
    return path
