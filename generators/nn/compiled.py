"""Functions compiled by numba: cached on disk, and free of the interpreter's lock so that chunks run side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.compiler_lock import global_compiler_lock

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function compiled; floating point as written (no fast-math), with numpy's infinities.

    What may change in other modules (tables, masses) has to be an argument: the cache does not see globals change.
    """
    return _made(function)


def compiled_sums(function: F) -> F:
    """As :func:`compiled`, for finite numbers whose sums may be taken in any order: they run in parallel lanes."""
    return _made(function, fastmath={"reassoc", "nnan", "ninf", "nsz", "contract"})


def _made(function: F, **options: Any) -> F:
    made = njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    compile_for_args = made._compile_for_args

    def alone(*args: Any, **kwargs: Any) -> Any:
        # numba locks each pass, not the whole: of two threads that compile at once, one may meet a KeyError
        with global_compiler_lock:
            return compile_for_args(*args, **kwargs)

    made._compile_for_args = alone
    return cast(F, made)
