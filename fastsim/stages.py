"""The stages of a run by name, and what stands for them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from fastsim.detector.detector import Detector, load_detector
from fastsim.detector.towers import SEGMENTS, towers_of
from fastsim.errors import FastsimError, PipelineError, WeightsError
from fastsim.formats.atomic import HDF5_ENDINGS, ROOT_ENDINGS, PathLike
from fastsim.production.run import Plan
from fastsim.shipped import sha256_of
from fastsim.sources.showers import ShowerModel, ShowerSource
from generators.reference.geant4_showers import Geant4Showers
from generators.showers.sources import default_model, load_source
from generators.showers.step import Deposit

HADRONS, PYTHIA, CALORIMETER = "hadrons", "pythia", "calorimeter"
CHAINS = ((HADRONS,), (PYTHIA,), (HADRONS, CALORIMETER), (PYTHIA, CALORIMETER), (CALORIMETER,))
"""What can be run: hadrons from a model or from the reference, their deposits in a calorimeter, or both."""

GEANT4 = "geant4"
"""The name of the reference of showers, where a model's is expected."""
DETECTOR = "copper-towers"
"""The calorimeter of the pipeline, whose model ships."""
FINE_DETECTOR = "copper"
"""The same in the finest voxels: Geant4's."""
PION = 211

ShowerModelName = PathLike | Sequence[PathLike]


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
def depositing(
    model: ShowerModelName | ShowerSource | None, *, data: PathLike | None, workers: int
) -> Iterator[tuple[Deposit, dict[str, str]]]:
    """The Step of the calorimeter, and what a file says about it; ends Geant4's workers at the end.

    What is outside the model's limits goes to Geant4, if it and its data are installed.

    Args:
        model: a shipped model of showers, the path of a card (.json) or of a library (.h5), the paths of a library's
            files, ``"geant4"``, or a source; by default the model that ships for the detector.
        data: folder of Geant4's data sets; if it is given, here or by FASTSIM_GEANT4_DATA, they have to be there.
        workers: of Geant4.

    Raises:
        FastsimError: if there is no such model, or Geant4 is asked for and not there.
    """
    source: ShowerSource | None = None
    name, made = FINE_DETECTOR, dict[str, str]()
    if model != GEANT4:
        source, made = _source(model)
        name = source.detector if source.detector in SEGMENTS else DETECTOR
    detector = load_detector(name)
    named = data is not None or bool(os.environ.get("FASTSIM_GEANT4_DATA"))
    reference = _reference(detector, data, workers, needed=source is None or named)
    with nullcontext() if reference is None else closing(reference):
        fallback = reference
        if source is None:
            assert reference is not None
            source, fallback = reference, None
        deposit = Deposit(source, fallback, towers_of(detector))
        told = {
            "shower_model": source.name,
            "shower_fallback": "none" if fallback is None else fallback.name,
            "calorimeter": deposit.towers.to_json(),
            **made,
        }
        yield deposit, told


def geant4_takes_part(deposit: Deposit) -> bool:
    """Whether Geant4 makes some of the showers, or all."""
    return any(isinstance(source, Geant4Showers) for source in (deposit.source, deposit.fallback))


def shared_out(plan: Plan, deposit: Deposit) -> Plan:
    """The plan for filling cells: where Geant4 makes showers, the worker processes are its own.

    Where it makes all of them, one block of events at a time keeps them busy.

    Raises:
        FastsimError: if a cluster is to fill cells for which Geant4 makes showers.
    """
    if plan.scheduler and geant4_takes_part(deposit):
        which = "all showers" if deposit.fallback is None else f"those outside the limits of {deposit.source.name}"
        raise FastsimError(
            f"Geant4 makes {which}, in processes of this machine, not of a cluster: give --workers instead of "
            "--scheduler, or run where Geant4's data is not set"
        )
    if isinstance(deposit.source, Geant4Showers):
        return replace(plan, workers=0, threads=1)
    return plan if deposit.fallback is None else replace(plan, workers=0)


def _reference(detector: Detector, data: PathLike | None, workers: int, *, needed: bool) -> Geant4Showers | None:
    try:
        return Geant4Showers(detector, data=data, workers=workers)
    except FastsimError:
        if needed:
            raise
        return None


def shower_source(
    model: ShowerModelName | ShowerSource | None, detector: str, pdg_id: int
) -> tuple[ShowerSource, dict[str, str]]:
    """A source of showers, and what a file says about it: ``version`` and ``sha256`` of a model, or of a library.

    Args:
        model: a shipped model, the path of a card (.json) or of a library (.h5), the paths of a library's files, or a
            source; None for the model that ships for the detector.
        detector: its name.
        pdg_id: of the particle that a default has to know, if there are several.

    Raises:
        WeightsError: if there is no such model, or none ships.
    """
    if isinstance(model, ShowerModel):
        return model, model.made
    if isinstance(model, ShowerSource):
        return model, {}
    found = load_showers(default_model(detector, pdg_id) if model is None else model)
    return found.source, found.made


def load_showers(name: ShowerModelName) -> ShowerModel:
    """A source of calorimeter showers by name.

    Args:
        name: a shipped model (``fastsim models`` lists them), the path of a card (.json), or of a library (.h5) that
            ``fastsim reference --detector`` made; or the paths of a library's files.

    Raises:
        WeightsError: if there is no such model, it makes no showers, or its card or weights are missing or altered.
        FastsimError: if a library cannot be read.
    """
    source, card = load_source(name)
    if card is not None:
        return ShowerModel(source, {"version": card.version, "sha256": card.sha256})
    paths = [name] if isinstance(name, str | os.PathLike) else name
    return ShowerModel(source, {"sha256": ",".join(sha256_of(Path(path)) for path in paths)})


def _source(model: ShowerModelName | ShowerSource | None) -> tuple[ShowerSource, dict[str, str]]:
    """That of the calorimeter's showers, and what a file of cells says about it."""
    try:
        source, made = shower_source(model, DETECTOR, PION)
    except WeightsError as error:
        if model is not None:
            raise
        raise WeightsError(
            f"no shower model ships for {DETECTOR}: give --shower-model {GEANT4}, or the path of a card (.json) "
            "or of a library (.h5) that fastsim reference made"
        ) from error
    return source, {f"shower_model_{key}": value for key, value in made.items()}
