"""Arrays of any library as NumPy arrays: lists, torch tensors on any device, awkward and pandas columns."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.errors import InvalidValue

P = ParamSpec("P")
T = TypeVar("T")

_OWN = ("metrics.", "fastsim.")


def as_array(values: ArrayLike | Any, name: str, ndim: int | None = None) -> NDArray[Any]:
    """Return values as a NumPy array of numbers, without a copy where that is possible.

    Args:
        values: an array of any library, or nested lists.
        name: what they are, for messages.
        ndim: the number of dimensions that is needed; None for any.

    Raises:
        InvalidValue: if they are no numbers, or have another number of dimensions.

    >>> as_array([[1, 2], [3, 4]], "features", 2).shape
    (2, 2)
    """
    tensor: Any = values
    if hasattr(tensor, "detach"):  # a torch tensor: NumPy takes it from the processor, and without a gradient only
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    try:
        array = np.asarray(tensor)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"{name}: {type(values).__name__} is no array of numbers ({error})") from error
    if array.dtype.kind not in "biuf":
        raise InvalidValue(f"{name}: {_short(values)} is no array of numbers")
    if ndim is not None and array.ndim != ndim:
        shape = {0: "one number", 1: "(N,)", 2: "(N, D)", 3: "(N, P, F)"}[ndim]
        raise InvalidValue(f"{name}: shape {array.shape}, expected {shape}")
    return array


def array_arguments(**ndims: int | None) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator of functions whose named arguments may be arrays of any library, or nested lists.

    The function gets NumPy arrays; what is None, or no array but an object of ours, such as columns, stays as it is.

    Args:
        ndims: number of dimensions by name of the argument; None for any.

    >>> @array_arguments(x=1)
    ... def mean(x):
    ...     return float(x.mean())
    >>> mean([1, 2, 3])
    2.0
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            bound = signature.bind(*args, **kwargs)
            for name, ndim in ndims.items():
                value = bound.arguments.get(name)
                if value is not None and not type(value).__module__.startswith(_OWN):
                    bound.arguments[name] = as_array(value, name, ndim)
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def _short(values: object) -> str:
    text = " ".join(repr(values).split())
    return text if len(text) <= 50 else f"{text[:47]}..."
