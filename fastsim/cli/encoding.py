"""Output on streams whose encoding does not know every character: plain ones in their place, never an error."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PLAIN = {"±": "+-", "−": "-", "–": "-", "∞": "inf", "×": "x", "→": "->", "…": "...", "σ": "sigma"}
"""What stands for characters that fastsim prints; any other becomes a question mark."""


def plain(error: UnicodeError) -> tuple[str, int]:
    """Return what to write for characters that cannot be encoded, and where to go on: the error handler "plain".

    >>> "AUC 0.5 ± 0.1, naïve".encode("ascii", "plain")
    b'AUC 0.5 +- 0.1, na?ve'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error("plain", plain)


@contextmanager
def any_characters() -> Iterator[None]:
    """Within, standard output and error take any text, as far as they can show it."""
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]
    errors = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="plain")
    try:
        yield
    finally:
        for stream, before in zip(streams, errors, strict=True):
            if not stream.closed:
                stream.reconfigure(errors=before)
