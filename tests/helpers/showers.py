"""Toy calorimeter showers: fast, seeded, with the shapes of electromagnetic ones.

A gamma profile along the depth whose maximum grows with log E and fluctuates, two exponentials across that widen with
depth, a small transverse kick of the whole shower, and sampling by Poisson-many gamma-distributed deposits, which gives
a resolution of sqrt(2 quantum / E) and many empty voxels. Deposits below the readout threshold are 0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc

from fastsim.detector.binning import Binning, Layer
from fastsim.detector.detector import load_detector
from fastsim.detector.incidents import Incidents
from fastsim.formats.calochallenge import Showers, write_showers
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource

READOUT = 0.5e-3 / 0.033
"""MeV, the readout threshold of CaloChallenge datasets 2 and 3."""


SMALL = """
absorber = "G4_Pb"
active = "G4_Si"
physics = "em"
particles = ["e-", "gamma"]
min_energy = 1.0
max_energy = 100.0
[[section]]
num_layers = 4
absorber_mm = 2.5
active_mm = 0.3
cell_mm = 4.65
rings = [1, 2]
num_alpha = 3
"""
"""A detector of 24 voxels, as the file that ``--detector`` takes."""
IRREGULAR = """
absorber = "G4_W"
active = "G4_Si"
physics = "em"
particles = ["e-", "gamma"]
min_energy = 0.5
max_energy = 100.0
[[section]]
num_layers = 4
absorber_mm = 2.0
active_mm = 0.5
cell_mm = 5.0
rings = [1, 3]
num_alpha = 4
[[section]]
num_layers = 2
absorber_mm = 4.0
active_mm = 0.5
cell_mm = 5.0
rings = [4]
num_alpha = 4
"""
"""A detector of 40 voxels whose sections have other rings."""


class ToySource(ShowerSource):
    """A source of made-up deposits in the detector of a file; it is quick, and can be sent to other processes."""

    name = "toy"
    domain = ShowerDomain(frozenset({11, 22}), 1.0, 100.0)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.detector = path.stem

    def binning(self, pdg_id: int) -> Binning:
        binning = load_detector(self.path).binning("gamma" if pdg_id == 22 else "e-")
        assert binning is not None
        return binning

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        voxels = rng.gamma(2.0, size=(len(incidents), self.binning(22).num_voxels))
        voxels[rng.uniform(size=voxels.shape) < 0.5] = 0
        return (incidents.energy[:, None] * voxels).astype(np.float32)


def electron_binning(num_layers: int = 45, num_r: int = 9, num_alpha: int = 16) -> Binning:
    """Return the binning of dataset 2 of the CaloChallenge, or of a coarser calorimeter of the same radius."""
    edges = tuple(np.round(np.linspace(0.0, 41.85, num_r + 1), 6).tolist())
    return Binning("electron", 11, tuple(Layer(i, edges, num_alpha) for i in range(num_layers)))


def mixed_binning() -> Binning:
    """Return a small binning that has, as dataset 1, unequal layers, one without voxels and some of one sector."""
    layers = (
        Layer(0, (0.0, 5.0, 10.0, 30.0), 1),
        Layer(1, (0.0, 2.0, 8.0, 20.0), 6),
        Layer(2, (0.0,), 1),
        Layer(3, (0.0, 4.0, 10.0, 40.0), 4),
        Layer(12, (0.0, 50.0), 1),
    )
    return Binning("photon", 22, layers)


def toy_showers(
    num: int,
    binning: Binning,
    rng: np.random.Generator,
    *,
    energy: tuple[float, float] = (1e3, 1e6),
    depth: float = 1.0,
    width: float = 1.0,
    response: float = 1.0,
    quantum: float = 10.0,
) -> Showers:
    """Return ``num`` toy showers.

    Args:
        num: how many.
        binning: where the voxels lie; the layers with voxels share 38 radiation lengths.
        rng: source of all randomness.
        energy: incident energies in MeV, log-uniform between these.
        depth, width, response: factors on the depth of the maximum, the radius, and the visible energy.
        quantum: MeV of one sampled deposit.
    """
    incident = np.exp(rng.uniform(np.log(energy[0]), np.log(energy[1]), num))
    layers = len(binning.parts)
    # Longo-Sestili: fractions from the incomplete gamma function, b = 0.5, critical energy of tungsten
    maximum = depth * (np.log(incident / 8.0) + 0.5) * np.exp(rng.normal(0.0, 0.08, num))
    reach = gammainc(1.0 + 0.5 * maximum[:, None], 0.5 * np.linspace(0.0, 38.0, layers + 1))
    along = np.diff(reach, axis=1)
    direction, kick = rng.uniform(-np.pi, np.pi, num), rng.rayleigh(0.08, num)
    voxels = np.zeros((num, binning.num_voxels), dtype=np.float32)
    for number, (layer, rows) in enumerate(binning.parts):
        spread = width * (1.0 + number / layers)
        edges = np.array(layer.r_edges)
        core, tail = (1.0 - np.exp(-edges / s) * (1.0 + edges / s) for s in (2.0 * spread, 9.0 * spread))
        ring = np.diff(0.85 * core + 0.15 * tail)
        sectors = layer.alpha[:: layer.num_r]
        around = np.ones((num, layer.num_alpha)) / layer.num_alpha
        if layer.binned_in_alpha:
            around *= 1.0 + np.minimum(2 * kick, 0.9)[:, None] * np.cos(sectors - direction[:, None])
        mean = (response * incident * along[:, number])[:, None, None] * around[:, :, None] * ring
        hits = rng.poisson(mean.reshape(num, -1) / quantum)
        deposit = np.zeros(hits.shape)
        deposit[hits > 0] = quantum * rng.standard_gamma(hits[hits > 0])
        voxels[:, rows] = np.where(deposit > READOUT, deposit, 0.0)
    return Showers(incident, voxels)


def store(path: Path, showers: Showers, binning: Binning, **settings: Any) -> Path:
    """Write showers as ``fastsim showers`` does, with their binning (.xml) and the settings of the run."""
    write_showers(path, showers)
    path.with_suffix(".xml").write_text(binning.to_xml(), encoding="utf-8")
    values = {"detector": {"name": "pb-si-ecal"}, "energy": [1.0, 100.0], "theta": 0.0, "seed": 1, **settings}
    with h5py.File(path, "a") as file:
        file.attrs["settings"] = json.dumps(values)
    return path
