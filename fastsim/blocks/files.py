"""Blocks in files: a card (JSON) and its weights (safetensors). Nothing is unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsim.errors import PipelineError, WeightsError
from fastsim.shipped import sha256_of

if TYPE_CHECKING:
    from fastsim.blocks.block import Block
    from fastsim.blocks.chain import Chain

KEYS = ("name", "block", "training", "metrics", "sha256", "weights")
"""What the card of a block says."""


def build(config: Mapping[str, Any]) -> Block:
    """Make a block, with new weights, of what the ``config`` of a Block, Chain or Choice returned.

    Raises:
        PipelineError: if it describes none.
    """
    from fastsim.blocks.block import Block
    from fastsim.blocks.chain import Chain
    from fastsim.blocks.choice import Choice

    try:
        if config["kind"] == "chain":
            return Chain([build(part) for part in config["blocks"]], name=config["name"])
        if config["kind"] == "choice":
            return Choice({key: build(part) for key, part in config["candidates"].items()}, name=config["name"])
        shapes = ({key: tuple(shape) for key, shape in config[side].items()} for side in ("inputs", "outputs"))
        return Block(config["kind"], *shapes, name=config["name"], options=config["options"])
    except (KeyError, TypeError, AttributeError) as error:
        raise PipelineError(f"this describes no block: {type(error).__name__}: {error}") from error


def save(
    block: Block,
    folder: str | os.PathLike[str],
    *,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Write ``NAME.safetensors`` and then its card ``NAME.json``; a reader never sees half of either.

    Args:
        block: a block, chain or choice, made of kinds.
        folder: made if it does not exist.
        training: how it was made, JSON values.
        metrics: figures of merit by name.

    Returns:
        The path of the card.

    Raises:
        PipelineError: if a block was made of a module object, which a card cannot describe, or its name is no name of
            a file.
    """
    from safetensors.torch import save_file

    if Path(block.name).name != block.name:
        raise PipelineError(f"block {block.name!r}: its name cannot be that of a file")
    folder = Path(folder)
    config = block.config()
    folder.mkdir(parents=True, exist_ok=True)
    weights, card = folder / f"{block.name}.safetensors", folder / f"{block.name}.json"
    partial = weights.with_suffix(".partial")
    save_file({key: value.detach().cpu().contiguous() for key, value in block.state_dict().items()}, partial)
    partial.chmod(0o644)  # safetensors writes for its owner alone
    values = {
        "name": block.name,
        "block": config,
        "training": dict(training or {}),
        "metrics": dict(metrics or {}),
        "sha256": sha256_of(partial),
        "weights": weights.name,
    }
    os.replace(partial, weights)
    draft = card.with_suffix(".json.partial")
    draft.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(draft, card)
    return card


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the card of a block as JSON values.

    Raises:
        WeightsError: if it cannot be read, or is no card of a block.
    """
    try:
        card = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{os.fspath(path)}: cannot be read as a card: {error}") from error
    if not isinstance(card, dict) or sorted(card) != sorted(KEYS):
        raise WeightsError(f"{os.fspath(path)}: is no card of a block, which has the keys {', '.join(KEYS)}")
    return card


def load(path: str | os.PathLike[str]) -> Block:
    """Return the block of a card, with its weights, in evaluation mode.

    Args:
        path: of the card, which is written by :func:`save`. A card names the Python classes that it is made of: classes
            of installed packages that are modules of torch are made, nothing else is run.

    Raises:
        WeightsError: if card or weights are missing, altered, or do not fit each other.
        PipelineError: if a kind of the card is unknown here.
    """
    from safetensors.torch import load_file

    card = read_card(path)
    weights = Path(path).parent / str(card["weights"])
    if Path(str(card["weights"])).name != card["weights"] or not weights.is_file():
        raise WeightsError(f"{os.fspath(path)}: its weights {card['weights']!r} are not beside it")
    if (sha256 := sha256_of(weights)) != card["sha256"]:
        raise WeightsError(
            f"{weights}: weights were altered: SHA-256 is {sha256[:12]}..., the card says {str(card['sha256'])[:12]}..."
        )
    block = build(card["block"])
    try:
        block.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise WeightsError(f"{weights}: do not fit the blocks of the card: {' '.join(str(error).split())}") from error
    return block.eval()


def start_from(chain: Chain, path: str | os.PathLike[str]) -> list[str]:
    """Copy the weights of a card's blocks into the blocks of the same names of a chain.

    Args:
        chain: the chain; blocks that the card does not have keep their weights.
        path: of the card.

    Returns:
        The names of the blocks that weights were copied into.

    Raises:
        WeightsError: as :func:`load`.
        PipelineError: if no block has the name of one of the card's, or weights do not fit one that has.
    """
    from fastsim.blocks.chain import Chain

    trained = load(path)
    given = {block.name: block for block in (trained if isinstance(trained, Chain) else (trained,))}
    taken = [block for block in chain if block.name in given]
    if not taken:
        names = (", ".join(sorted(blocks)) for blocks in (given, {block.name for block in chain}))
        raise PipelineError("{}: it has the blocks {}, none of {}".format(os.fspath(path), *names))
    for block in taken:
        try:
            block.load_state_dict(given[block.name].state_dict())
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise PipelineError(
                f"block {block.name!r}: the weights of {os.fspath(path)} do not fit: {reason}"
            ) from error
    return [block.name for block in taken]
