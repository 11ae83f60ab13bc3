"""The libraries that only some features need: which extra brings them, and the command that installs it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fastsim.errors import MissingLibrary

EXTRAS = {
    "distributed": "dask",
    "energyflow": "energyflow",
    "fastjet": "evaluate",
    "geant4_pybind": "geant4",
    "matplotlib": "plot",
    "mplhep": "plot",
    "onnx": "export",
    "onnxscript": "export",
    "optuna": "search",
    "ot": "evaluate",
    "sklearn": "evaluate",
    "threadpoolctl": "evaluate",
}
"""The extra of pyproject.toml that brings each library, by the name that is imported."""


def library(name: str) -> Any:
    """Import a library, or a module of it, that an extra brings.

    Raises:
        MissingLibrary: if it is not installed; the message names the extra and the command.

    >>> library("sklearn.ensemble").__name__
    'sklearn.ensemble'
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise missing(error) from error


def missing(error: ImportError) -> MissingLibrary:
    """Return the error that says how to install what an import did not find."""
    if isinstance(error, MissingLibrary):
        return error
    name = (error.name or "").split(".")[0]
    return MissingLibrary(missing_text(name) if name in EXTRAS else str(error))


def missing_text(name: str) -> str:
    """Return the sentence that says how to install a library of :data:`EXTRAS`.

    >>> missing_text("fastjet")
    "fastjet is not installed; the extra evaluate has it: pip install 'fastsim-hep[evaluate]', in a clone '.[evaluate]'"
    """
    extra = EXTRAS[name]
    command = f"pip install 'fastsim-hep[{extra}]', in a clone '.[{extra}]'"
    return f"{name} is not installed; the extra {extra} has it: {command}"


def installed(name: str) -> bool:
    """Return whether a library is installed, without importing it."""
    return find_spec(name) is not None
