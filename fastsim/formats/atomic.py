"""Files that are whole or absent: written beside their final name, and renamed only when complete.

A reader never meets a half-written file under the final name. When the *input* turns bad (or the user presses
Ctrl-C), the events already written are kept under ``name.partial.ending``, complete and readable.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from fastsim.errors import InvalidEvent, OutputError, Stopped

PathLike = str | os.PathLike[str]

HEPMC_ENDINGS = tuple(f"{e}{c}" for e in (".hepmc3", ".hepmc") for c in ("", ".gz", ".bz2", ".xz", ".zst"))
HDF5_ENDINGS = (".h5", ".hdf5")
ROOT_ENDINGS = (".root",)
ENDINGS = "HepMC3 .hepmc3 (or .hepmc; also .gz .bz2 .xz .zst of them), HDF5 .h5, ROOT .root"


def split_ending(path: PathLike) -> tuple[str, str]:
    """Split a path into stem and known ending.

    Raises:
        OutputError: if the ending is none of those that can be written.

    >>> split_ending("run.2.hepmc3.gz")
    ('run.2', '.hepmc3.gz')
    """
    text = os.fspath(path)
    for ending in sorted((*HEPMC_ENDINGS, *HDF5_ENDINGS, *ROOT_ENDINGS), key=len, reverse=True):
        if text.lower().endswith(ending) and len(os.path.basename(text)) > len(ending):
            return text[: -len(ending)], text[-len(ending) :]
    raise OutputError(f"{text}: the ending does not name a known format; use {ENDINGS}")


@contextmanager
def writing(path: PathLike) -> Iterator[None]:
    """Turn failures to write ``path`` in the block (full disk, missing folder...) into an OutputError of one line."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{os.fspath(path)}: {_reason(error)}") from error
    except RuntimeError as error:  # h5py reports some failed writes so
        if "errno" not in str(error):
            raise
        raise OutputError(f"{os.fspath(path)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say what went wrong and what to do, from errno (which h5py only has in the text of its errors)."""
    number_in_text = re.search(r"errno = (\d+)", str(error))
    number = getattr(error, "errno", None) or (int(number_in_text[1]) if number_in_text else None)
    advice = {
        errno.ENOSPC: "the disk is full; free some space or choose another folder",
        errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
        errno.EFBIG: "the file would be larger than the system allows; write fewer events a file",
        errno.EACCES: "no permission to write there; choose another folder",
        errno.EPERM: "no permission to write there; choose another folder",
        errno.EROFS: "the file system is read-only; choose another folder",
        errno.ENOENT: "the folder does not exist; create it first",
        errno.ENOTDIR: "its folder is not a folder; choose another path",
    }
    return advice.get(number or 0, f"cannot write: {getattr(error, 'strerror', None) or error}")


class AtomicPath:
    """A temporary file beside ``path`` that takes its name on :meth:`commit` or vanishes on :meth:`discard`.

    Raises:
        OutputError: if the output exists (without ``force``), is a folder, or its folder cannot be written.
    """

    def __init__(self, path: PathLike, *, force: bool = False) -> None:
        self.path = Path(path)
        self.force = force
        self._refuse_existing()
        real = Path(os.path.realpath(path))  # a link stays a link
        self.temporary = real.with_name(f".{real.name}.{secrets.token_hex(4)}.tmp")
        with writing(self.path):
            os.close(os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))

    def _refuse_existing(self) -> None:
        if self.path.is_dir():
            raise OutputError(f"{self.path}: is a folder; give the name of a file")
        if self.path.exists() and not self.path.is_file():
            raise OutputError(f"{self.path}: is a device or pipe; give the name of a file, or - for standard output")
        if self.path.exists() and not self.force:
            raise OutputError(f"{self.path}: exists already; use --force to replace it, or another name")

    def commit(self) -> None:
        """Give the finished file its name, once its content is on the disk.

        Raises:
            OutputError: if the disk is full, or meanwhile something else has the name.
        """
        try:
            self._refuse_existing()
            with writing(self.path):
                _to_disk(self.temporary)
                os.replace(self.temporary, os.path.realpath(self.path))
                _to_disk(self.temporary.parent)
        except BaseException:
            self.discard()
            raise

    def keep_partial(self) -> Path:
        """Give the file the name ``stem.partial.ending`` instead of its own, and return that path."""
        stem, ending = split_ending(self.path)
        partial = Path(f"{stem}.partial{ending}")
        with writing(partial):
            os.replace(self.temporary, partial)
        return partial

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        with suppress(OSError):
            self.temporary.unlink()


def _to_disk(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, would outlast a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicWriter(ABC):
    """Base of the writers of files, each a context manager; ``-`` as path is standard output.

    On a clean exit the file takes its name. After a bad input or Ctrl-C, what was written is kept as a partial file;
    after any other error it is removed. A subclass writes to ``_place``, gives :meth:`_finish`, and counts the events
    that it wrote in ``num_written``.

    Raises:
        OutputError: if the output exists (without ``force``), or cannot be written.
    """

    def __init__(self, path: PathLike, *, force: bool = False) -> None:
        self.path = Path(path)
        self.num_written = 0
        self._target = None if os.fspath(path) == "-" else AtomicPath(path, force=force)

    @property
    def _place(self) -> Path:
        """The temporary file to write to."""
        assert self._target is not None
        return self._target.temporary

    @abstractmethod
    def _finish(self, complete: bool) -> None:
        """Flush and close the file; ``complete`` is False when it will be thrown away."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        partial = issubclass(kind or Exception, InvalidEvent | KeyboardInterrupt) and self.num_written > 0
        keep = kind is None or (partial and not issubclass(kind, Stopped))
        try:
            with writing(self.path):
                self._finish(keep)
        except BaseException:
            if self._target is not None:
                self._target.discard()
            if error is None:
                raise
            return
        if self._target is None:
            return
        if kind is None:
            self._target.commit()
        elif keep:
            partial_path = self._target.keep_partial()
            if isinstance(error, InvalidEvent):
                raise InvalidEvent(f"{error}; the {self.num_written} events before it are in {partial_path}") from error
        else:
            self._target.discard()
