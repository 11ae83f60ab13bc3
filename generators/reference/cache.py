"""Files that Pythia makes once on a machine: what is in a file follows from its name alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fastsim.errors import OutputError
from fastsim.formats.atomic import PathLike

VARIABLE = "FASTSIM_CACHE"
"""The environment variable that names the folder."""


def cache_folder() -> Path:
    """Return the folder of the files: that of FASTSIM_CACHE, else ``fastsim`` in the user's cache."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastsim"


def cached(name: str, make: Callable[[PathLike], None]) -> Path:
    """Return the path of a file, which ``make`` writes, whole or not at all, where it is not there yet.

    Runs that begin at the same time may each make it: what they put in its place is the same.

    Raises:
        OutputError: if the folder cannot be written.
    """
    path = cache_folder() / name
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path.parent}: cannot be made: {error.strerror}; set {VARIABLE}") from error
        make(path)
    return path
