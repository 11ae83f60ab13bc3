"""Functions compiled by numba: cached on disk, and free of the interpreter's lock so that chunks run side by side.

A kernel is compiled when it is called for the first time on a machine, and its machine code is kept in a folder of the
user's: NUMBA_CACHE_DIR if it is set, else beside the source, else (where that is not writable) numba's folder in the
user's cache. Where no folder is writable, each process compiles what it needs.

Whenever a kernel has to be compiled, this module's logger says so at level INFO; the record's attribute ``kept`` says
whether there is a folder for the machine code.
"""

from __future__ import annotations

import gc
import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numba.core import entrypoints
from numba.core.caching import FunctionCache, NullCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime import rtsys
from numpy.typing import NDArray

from fastsim.startup import starting

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger(__name__)
_kernels: list[Any] = []
_SUMS = {"reassoc", "nnan", "ninf", "nsz", "contract"}


def compiled(function: F) -> F:
    """Compile a function: floating point as written (no fast-math), with numpy's infinities.

    What may change in other modules (tables, masses) has to be an argument: the cache does not see globals change.
    Arrays are best allocated by the caller: each kind of array that a kernel makes, and each slice that it fills,
    costs as much time to compile as the rest of a small kernel.
    """
    return _kernel(function)


def compiled_inside(function: F) -> F:
    """Compile a function that other kernels call and Python does not: it takes less time to compile."""
    return _kernel(function, no_cpython_wrapper=True)


def compiled_into(function: F) -> F:
    """Compile as :func:`compiled_inside` does a function whose code becomes part of what calls it.

    For one that takes many arrays in a tuple: as an argument each of them is copied, seven words an array.
    """
    return _kernel(function, no_cpython_wrapper=True, forceinline=True)


def compiled_sums(function: F) -> F:
    """Compile a function of finite numbers whose sums may be taken in any order: they run in parallel lanes."""
    return _kernel(function, fastmath=_SUMS)


def compiled_sums_inside(function: F) -> F:
    """Compile as :func:`compiled_sums` does a function that other kernels call and Python does not."""
    return _kernel(function, no_cpython_wrapper=True, fastmath=_SUMS)


def for_kernels(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array as kernels take it: in one piece and writable, or each would be compiled anew for others."""
    return np.require(values, requirements=("C", "W"))


def cache_folders() -> list[str]:
    """Return the folders that hold the machine code of the kernels imported so far; none if none is writable."""
    return sorted({kernel._cache.cache_path for kernel in _kernels if kernel._cache.cache_path is not None})


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of one kernel, which says when it lacks a signature and gives up quietly on a full disk."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        # numba looks at the kernel's own file only: what it calls in other files becomes part of its machine code
        names = function.__code__.co_names
        called = [function.__globals__[name] for name in names if name in function.__globals__]
        self.stamp = (
            self._cache_file._source_stamp,
            *(kernel._cache.stamp for kernel in called if isinstance(getattr(kernel, "_cache", None), _Cache)),
        )
        self._cache_file._source_stamp = self.stamp

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        loaded = None
        try:
            # numba first registers all that it can compile, half a second; machine code needs but its memory manager
            rtsys.initialize(target_context)
            loaded = self._load_overload(sig, target_context)
        except OSError:
            pass
        except (EOFError, pickle.UnpicklingError):  # cut short when the machine went down
            self._forget()
        if loaded is None:
            target_context.refresh()
            _log.info("compiling %s", self._py_func.__qualname__, extra={"kept": True})
        return loaded

    def save_overload(self, sig: Any, data: Any) -> None:
        # where there is no room left, what is compiled serves this process
        with suppress(OSError):
            super().save_overload(sig, data)

    def _forget(self) -> None:
        with suppress(OSError):
            self.flush()


class _NoCache(NullCache):  # type: ignore[misc]
    """In place of a cache where no folder is writable."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def load_overload(self, sig: Any, target_context: Any) -> None:
        _log.info("compiling %s", self._function.__qualname__, extra={"kept": False})


def _cache(function: Callable[..., Any]) -> _Cache | _NoCache:
    try:
        return _Cache(function)
    except (RuntimeError, OSError):  # numba's RuntimeError: no folder is writable
        return _NoCache(function)


@contextmanager
def _without_extensions() -> Iterator[None]:
    """Keep numba from importing awkward, vector and sympy, whose types no kernel here takes: a second of time.

    Numba loads such extensions the first time that anything is compiled. Others' functions still find them.
    """
    before = getattr(entrypoints, "_already_initialized", None)
    if before is not False:
        yield
        return
    entrypoints._already_initialized = True
    try:
        yield
    finally:
        entrypoints._already_initialized = False


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the garbage collector from looking through the objects that the compiler makes by the million."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _kernel(function: F, **options: Any) -> F:
    kernel = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
    kernel._cache = _cache(function)
    compile_for_args = kernel._compile_for_args

    def compile_alone(*args: Any, **kwargs: Any) -> Any:
        # numba locks each pass, not the whole: of two threads that compile at once, one may meet a KeyError
        with global_compiler_lock, starting(), _without_extensions(), _without_collector():
            return compile_for_args(*args, **kwargs)

    kernel._compile_for_args = compile_alone
    _kernels.append(kernel)
    return cast(F, kernel)
