"""What the TOML file of a pipeline says, and the chain of blocks and the problem that it describes.

docs/how-to/pipelines.md lists it.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsim.errors import PipelineError
from fastsim.named import load_object
from fastsim.search.trial import Combination

if TYPE_CHECKING:
    from fastsim.blocks.block import Block
    from fastsim.blocks.chain import Chain
    from fastsim.blocks.problem import Problem

METHODS = ("grid", "random", "tpe", "spos", "asng", "darts")
"""How ``search`` finds the best combination."""
ONE_SHOT = ("spos", "asng", "darts")
"""Those that train one network with all candidates, and then the combinations that it holds for the best."""

_KEYS: dict[str, tuple[str, ...]] = {
    "": ("name", "seed", "data", "blocks", "losses", "figure", "training", "search", "ways"),
    "losses": ("kind", "of", "against", "weight"),
    "figure": ("kind", "of", "against"),
    "training": (
        "batch_size",
        "num_steps",
        "learning_rate",
        "weighting",
        "pretrain_steps",
        "weight_decay",
        "ema_decay",
    ),
    "search": ("method", "num_trials", "num_steps", "learning_rate", "order", "num_finalists"),
    "blocks": ("inputs", "outputs", "kind", "candidates"),
}
_TRAINING: dict[str, Any] = {"batch_size": 256, "num_steps": 2000, "learning_rate": 1e-3, "weighting": "fixed"}
_TRAINING |= {"pretrain_steps": 0, "weight_decay": 0.0, "ema_decay": 0.99}
_SEARCH: dict[str, Any] = {"method": "grid", "num_trials": 10, "learning_rate": 1e-3, "order": 1, "num_finalists": 2}
_WHOLE: dict[str, dict[str, int]] = {
    "training": {"batch_size": 1, "num_steps": 0, "pretrain_steps": 0},
    "search": {"num_trials": 1, "num_steps": 1, "num_finalists": 1},
}
"""The least that whole numbers may be."""
_NUMBERS: dict[str, dict[str, tuple[float, float]]] = {
    "training": {"learning_rate": (0.0, math.inf), "weight_decay": (0.0, math.inf), "ema_decay": (0.0, 1.0)},
    "search": {"learning_rate": (0.0, math.inf)},
    "losses": {"weight": (0.0, math.inf)},
}
"""Between what numbers may be."""


@dataclass(frozen=True)
class Description:
    """What a pipeline's file says, with defaults filled in.

    Attributes:
        path: the file.
        values: its tables.
    """

    path: str
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return str(self.values["name"])

    @property
    def seed(self) -> int:
        """The seed of weights, batches and searches."""
        return int(self.values["seed"])


def read(path: str | os.PathLike[str], changes: Mapping[str, Any] | None = None) -> Description:
    """Read the file of a pipeline.

    Args:
        path: the file, in TOML.
        changes: values that replace those of the file, by their place: ``{"data.num": 1000}``.

    Raises:
        PipelineError: if it cannot be read, or has unknown or missing keys.
    """
    place = os.fspath(path)
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PipelineError(f"{place}: cannot be read as TOML: {error}") from error
    for key, value in (changes or {}).items():
        *tables, last = key.split(".")
        table = values
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise PipelineError(f"{place}: {key}: {part!r} is no table")
        table[last] = value
    values = {"name": Path(path).stem, "seed": 0, "search": {}, "training": {}, **values}
    _check(values, "", place, ("data", "blocks", "losses", "figure"))
    for name in ("training", "search", "figure"):
        _check(values[name], name, f"{place}: [{name}]", ("kind", "of") if name == "figure" else ())
    for name in ("blocks", "losses"):
        if not isinstance(values[name], dict) or not values[name]:
            raise PipelineError(f"{place}: [{name}] is empty")
    for name, loss in values["losses"].items():
        _check(loss, "losses", f"{place}: [losses.{name}]", ("kind", "of"))
    for name, block in values["blocks"].items():
        if not isinstance(block, dict) or ("candidates" in block) == ("kind" in block):
            raise PipelineError(f"{place}: [blocks.{name}]: give a kind, or candidates")
    if not isinstance(values["data"], dict) or "source" not in values["data"]:
        raise PipelineError(f"{place}: [data]: missing key 'source', package.module:function")
    if not isinstance(values.get("ways", {}), dict):
        raise PipelineError(f"{place}: [ways] is no table")
    values["training"] = {**_TRAINING, **values["training"]}
    _check_numbers(values, place)
    if values["training"]["num_steps"] == 0 and values["training"]["pretrain_steps"] == 0:
        raise PipelineError(f"{place}: [training]: num_steps and pretrain_steps are 0: nothing would be trained")
    # of blocks that are trained one by one alone, a search takes as many steps
    steps = values["training"]["num_steps"] or values["training"]["pretrain_steps"]
    values["search"] = {**_SEARCH, "num_steps": steps, **values["search"]}
    _check_numbers(values, place)
    return Description(place, values)


def _check(values: Any, table: str, place: str, required: tuple[str, ...]) -> None:
    """Raise PipelineError if a table has unknown keys or lacks some."""
    if not isinstance(values, dict):
        raise PipelineError(f"{place}: {values!r} is no table")
    for key in values:
        if key not in _KEYS[table]:
            raise PipelineError(f"{place}: unknown key {key!r}: allowed are {', '.join(_KEYS[table])}")
    for key in required:
        if key not in values:
            raise PipelineError(f"{place}: missing key {key!r}")


def _check_numbers(values: Mapping[str, Any], place: str) -> None:
    """Raise PipelineError if what has to be a number is none, or out of its bounds."""
    seed = values["seed"]
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise PipelineError(f"{place}: seed = {seed!r}: give a whole number from 0")
    tables = {"training": values["training"], "search": values["search"]}
    tables |= {f"losses.{name}": loss for name, loss in values["losses"].items()}
    for name, table in tables.items():
        kind = name.partition(".")[0]
        for key, least in _WHOLE.get(kind, {}).items():
            value = table.get(key, least)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise PipelineError(f"{place}: [{name}]: {key} = {value!r}: give a whole number from {least}")
        for key, (low, high) in _NUMBERS.get(kind, {}).items():
            value = table.get(key, low)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                upto = f" to {high:g}" if high < math.inf else ""
                raise PipelineError(f"{place}: [{name}]: {key} = {value!r}: give a number from {low:g}{upto}")


def chain_of(description: Description, combination: Combination | None = None) -> Chain:
    """Make the chain, with new weights; of a combination the candidates alone, without choices.

    Raises:
        PipelineError: if blocks do not fit together.
    """
    from fastsim.blocks.chain import Chain
    from fastsim.blocks.choice import Choice

    blocks: list[Block] = []
    for name, values in description.values["blocks"].items():

        def made(kind: Mapping[str, Any], label: str, of: Mapping[str, Any] = values) -> Block:
            return _block({**{key: of[key] for key in ("inputs", "outputs") if key in of}, **kind}, label, description)

        if "kind" in values:
            blocks.append(made(values, name))
        elif combination is not None:
            if combination.get(name) not in values["candidates"]:
                labels = ", ".join(values["candidates"])
                raise PipelineError(f"block {name!r} has no candidate {combination.get(name)!r}: there are {labels}")
            blocks.append(made(values["candidates"][combination[name]], name))
        else:
            candidates = {label: made(kind, f"{name} ({label})") for label, kind in values["candidates"].items()}
            blocks.append(Choice(candidates, name=name))
    return Chain(blocks, name=description.name)


def _block(values: Mapping[str, Any], name: str, description: Description) -> Block:
    """Make a block of its kind, inputs, outputs and options; those of a model of the engine are known.

    Raises:
        PipelineError: if the kind is missing or unknown, or inputs or outputs are missing.
    """
    from fastsim import model_blocks, registry
    from fastsim.blocks.block import Block

    place = f"{description.path}: block {name!r}"
    options = {key: value for key, value in values.items() if key not in ("kind", "inputs", "outputs")}
    kind = values.get("kind")
    if not isinstance(kind, str):
        raise PipelineError(f"{place}: missing key 'kind'")
    shapes = {}
    if registry.is_model(kind):
        if unknown := sorted(set(options) - {"part", "log_prob"}):
            raise PipelineError(f"{place}: model {kind!r} takes part and log_prob, not {unknown[0]!r}")
        part = registry.model_part(kind, options.get("part"), log_prob=options.get("log_prob", False))
        shapes = {"inputs": part.inputs, "outputs": part.outputs}
        options = model_blocks.options(kind, part, log_prob=options.get("log_prob", False))
        kind = model_blocks.KIND
    for side in ("inputs", "outputs"):
        if side in values:
            if not isinstance(values[side], dict):
                raise PipelineError(f"{place}: {side} are a table of names and shapes")
            shapes[side] = {key: _shape(shape) for key, shape in values[side].items()}
        elif side not in shapes:
            raise PipelineError(f"{place}: missing key {side!r}, a table of names and shapes")
    return Block(kind, shapes["inputs"], shapes["outputs"], name=name, options=options)


def _shape(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def problem_of(description: Description, combination: Combination | None = None) -> Problem:
    """Make the problem, its data included.

    Args:
        description: the pipeline.
        combination: a candidate for each choice; None keeps the choices.

    Raises:
        PipelineError: if the data cannot be had, or does not fit the blocks.
    """
    from fastsim.blocks.losses import Loss
    from fastsim.blocks.problem import SPLITS, Problem, tensors

    values = description.values
    source = dict(values["data"])
    function = load_object(source.pop("source"), f"{description.path}: [data]")
    try:
        data = function(**source)
    except TypeError as error:
        raise PipelineError(f"{description.path}: [data]: {error}") from error
    if not isinstance(data, Mapping):
        raise PipelineError(f"{description.path}: [data]: returned a {type(data).__name__}: give {', '.join(SPLITS)}")
    return Problem(
        chain=chain_of(description, combination),
        data={split: tensors(arrays, f"data {split!r}") for split, arrays in data.items()},
        losses=tuple(Loss(name=name, **loss) for name, loss in values["losses"].items()),
        figure=Loss(name="figure", **values["figure"]),
        batch_size=values["training"]["batch_size"],
        weighting=values["training"]["weighting"],
        seed=description.seed,
    )
