"""Options that several commands share; they carry the names of the library's arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Remember that errors are to be shown with their traceback."""
    if value:
        ctx.find_root().ensure_object(dict)["debug"] = True


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the shipped models whose names begin with what is typed."""
    from fastsim.sources.cards import available

    return [CompletionItem(name) for name in available() if name.startswith(incomplete)]


def checked_model(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the name or path of a model, if there is one; nothing heavy is loaded for that."""
    if value in (None, "pythia", "geant4"):
        return value
    from fastsim.errors import WeightsError
    from fastsim.formats.atomic import HDF5_ENDINGS
    from fastsim.sources import cards

    assert value is not None
    if value.lower().endswith(HDF5_ENDINGS):
        if not Path(value).is_file():
            raise click.BadParameter(f"library {value!r} does not exist")
        return value
    try:
        cards.read(value)
    except WeightsError as error:
        raise click.BadParameter(str(error)) from error
    return value


def checked_output(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the path of an output, if its ending names a format."""
    if value != "-":
        from fastsim.errors import OutputError
        from fastsim.formats.atomic import split_ending

        try:
            split_ending(value)
        except OutputError as error:
            raise click.BadParameter(str(error)) from error
    return value


debug_option = click.option(
    "--debug",
    is_flag=True,
    is_eager=True,  # known before another option is found wrong
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error.",
)
model_option = click.option(
    "--model",
    metavar="NAME|PATH",
    shell_complete=complete_model,
    callback=checked_model,
    help="Shipped model, path of a card (.json) or library (.h5), or pythia.",
)


def checked_tune(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the text of a tune, if its parameters exist and are within their ranges."""
    if value is not None:
        from fastsim.errors import FastsimError
        from fastsim.registry import tune_settings

        try:
            tune_settings(value)
        except FastsimError as error:
            raise click.BadParameter(str(error).removeprefix("tune: ")) from error
    return value


tune_option = click.option(
    "--tune",
    metavar="TEXT",
    callback=checked_tune,
    help='Values of Pythia\'s parameters, such as "aLund=0.5 alphaS=0.13".  [default: the Monash tune]',
)


def _checked_address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the address of a scheduler, if it is one and something answers there."""
    if value is not None:
        from fastsim.errors import FastsimError
        from fastsim.production.dask import check_address

        try:
            check_address(value)
        except FastsimError as error:
            raise click.BadParameter(str(error)) from error
    return value


scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS",
    callback=_checked_address,
    help="Workers of a Dask cluster, such as tcp://host:8786.",
)


class Slice(click.ParamType[tuple[int, int]]):
    """The type of an option ``i/n``: slice i, from 0, of n."""

    name = "slice"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        match = re.fullmatch(r"(\d+)/(\d+)", value)
        if not match or int(match[1]) >= int(match[2]):
            self.fail(f"{value!r} is not a slice of a run: write i/n with i from 0 to n - 1", param, ctx)
        return int(match[1]), int(match[2])


class Integers(click.ParamType[tuple[int, ...]]):
    """The type of an option that is one or more integers with commas between."""

    name = "integers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(word) for word in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of integers: write 1 or 1,11", param, ctx)


final_status_option = click.option(
    "--final-status",
    metavar="N,N",
    type=Integers(),
    default=(1,),
    show_default="1",
    help="Status codes of the final particles of HepMC input.",
)


def decorated(function: F, decorators: Sequence[Callable[[Any], Any]]) -> F:
    """Apply decorators, such as options of a command, so that they come in the given order."""
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def run_options(
    *, events: bool = True, threads: bool = False, workers: str = "Worker processes; 0: none."
) -> Callable[[F], F]:
    """Return a decorator that adds the options of every run to a command.

    The command gets them as one dictionary ``options``, whose keys are attributes of
    :class:`fastsim.production.options.RunOptions`.

    Args:
        events: whether the command has events to read, of which it may skip bad ones.
        threads: whether to add ``--threads``.
        workers: help text of ``--workers``.
    """
    num_help = "How many; by default all that there are." if events else "How many.  [required]"
    decorators: list[Callable[[Any], Any]] = [
        click.option(
            "--seed", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="Seed of all randomness."
        ),
        click.option("-n", "--num-events", metavar="N", type=click.IntRange(0), help=num_help),
        click.option(
            "--first-event",
            metavar="N",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Skip the events before this one.",
        ),
        click.option("--slice", metavar="I/N", type=Slice(), help="Slice I (from 0) of N, for the jobs of an array."),
        click.option("--force", is_flag=True, help="Replace an output that exists."),
        click.option("--resume", is_flag=True, help="Go on with a run that was stopped; the result is the same."),
        click.option(
            "--log-json",
            "log",
            metavar="FILE",
            type=click.Path(dir_okay=False),
            help="Add what happens to FILE, one JSON a line.",
        ),
        click.option("--workers", metavar="N", type=click.IntRange(0), default=0, show_default=True, help=workers),
        scheduler_option,
    ]
    names = ["seed", "num_events", "first_event", "slice", "force", "resume", "log", "workers", "scheduler"]
    if events:
        names.append("skip_bad_events")
        decorators.append(
            click.option(
                "--skip-bad-events",
                is_flag=True,
                help="Leave out and count events of an LHE file that are none; by default the first one ends the run.",
            )
        )
    if threads:
        names.append("threads")
        decorators.append(
            click.option(
                "--threads",
                metavar="N",
                type=click.IntRange(1),
                help="Default: one a CPU, four at most; results do not depend on it.",
            )
        )

    def decorate(function: F) -> F:
        @wraps(function)
        def command(**values: Any) -> Any:
            return function(options={name: values.pop(name) for name in names}, **values)

        return decorated(cast(F, command), [*decorators, debug_option])

    return decorate


def output_option(description: str) -> Callable[[F], F]:
    """Return a decorator that adds the option ``-o`` with a help text."""
    return click.option(
        "-o",
        "--output",
        required=True,
        type=click.Path(dir_okay=False, allow_dash=True),
        callback=checked_output,
        help=description,
    )


def event_options(function: F) -> F:
    """Add the argument INPUT, the option ``--gun`` that may replace it, the output, and how much of an event it has."""
    return decorated(
        function,
        [
            click.argument("input", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True)),
            click.option("--gun", metavar="TEXT", help='Partons to shoot: "flavour=u,g pt=20:2000 eta=-2:2 num=1000".'),
            output_option("HepMC3 (.hepmc3, also .gz .zst .xz .bz2), HDF5 (.h5) or ROOT (.root) file."),
            click.option(
                "--record",
                type=click.Choice(("full", "final")),
                default="full",
                show_default=True,
                help="full: with the hadrons that decayed, and where; final: final particles alone.",
            ),
            click.option(
                "--tau0-max",
                metavar="MM",
                type=click.FloatRange(0),
                default=10.0,
                show_default=True,
                help="Particles with a c*tau above this are stable: K0S and hyperons at 10, not at 1000.",
            ),
        ],
    )


def collision_options(function: F) -> F:
    """Add the options that say what events of hadron colliders hold besides the hadrons of the hard partons."""
    return decorated(
        function,
        [
            click.option(
                "--event",
                type=click.Choice(("full", "hard")),
                help="full: whole collisions; hard: the hadrons of the hard partons.  [default: full for proton beams]",
            ),
            click.option(
                "--rest",
                metavar="PATH|pythia",
                help="Of whole collisions: a library (.h5) or pythia.  [default: both, by the number of events]",
            ),
            click.option(
                "--pileup", metavar="MU", type=float, default=0.0, help="Mean number of minimum-bias collisions to add."
            ),
            click.option(
                "--pileup-events",
                metavar="FILE",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="File to draw them from (HepMC, .h5 or .root).  [default: Pythia's, made once]",
            ),
            click.option(
                "--beam-spot",
                metavar="MM",
                type=float,
                default=35.0,
                show_default=True,
                help="Spread of the collisions along the beam.",
            ),
        ],
    )


def event_input(path: str | None, gun: str | None, options: Mapping[str, Any]) -> Any:
    """Return the one input that was given: the path of an LHE file, or a parsed gun.

    A gun whose text does not say how many partons it shoots has as many as ``--num-events`` asks for.

    Raises:
        click.UsageError: if neither or both were given, or the gun does not parse.
    """
    if (path is None) == (gun is None):
        raise click.UsageError("give one input: an LHE file (- for stdin), or --gun")
    if gun is None:
        return path
    from fastsim.errors import FastsimError
    from fastsim.event.gun import Gun

    if "num=" not in gun and options["num_events"]:
        gun = f"{gun} num={options['first_event'] + options['num_events']}"
    try:
        return Gun.parse(gun)
    except (ValueError, FastsimError) as error:
        raise click.BadParameter(str(error), param_hint="--gun") from error


def as_path(text: str) -> str | Path:
    """Return the path that a text names, or "-", which is standard input or output, as it is."""
    return text if text == "-" else Path(text)
