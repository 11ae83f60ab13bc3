"""Warnings of the library as lines on stderr, each once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("fastsim", "generators", "metrics")
"""Names of the loggers of our packages."""


class _Lines(logging.Handler):
    """Prints each message once, in one line."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        if message not in self._said:
            self._said.add(message)
            print(f"fastsim: {message}", file=sys.stderr, flush=True)


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Print the warnings of our packages while the context lasts."""
    handler = _Lines()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
