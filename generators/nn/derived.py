"""What is computed from a module's weights for sampling, and computed anew when they change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

T = TypeVar("T")


class Derived(Generic[T]):
    """Keeps ``build(module, *options)`` until the module's weights, or the options, are others.

    Seen are load_state_dict, steps of optimisers, changes in place (``with torch.no_grad(): weight.add_(...)``), and
    parameters, buffers or submodules that are replaced: torch counts the changes of each tensor. It does not count what
    is written through ``weight.data`` or a NumPy view: call :meth:`forget` then. Threads may share one object; copies,
    also those sent to other processes, build their own.

    Args:
        build: a function or class that copies what it needs of the weights.
    """

    def __init__(self, build: Callable[..., T]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._kept: _Kept[T] | None = None

    def of(self, module: nn.Module, *options: Any) -> T:
        """Return ``build(module, *options)`` for the module's weights as they are now."""
        kept = self._kept
        if kept is None or not kept.holds(module, options):
            with self._lock:
                kept = self._kept
                if kept is None or not kept.holds(module, options):
                    # its state is noted before it is read: a change meanwhile is seen at the next call
                    kept = _Kept(module, options)
                    kept.value = self._build(module, *options)
                    self._kept = kept
        return kept.value

    def forget(self) -> None:
        """Build anew at the next call, whatever the weights."""
        self._kept = None

    def __getstate__(self) -> Callable[..., T]:
        return self._build

    def __setstate__(self, build: Callable[..., T]) -> None:
        self.__init__(build)  # type: ignore[misc]


class _Kept(Generic[T]):
    """A value with the state of the module that it was made of."""

    value: T

    def __init__(self, module: nn.Module, options: tuple[Any, ...]) -> None:
        self._module, self._options = module, options
        modules = tuple(module.modules())
        # the dictionaries of modules and tensors themselves: torch's iterators over them take ten times as long
        self._submodules = [each._modules for each in modules]
        self._tensors = [tensors for each in modules for tensors in (each._parameters, each._buffers)]
        # alive as long as their identities are compared: no later object can have the same
        self._alive = (modules, *module.parameters(), *module.buffers())
        self._state = self._state_now()

    def holds(self, module: nn.Module, options: tuple[Any, ...]) -> bool:
        """Return whether module and options are those that the value was made of, and unchanged."""
        return self._module is module and self._options == options and self._state == self._state_now()

    def _state_now(self) -> list[int]:
        """Return identity, address and number of changes of all tensors, and the identities of all submodules."""
        state = [id(each) for submodules in self._submodules for each in submodules.values()]
        for tensors in self._tensors:
            for tensor in tensors.values():
                if tensor is not None:
                    state += (id(tensor), tensor.data_ptr(), _changes(tensor))
        return state


def _changes(tensor: Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # made in inference mode: not counted
        return 0
