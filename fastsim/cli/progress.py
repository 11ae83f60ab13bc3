"""Progress on stderr with rate and remaining time, and what a first run waits for; no bar if it is not a terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text

COMPILER_LOG = "generators.nn.compiled"
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


@contextmanager
def progress(label: str, unit: str = "events") -> Iterator[Callable[[int, int | None], None]]:
    """Give a callback ``(done, total)`` that draws a bar; ``total`` is None where it is not known."""
    if not (sys.stderr.isatty() or os.environ.get("FORCE_COLOR")):  # without rich, which takes a while to import
        with compiling_notice(_say):
            yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """A column that shows the units done per second since the start."""

        def render(self, task: Task) -> Text:
            rate = task.completed / task.elapsed if task.elapsed else 0.0
            return Text(f"{rate:,.0f} {unit}/s")

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar, compiling_notice(console.print):
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
