"""Sources of showers as torch modules: particles -> calorimeter cells, and one particle -> the voxels of its shower.

They have no derivatives. See :mod:`generators.hadrons.blocks` for sets and noise.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.detector.detector import load_detector
from fastsim.detector.incidents import Incidents
from fastsim.detector.towers import towers_of
from fastsim.errors import PipelineError
from fastsim.event import HardEvents, ParticleSet, offsets_from_counts
from fastsim.networks.layers import Shape
from fastsim.sources.showers import ShowerSource
from generators.nn.noise import NOISE, generator_of
from generators.showers.step import Deposit


class ShowerPart(nn.Module):
    """A part of what a source of showers does; its weights stay as they are, and are no part of the module's state.

    Args:
        source: the source.
        log_prob: no source of showers has one.

    Raises:
        PipelineError: if a probability is asked for.
    """

    part: ClassVar[str]
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]

    def __init__(self, source: ShowerSource, *, log_prob: bool = False) -> None:
        super().__init__()
        if log_prob:
            raise PipelineError(f"{source.name}: its part {self.part!r} has no log_prob")
        self._held = (source,)  # in a tuple: no module of this one

    @property
    def source(self) -> Any:
        """The source."""
        return self._held[0]


class CellsPart(ShowerPart):
    """Final particles -> the cells of the detector's towers that saw energy: ids, energies in MeV, mask.

    Particles outside the domain of the source leave nothing, as in :class:`generators.showers.step.Deposit`.
    """

    part = "cells"

    def __init__(self, source: ShowerSource, *, log_prob: bool = False) -> None:
        self.inputs = {
            "particle_p4": ("particles", 4),
            "particle_id": ("particles",),
            "particle_mask": ("particles",),
            "noise_cells": NOISE,
        }
        self.outputs = {"cell_id": ("cells",), "cell_energy": ("cells",), "cell_mask": ("cells",)}
        super().__init__(source, log_prob=log_prob)
        self._deposit = Deposit(source, None, towers_of(load_detector(source.detector)))

    def forward(self, p4: Tensor, pdg_id: Tensor, mask: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Deposit the particles of N events."""
        offsets = offsets_from_counts(mask.sum(1).numpy())
        momenta = p4.detach().double()[mask].numpy()
        particles = ParticleSet(offsets, pdg_id[mask].numpy().astype(np.int64), momenta)
        events = HardEvents.of_particles(particles, np.ones((len(mask), 1)), np.arange(len(mask)))
        cells = self._deposit.step(events, rng=generator_of(noise)).cells
        assert cells is not None
        inside = torch.arange(int(cells.counts.max(initial=1))) < torch.from_numpy(cells.counts)[:, None]
        ids, energy = torch.zeros(inside.shape, dtype=torch.int64), torch.zeros(inside.shape)
        ids[inside], energy[inside] = torch.from_numpy(cells.id), torch.from_numpy(cells.energy)
        return ids, energy, inside


class ShowersPart(ShowerPart):
    """Particles along the normal of the layers -> deposits in MeV in the voxels of their showers, (V,)."""

    part = "showers"

    def __init__(self, source: ShowerSource, *, log_prob: bool = False) -> None:
        binning = source.binning(min(source.domain.particles))
        self.inputs = {"incident_id": (), "incident_energy": (), "noise_showers": NOISE}
        self.outputs = {"deposits": (sum(layer.num_voxels for layer in binning.layers),)}
        super().__init__(source, log_prob=log_prob)

    def forward(self, pdg_id: Tensor, energy: Tensor, noise: Tensor) -> Tensor:
        """Draw the showers of N particles of kinetic energies in GeV."""
        zero = np.zeros(len(pdg_id))
        kinetic = energy.detach().double().numpy()
        incidents = Incidents(pdg_id.numpy().astype(np.int64), kinetic, zero, zero)
        return torch.from_numpy(self.source.sample(incidents, rng=generator_of(noise)))


PARTS: dict[str, type[ShowerPart]] = {cls.part: cls for cls in (CellsPart, ShowersPart)}
"""The parts by name; the first is what a source is as a whole."""
