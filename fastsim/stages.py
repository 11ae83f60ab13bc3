"""The stages of a run by name, and what stands for them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from fastsim.errors import FastsimError, PipelineError
from fastsim.formats.output import HDF5_ENDINGS, ROOT_ENDINGS, PathLike
from fastsim.showers import ShowerSource
from generators.reference.detectors import load_detector
from generators.showers.geant4 import Geant4Showers
from generators.showers.step import Deposit, towers_of

HADRONS, PYTHIA, CALORIMETER = "hadrons", "pythia", "calorimeter"
CHAINS = ((HADRONS,), (PYTHIA,), (HADRONS, CALORIMETER), (PYTHIA, CALORIMETER), (CALORIMETER,))
"""What can be run: hadrons from a model or from the reference, their deposits in a calorimeter, or both."""

GEANT4 = "geant4"
"""The name of the reference of showers, where a model's is expected."""
DETECTOR = "copper"
"""The calorimeter of the pipeline."""

ShowerModel = PathLike | Sequence[PathLike]


def parse(steps: Sequence[str]) -> tuple[str, ...]:
    """The names of the steps.

    Raises:
        PipelineError: if they do not make a chain.
    """
    words = tuple(steps)
    if words not in CHAINS:
        chains = ", ".join(",".join(chain) for chain in CHAINS)
        raise PipelineError(f"steps {','.join(words)!r} are none of {chains}")
    return words


def check_output(output: PathLike) -> None:
    """Raises FastsimError if the output's format does not hold cells."""
    if not os.fspath(output).lower().endswith((*HDF5_ENDINGS, *ROOT_ENDINGS)):
        raise FastsimError(f"{os.fspath(output)}: cells are written as HDF5 (.h5) or ROOT (.root); give such a name")


@contextmanager
def depositing(model: ShowerModel | ShowerSource | None, *, data: PathLike | None, workers: int) -> Iterator[Deposit]:
    """The Step of the calorimeter, with Geant4 as fallback if it is installed; ends Geant4's workers at the end.

    Args:
        model: ``"geant4"``, the path of a library or the paths of its files, or a source.
        data: folder of Geant4's data sets.
        workers: of Geant4.

    Raises:
        FastsimError: if there is no such model, or Geant4 is asked for and not there.
    """
    detector = load_detector(DETECTOR)
    reference: Geant4Showers | None = None
    try:
        reference = Geant4Showers(detector, data=data, workers=workers)
    except FastsimError:
        if model == GEANT4 or data is not None:
            raise
    try:
        if model == GEANT4:
            assert reference is not None
            yield Deposit(reference, None, towers_of(detector))
        else:
            yield Deposit(_source(model), reference, towers_of(detector))
    finally:
        if reference is not None:
            reference.close()


def provenance(deposit: Deposit) -> dict[str, str]:
    """What a file says about its cells: where showers come from, and the towers, as JSON."""
    fallback = "none" if deposit.fallback is None else deposit.fallback.name
    return {
        "shower_model": deposit.source.name,
        "shower_fallback": fallback,
        "calorimeter": deposit.towers.to_json(),
    }


def threads(deposit: Deposit, wanted: int) -> int:
    """How many blocks of events to compute at a time: one where Geant4's own processes do the work."""
    return 1 if isinstance(deposit.source, Geant4Showers) else wanted


def _source(model: ShowerModel | ShowerSource | None) -> ShowerSource:
    if isinstance(model, ShowerSource):
        return model
    if model is None:
        raise FastsimError(
            "the step calorimeter needs a shower model: geant4, or the path of a library of showers (.h5)"
        )
    source: ShowerSource = import_module("generators.showers.sources").load_source(model)[0]
    return source
