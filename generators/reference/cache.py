"""Files that Pythia makes once on a machine: what is in a file follows from its name alone."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastsim.errors import OutputError
from fastsim.production.store import LOCK, remove_chunks

VARIABLE = "FASTSIM_CACHE"
"""The environment variable that names the folder."""

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of the files: that of FASTSIM_CACHE, else ``fastsim`` in the user's cache."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastsim"


def cached(name: str, make: Callable[[Path, Path], None]) -> Path:
    """Return the path of a file, which is made where it is not there yet.

    Of processes that begin at the same time one makes it, and the others wait: the lock ends with the process. Where
    the file system knows no locks each makes it, and what they put in its place is the same.

    Args:
        name: of the file.
        make: writes the file at a path in a folder; the folder, its second argument, is for what is finished of it, and
            stays if it is stopped.

    Raises:
        OutputError: if the folder cannot be written.
    """
    path = cache_folder() / name
    if path.is_file():
        return path
    parts = path.with_name(f"{name}.parts")
    with _alone(parts):
        if not path.is_file():  # another process may have made it meanwhile
            make(parts / name, parts)  # what is left of it where it is stopped goes with the folder
            os.replace(parts / name, path)
        remove_chunks(parts)
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other processes out of it.

    Raises:
        OutputError: if it cannot be written.
    """
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = open(folder / LOCK, "a")  # noqa: SIM115
            break
        except FileNotFoundError:  # a process that is at its end removed it in between
            continue
        except OSError as error:
            raise OutputError(f"{folder.parent}: cannot be written: {error.strerror}; set {VARIABLE}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("another process makes %s; waiting for it", folder.name.removesuffix(".parts"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # no locks in this file system
            pass
        yield
