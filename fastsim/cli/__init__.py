"""The ``fastsim`` command: one module for each subcommand, imported when it is called; errors are one line."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from types import FrameType
from typing import Any

import click

from fastsim import __version__
from fastsim.cli.encoding import any_characters
from fastsim.cli.notices import warnings_on_stderr
from fastsim.cli.options import debug_option
from fastsim.cli.streams import libraries_on_stderr
from fastsim.errors import FastsimError, Stopped
from fastsim.extras import missing

COMMANDS = (
    "generate",
    "reference",
    "showers",
    "library",
    "evaluate",
    "reweight",
    "tune",
    "train",
    "pipeline",
    "models",
    "export",
    "merge",
    "verify",
    "doctor",
    "compile",
    "completion",
)


GRACE = 20.0
"""Seconds after a signal to stop at which the process ends in any case (Slurm sends SIGKILL after 30)."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, made to unwind the stack as Ctrl-C does, so that writers close or remove their files."""


class Interrupted(Exception):
    """Carries a KeyboardInterrupt past click, which would print a line of its own; ``args``: exit status, message."""


def _interrupted(error: KeyboardInterrupt) -> Interrupted:
    """Return the exit status and the message for an interrupt."""
    advice = "what is complete, if anything, is in .partial or goes on with --resume"
    message = str(error) if isinstance(error, Stopped) else f"interrupted; {advice}"
    cause = error.__cause__ if isinstance(error, Stopped) else error
    return Interrupted(143 if isinstance(cause, Terminated) else 130, message)


class LazyGroup(click.Group):
    """A group of commands that imports the module of a subcommand only when that is called."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _interrupted(error) from error
        except ImportError as error:
            cause = error.__cause__ or error.__context__
            if isinstance(cause, KeyboardInterrupt):
                # a signal while a compiled module was loading, which makes its own error of it
                raise _interrupted(cause) from error
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"fastsim.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastsim")
@debug_option
def group() -> None:
    """Turn parton-level events into events with hadrons, through generative models or Pythia.

    \b
    Examples:
      fastsim generate events.lhe.gz -o events.hepmc3.gz --seed 1
      fastsim reference --gun "flavour=u,g pt=20:2000 num=1000" -o reference.h5
      fastsim models
    """


def _give_up(code: int) -> None:
    """End the process at once with an exit status, and the worker processes that it started."""
    message = (
        f"fastsim: interrupted; what took longer than {GRACE:g} s more is lost; finished chunks go on with --resume\n"
    )
    os.write(sys.stderr.fileno(), message.encode())
    multiprocessing = sys.modules.get("multiprocessing")
    for child in multiprocessing.active_children() if multiprocessing is not None else ():
        child.terminate()
    os._exit(code)


_DELICATE = ("<frozen importlib._bootstrap>", f"{os.sep}llvmlite{os.sep}", f"{os.sep}numba{os.sep}core{os.sep}")
"""Files of code that must not be interrupted.

Modules made by Cython drop what is raised while they are loaded; LLVM's objects crash when they are removed if what
was done with them ended in the middle.
"""


def _delicate(frame: FrameType | None) -> bool:
    """Whether a frame is within an import, or within the loading of a compiled function."""
    while frame is not None:
        if any(part in frame.f_code.co_filename for part in _DELICATE):
            return True
        frame = frame.f_back
    return False


class _Signals:
    """A context manager in which the first signal to stop unwinds the stack, so that chunks that have begun are kept.

    :data:`GRACE` seconds after the first SIGTERM or SIGHUP, or the second signal of any kind, the process ends in any
    case. Later signals have no other effect.
    """

    STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._stopped = False
        self._deadline: threading.Timer | None = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: raise KeyboardInterrupt or Terminated for the first, and set the deadline."""
        first, self._stopped = not self._stopped, True
        if self._deadline is None and not (first and number == signal.SIGINT):
            self._deadline = threading.Timer(GRACE, _give_up, (130 if number == signal.SIGINT else 143,))
            self._deadline.daemon = True
            self._deadline.start()
        if not first:
            return
        if _delicate(frame):
            self._send_again(number)
            return
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def _repeat(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Send a signal again whose exception Python dropped, as it does while it removes an object."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._hook(unraisable)
        else:
            self._send_again(signal.SIGTERM if issubclass(unraisable.exc_type, Terminated) else signal.SIGINT)

    def _send_again(self, number: int) -> None:
        """Send a signal in a moment, as the first."""
        self._stopped = False
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()

    def __enter__(self) -> None:
        self._previous = {number: signal.getsignal(number) for number in self.STOPPING}
        for number, handler in self._previous.items():
            if handler is not signal.SIG_IGN:  # nohup sets this
                signal.signal(number, self._stop)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._repeat

    def __exit__(self, *error: object) -> None:
        sys.unraisablehook = self._hook
        if self._stopped:  # the process ends now: a further signal must not interrupt the end of its threads
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0 for success, 1 for an error in the run, 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM or SIGHUP; see also
    ``fastsim evaluate``.
    """
    _spare_collector()
    with libraries_on_stderr(), any_characters():
        return _run(args)


@cache
def _spare_collector() -> None:
    """Let the garbage collector look seldom, and not on the way out.

    Torch and numba make a million objects when they are imported, all of which live to the end: looking through them
    for garbage takes half a second of the start and as much of the end.
    """
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)


def _run(args: Sequence[str] | None) -> int:
    state: dict[str, Any] = {"debug": False, "args": list(sys.argv[1:] if args is None else args)}
    try:
        with _Signals(), warnings_on_stderr():
            result = group.main(args, prog_name="fastsim", standalone_mode=False, obj=state)
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except Interrupted as error:
        return _fail(error.args[1], error.args[0], state)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130, state)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "fastsim"
        return _fail(f"{error.format_message()} (see {path} --help)", 2, state)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code, state)
    except FastsimError as error:
        return _fail(str(error), 1, state)
    except BrokenPipeError:
        # whoever read the output is gone (`fastsim models | head`): print nothing more, also not when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ImportError as error:
        return _fail(str(missing(error)), 1, state)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", 1, state)
    except Exception as error:
        return _fail(f"internal error: {type(error).__name__}: {error}; --debug shows where", 1, state)


def _fail(message: str, code: int, state: dict[str, Any]) -> int:
    """Print a message in one line on stderr, under ``--debug`` after the traceback, and return ``code``."""
    if state["debug"]:
        import traceback

        traceback.print_exc()
    click.echo(f"fastsim: {' '.join(message.split())}", err=True)
    return code
