"""Progress on stderr: a bar on a terminal, a line a minute in a log; and what a first run waits for."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text

SECONDS_PER_LINE = 60.0
"""Time between the lines that say in a log how far a command is."""

COMPILER_LOG = "fastsim.compiled"
"""Name of the logger that says when a kernel has to be compiled; importing its module would load numba."""


class _CompilingNotice(logging.Handler):
    """Says once that kernels are being compiled, which takes seconds."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._say: Callable[[str], None] | None = say

    def emit(self, record: logging.LogRecord) -> None:
        say, self._say = self._say, None
        if say is None:
            return
        if getattr(record, "kept", True):
            say("compiling kernels, once on this machine (fastsim compile does it ahead of time) ...")
        else:
            say("compiling kernels, in every run: no folder to keep them in is writable (set NUMBA_CACHE_DIR) ...")


@contextmanager
def compiling_notice(say: Callable[[str], None]) -> Iterator[None]:
    """Call ``say`` with a line of text the first time that a kernel has to be compiled."""
    logger, handler = logging.getLogger(COMPILER_LOG), _CompilingNotice(say)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _say(line: str) -> None:
    print(f"fastsim: {line}", file=sys.stderr, flush=True)


class _Lines:
    """Writes a line about once a minute, for logs of batch jobs; nothing for what takes less."""

    def __init__(self, label: str, unit: str) -> None:
        self._label, self._unit = label, unit
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_PER_LINE:
            return
        self._last = now
        rate = done / (now - self._start)
        of_total = "" if total is None else f" of {total:,}"
        left = "" if total is None or not done else f", {_minutes((total - done) / rate)} left"
        _say(f"{self._label}: {done:,}{of_total} {self._unit} after {_minutes(now - self._start)}{left}")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


class TrainingLines(logging.Handler):
    """Writes what a training says of itself to stderr; of what it says often, a line every ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(logging.INFO)
        self._seconds, self._last = seconds, -math.inf

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "often", False):
            if time.monotonic() - self._last < self._seconds:
                return
            self._last = time.monotonic()
        _say(record.getMessage())


@contextmanager
def training_notes() -> Iterator[None]:
    """Show on stderr how a training goes: every ten seconds on a terminal, every minute in a log."""
    logger, handler = logging.getLogger("generators"), TrainingLines(10.0 if sys.stderr.isatty() else SECONDS_PER_LINE)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def progress(label: str, unit: str = "events") -> Iterator[Callable[[int, int | None], None]]:
    """Give a callback ``(done, total)`` that draws a bar; ``total`` is None where it is not known."""
    if not (sys.stderr.isatty() or os.environ.get("FORCE_COLOR")):  # without rich, which takes a while to import
        with compiling_notice(_say):
            yield _Lines(label, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """A column that shows the units done per second since the start."""

        def render(self, task: Task) -> Text:
            rate = task.completed / task.elapsed if task.elapsed else 0.0
            return Text(f"{rate:,.0f}/s" if rate >= 10 or not rate else f"{rate:.2g}/s")

    class Amount(ProgressColumn):
        """A column that shows the units done, and of how many, where that is known."""

        def render(self, task: Task) -> Text:
            total = "" if task.total is None else f" of {task.total:,.0f}"
            return Text(f"{task.completed:,.0f}{total} {unit}")

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        Amount(),
        Rate(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar, compiling_notice(console.print):
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
