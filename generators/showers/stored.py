"""Showers of a file, with the settings of the run that wrote it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastsim.detector.binning import Binning, read_binning
from fastsim.detector.detector import Detector, available
from fastsim.errors import FastsimError
from fastsim.formats.calochallenge import Showers, read_showers


@dataclass(frozen=True)
class StoredShowers:
    """Showers that ``fastsim showers`` wrote.

    Attributes:
        path: of the file.
        detector: name of the detector.
        geometry: the detector, unless it is one that ships.
        pdg_id: of the incident particle.
        energy: lowest and highest kinetic energy of the run, in GeV.
        theta: largest angle to the normal of the layers, in rad.
        seed: of the run; one detector, particle, range and seed always give the same showers.
        model: name of the model that generated them; None for Geant4.
        binning: of the voxels, from the XML file of the same name.
        showers: the showers.
    """

    path: Path
    detector: str
    geometry: Detector | None
    pdg_id: int
    energy: tuple[float, float]
    theta: float
    seed: int
    model: str | None
    binning: Binning
    showers: Showers


def read_stored(path: str | os.PathLike[str], *, max_events: int | None = None) -> StoredShowers:
    """Read a CaloChallenge HDF5 file of fastsim, and the binning from the XML file of the same name.

    Args:
        path: the file.
        max_events: read the first ones up to this number.

    Raises:
        FastsimError: if the file or its binning cannot be read, do not fit each other, or lack the run's settings.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise FastsimError(f"{path}: no such file")
    binning = read_binning(path.with_suffix(".xml"))
    showers = read_showers(path, binning, max_events=max_events)
    with h5py.File(path, "r") as file:
        text = file.attrs.get("settings")
    try:
        settings = json.loads(text)
        low, high = settings["energy"]
        detector, theta = str(settings["detector"]["name"]), float(np.max(settings["theta"]))
        energy, seed = (float(low), float(high)), int(settings["seed"])
    except (TypeError, ValueError, KeyError) as error:
        raise FastsimError(
            f"{path}: does not say which detector and energies it is of; give a file that fastsim showers made"
        ) from error
    model = settings.get("model")
    try:
        geometry = None if detector in available() else Detector.from_dict(settings["detector"])
    except FastsimError as error:
        raise FastsimError(f"{path}: {error}") from error
    return StoredShowers(path, detector, geometry, binning.pid, energy, theta, seed, model, binning, showers)
