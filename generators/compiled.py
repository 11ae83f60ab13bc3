"""Functions compiled by numba: cached on disk, and free of the interpreter's lock so that chunks run side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function compiled; floating point as written (no fast-math), with numpy's infinities.

    What may change in other modules (tables, masses) has to be an argument: the cache does not see globals change.
    """
    return cast(F, njit(cache=True, nogil=True, error_model="numpy")(function))


def compiled_sums(function: F) -> F:
    """As :func:`compiled`, for finite numbers whose sums may be taken in any order: they run in parallel lanes."""
    lanes = {"reassoc", "nnan", "ninf", "nsz", "contract"}
    return cast(F, njit(cache=True, nogil=True, error_model="numpy", fastmath=lanes)(function))
