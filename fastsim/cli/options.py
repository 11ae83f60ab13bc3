"""Options that several commands share; they carry the names of the library's arguments."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().ensure_object(dict)["debug"] = True


def _complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from fastsim.sources.cards import available

    return [CompletionItem(name) for name in available() if name.startswith(incomplete)]


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
)
model_option = click.option(
    "--model",
    metavar="NAME|PATH",
    shell_complete=_complete_model,
    help="Shipped model, path of a card (.json) or library (.h5), or pythia.",
)


scheduler_option = click.option(
    "--scheduler", metavar="ADDRESS", help="Workers of a Dask cluster, such as tcp://host:8786."
)


class Slice(click.ParamType[tuple[int, int]]):
    """``i/n``: part i, from 0, of n."""

    name = "slice"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"(\d+)/(\d+)", value)
        if not found or int(found[1]) >= int(found[2]):
            self.fail(f"{value!r} is not a part of a run: write i/n with i from 0 to n - 1", param, ctx)
        return int(found[1]), int(found[2])


def run_options(function: F) -> F:
    """Which part of a run, whether to go on with it, and its log."""
    decorators: list[Callable[[Any], Any]] = [
        click.option(
            "--slice", "part", metavar="I/N", type=Slice(), help="Part I (from 0) of N, for the jobs of an array."
        ),
        click.option("--resume", is_flag=True, help="Go on with a run that was stopped; the result is the same."),
        click.option(
            "--log-json",
            "log",
            metavar="FILE",
            type=click.Path(dir_okay=False),
            help="Add what happens to FILE, one JSON a line.",
        ),
    ]
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def event_options(function: F) -> F:
    """INPUT or --gun, the output, the seed and the range of events."""
    decorators: list[Callable[[Any], Any]] = [
        click.argument("input", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True)),
        click.option("--gun", metavar="TEXT", help='Partons to shoot: "flavour=u,g pt=20:2000 eta=-2:2 num=1000".'),
        click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(dir_okay=False, allow_dash=True),
            help="HepMC3 (.hepmc3, also .gz .zst .xz .bz2), HDF5 (.h5) or ROOT (.root) file.",
        ),
        click.option(
            "--seed", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="Seed of all randomness."
        ),
        click.option("--num-events", metavar="N", type=click.IntRange(0), help="Stop after this many events."),
        click.option(
            "--first-event",
            metavar="N",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Skip those before.",
        ),
        click.option("--force", is_flag=True, help="Replace an output that exists."),
        debug_option,
    ]
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def event_input(path: str | None, gun: str | None) -> Any:
    """The one input that was given: the path of an LHE file, or a parsed gun.

    Raises:
        click.UsageError: if neither or both were given, or the gun does not parse.
    """
    if (path is None) == (gun is None):
        raise click.UsageError("give one input: an LHE file (- for stdin), or --gun")
    if gun is None:
        return path
    from fastsim.errors import FastsimError
    from fastsim.event.gun import Gun

    try:
        return Gun.parse(gun)
    except (ValueError, FastsimError) as error:
        raise click.BadParameter(str(error), param_hint="--gun") from error


def as_path(text: str) -> str | Path:
    """A path, or "-" kept as it is."""
    return text if text == "-" else Path(text)
