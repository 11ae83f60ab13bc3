"""Output of any text on streams whose encoding lacks some characters: plain ones replace them, and nothing fails."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PLAIN = {"±": "+-", "−": "-", "–": "-", "∞": "inf", "×": "x", "→": "->", "…": "...", "σ": "sigma"}
"""Replacements of characters that fastsim prints; any other that cannot be encoded becomes a question mark."""


def plain(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that cannot be encoded, as the codec error handler "plain".

    Returns:
        The replacement, and the place in the text at which to go on.

    >>> "AUC 0.5 ± 0.1, naïve".encode("ascii", "plain")
    b'AUC 0.5 +- 0.1, na?ve'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error("plain", plain)


@contextmanager
def any_characters() -> Iterator[None]:
    """Let standard output and standard error take any text in the block, with :data:`PLAIN` characters where needed."""
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]
    errors = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="plain")
    try:
        yield
    finally:
        for stream, before in zip(streams, errors, strict=True):
            if not stream.closed:
                with suppress(BrokenPipeError):  # whoever read it is gone
                    stream.reconfigure(errors=before)
