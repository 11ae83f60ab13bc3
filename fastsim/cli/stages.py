"""The options of ``fastsim generate`` that choose the stages to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fastsim.cli.options import decorated

F = TypeVar("F", bound=Callable[..., Any])


DEFAULT_STEPS = ("hadrons",)


def stage_options(function: F) -> F:
    """Add the options ``--steps``, ``--shower-model``, ``--shower-fallback`` and ``--geant4-data`` to a command."""
    decorators = [
        click.option(
            "--steps",
            metavar="NAMES",
            default=",".join(DEFAULT_STEPS),
            show_default=True,
            callback=_words,
            help="hadrons (from the model) or pythia, then or instead calorimeter; package.module:object for your own.",
        ),
        click.option(
            "--shower-model",
            metavar="NAME|PATH",
            multiple=True,
            callback=_names,
            help="Of the calorimeter: a model, a card (.json), a library (.h5; repeat for its files), or geant4.",
        ),
        click.option(
            "--shower-fallback",
            type=click.Choice(("none", "geant4")),
            help="For particles outside the shower model's limits.  [default: geant4 with --geant4-data, else none]",
        ),
        click.option(
            "--geant4-data",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="Folder of Geant4's data sets (or FASTSIM_GEANT4_DATA).",
        ),
    ]
    return decorated(function, decorators)


def _words(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """Return the names of a chain, given with commas between them."""
    from fastsim import stages
    from fastsim.errors import PipelineError

    try:
        return stages.parse(value)
    except PipelineError as error:
        raise click.BadParameter(str(error)) from error


def _names(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> str | tuple[str, ...] | None:
    """Return the values of an option that may be repeated: one as text, several as a tuple, none as None."""
    return value[0] if len(value) == 1 else value or None
