"""Errors that users may meet; their messages name the value, the place and what to do."""

from __future__ import annotations


class FastsimError(Exception):
    """Base of all errors raised on purpose; the command line prints one line and exits 1.

    >>> from fastsim.event.gun import Gun
    >>> try:
    ...     Gun.parse("pt=fast")
    ... except FastsimError as error:
    ...     print(error)
    gun: 'pt=fast' is not a range; give low:high or one value within 0.001:1e+05 GeV
    """


class InvalidValue(FastsimError, ValueError):
    """An argument is no array, has another shape or length than is needed, or holds what is not allowed."""


class UnknownSpecies(FastsimError, KeyError):
    """A PDG id is none that the particle table knows."""

    def __str__(self) -> str:
        # KeyError would print the message in quotes
        return str(self.args[0]) if self.args else ""


class MissingLibrary(FastsimError, ImportError):
    """A library that an extra brings is not installed; the message has the command that installs it."""


class InvalidEvent(FastsimError):
    """An input record is malformed: a bad LHE line, a NaN momentum, an impossible colour flow."""


class LightSinglet(InvalidEvent):
    """A colour singlet is too light for hadrons of its flavours; ``row`` is its place among those that were given."""

    def __init__(self, message: str, row: int = 0) -> None:
        super().__init__(message)
        self.row = row

    def __reduce__(self) -> tuple[type[LightSinglet], tuple[str, int]]:
        return LightSinglet, (str(self), self.row)


class OutOfDomain(FastsimError):
    """A condition lies outside the phase space that a model was trained and validated on."""


class WeightsError(FastsimError):
    """A model's card or weights are missing, altered or do not fit each other."""


class PipelineError(FastsimError):
    """Steps do not fit together, or a Step broke its contract."""


class OutputError(FastsimError):
    """An output cannot be written: it exists, its folder is unwritable, the disk is full."""


class Stopped(KeyboardInterrupt):
    """A run was interrupted by Ctrl-C or SIGTERM, and its finished chunks are kept; the message says where."""
