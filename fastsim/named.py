"""Python objects by the text ``package.module:object``."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from fastsim.errors import PipelineError


def load_object(text: str, place: str) -> Any:
    """Return the object that ``package.module:object`` names; modules of the current folder are found too.

    Args:
        text: the name.
        place: begins the message.

    Raises:
        PipelineError: if the text is no such name, or the module or the object cannot be loaded.

    >>> load_object("math:pi", "step 1")
    3.141592653589793
    """
    module, _, name = text.partition(":")
    if not (name and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))):
        raise PipelineError(f"{place}: {text!r} names no object: give package.module:object")
    # as python -m does: a command that is installed does not look there
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)
    try:
        found: Any = import_module(module)
    except Exception as error:  # the module of a user may raise anything
        raise PipelineError(
            f"{place}: module {module!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise PipelineError(f"{place}: module {module!r} has no {name!r}") from None
    return found
