"""The cascade: a shower as a sequence of splits of its energy, from the whole to the single voxel.

1. response: the energy of the particle, into what is visible and what is not;
   and, where the cascade has one, the latent: what all layers share (:mod:`generators.showers.cascade.latent`);
2. layers: the visible energy, layer by layer from the front ("this layer | the layers behind it");
3. rings: each layer's energy, from the inside ("this ring | the rings outside it"), given the rings in front;
4. sectors: each ring's energy, halved in alpha until single sectors are left, given the sectors in front and the rings
   behind.

Every split is drawn from a small network (:mod:`generators.showers.cascade.splits`) whose features are what is known by
then (:mod:`generators.showers.cascade.features`), and what the latent asks of the energy that is left
(:mod:`generators.showers.cascade.conditions`). Energies of layers, rings and voxels add up exactly, zeros are exact,
and training is by likelihood. The whole shower is turned by a random number of sectors and mirrored at random, so the
symmetries of a perpendicular shower hold exactly. A cascade of tilted showers sees the direction of flight too
(:mod:`generators.showers.cascade.tilt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastsim.event import Floats, Ints
from fastsim.event.species import masses
from generators.showers.cascade.conditions import (
    LAYER_CONDITIONS,
    NUM_RECENT,
    RING_CONDITIONS,
    SECTOR_CONDITIONS,
    layer_conditions,
    ring_conditions,
    sector_conditions,
    sum_layers,
    sum_rings,
    sum_sides,
)
from generators.showers.cascade.features import (
    all_nodes,
    compressed,
    layer_features,
    num_layer_features,
    num_ring_features,
    num_sector_features,
    remember,
    ring_features,
    sector_features,
)
from generators.showers.cascade.grid import Grid
from generators.showers.cascade.latent import (
    NUM_VECTORS,
    VISIBLE,
    Latent,
    LatentFlow,
    blurred_rings,
    blurred_sectors,
    latent_of,
)
from generators.showers.cascade.splits import MAX_LOG_RATIO, Rows, SplitNet
from generators.showers.cascade.tilt import SECTOR_TILTS, SLANT, Tilt, slant_of, with_slant

STAGES = ("response", "layers", "rings", "sectors")
"""Stages of splits."""
LATENT = "latent"
"""The stage that draws the latent, after the response."""
_NEARLY_ALL = 0.95
"""Visible share from which on showers are taken to be calibrated: they may show more than their particle had."""
BOTH, ONLY_A, ONLY_B = range(3)
"""Cases of a split: both parts have energy, or one alone."""


class Cascade(nn.Module):
    """The networks of the four stages.

    Args:
        grid: of the voxels.
        particles: PDG ids, in the order of their one-hot.
        sizes: width, depth and num_components by stage, where they differ from the defaults.
        latent: width, num_layers and num_bins of the latent's flow, where they differ from its defaults; None for a
            cascade without latent.
        ceiling: largest visible energy over what the particle can deposit: above 1 where deposits were divided by the
            sampling fraction.
        splits: the stages of splits that it has, the first ones.
        tilted: whether it knows tilted particles; their tilts are given then.

    Raises:
        ValueError: if ``sizes`` names a stage that there is not, or tilted particles have no latent.
    """

    def __init__(
        self,
        grid: Grid,
        particles: tuple[int, ...],
        sizes: Mapping[str, Mapping[str, Any]],
        latent: Mapping[str, Any] | None = None,
        ceiling: float = 1.0,
        splits: tuple[str, ...] = STAGES,
        *,
        tilted: bool = False,
    ) -> None:
        super().__init__()
        if tilted and latent is None:
            raise ValueError("a cascade of tilted showers needs a latent")
        self.ceiling, self.splits, self.tilted = ceiling, splits, tilted
        self.grid, self.particles = grid, particles
        num_particle, num_layers = 2 + len(particles), grid.num_layers
        self.num_features = {
            "response": num_particle,
            "layers": num_layer_features(num_layers, num_particle + 1),
            "rings": num_ring_features(num_layers, grid.max_r, num_particle),
            "sectors": num_sector_features(grid.max_r, grid.num_levels, num_particle),
        }
        """Features of each stage without those of the latent, which follow them."""
        lengths = dict(self.num_features)
        self.latent: LatentFlow | None = None
        if latent is not None:
            self.latent = LatentFlow(num_particle + 1, num_layers, dict(latent), tilted=tilted)
            for stage, names in (
                ("layers", LAYER_CONDITIONS),
                ("rings", RING_CONDITIONS),
                ("sectors", SECTOR_CONDITIONS),
            ):
                lengths[stage] += len(names)
        if tilted:
            for stage in STAGES:
                lengths[stage] += len(SECTOR_TILTS if stage == "sectors" else SLANT)
        defaults: dict[str, dict[str, Any]] = {
            "response": {"width": 32, "depth": 2, "num_components": 6, "skip": True, "normal": True},
            "layers": {"width": 128, "depth": 3, "num_components": 8, "skip": True},
            "rings": {"width": 128, "depth": 3, "num_components": 6},
            "sectors": {"width": 128, "depth": 3, "num_components": 6},
        }
        if unknown := sorted(set(sizes) - set(splits)):
            raise ValueError(f"unknown stage {unknown[0]!r}: there are {', '.join(splits)}")
        self.nets = nn.ModuleDict(
            {stage: SplitNet(lengths[stage], **{**defaults[stage], **sizes.get(stage, {})}) for stage in splits}
        )

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in their order."""
        return self.splits if self.latent is None else (self.splits[0], LATENT, *self.splits[1:])

    def module(self, stage: str) -> nn.Module:
        """Return what is trained of a stage: the network of its splits, or the latent's flow."""
        if stage == LATENT:
            assert self.latent is not None
            return self.latent
        return self.net(stage)

    def net(self, stage: str) -> SplitNet:
        """Return the network of a stage of splits."""
        net = self.nets[stage]
        assert isinstance(net, SplitNet)
        return net

    def given(self, pdg_id: Ints, energy: Floats) -> NDArray[np.float32]:
        """Compute the features of the particle that all splits share, (N, 2 + P).

        They are 0.3 log E and its square, E the kinetic energy in GeV, and the particle's one-hot.
        """
        log_energy = 0.3 * np.log(energy)
        kinds = pdg_id[:, None] == np.array(self.particles)
        return np.column_stack([log_energy, log_energy**2, kinds]).astype(np.float32)

    def available(self, pdg_id: Ints, energy: Floats) -> NDArray[np.float32]:
        """Compute the largest visible energies (N,) in MeV of particles (N,) of kinetic energies in GeV."""
        return np.float32(self.ceiling) * available(pdg_id, energy)

    def rows(
        self, pdg_id: Ints, energy: Floats, heaps: NDArray[np.float32], tilt: Tilt | None = None
    ) -> dict[str, Rows]:
        """Compute all splits of known showers, by stage.

        Args:
            pdg_id: of the particles, (N,).
            energy: kinetic energies of the particles in GeV, (N,).
            heaps: deposits of the showers in MeV, (N, L, R, 2A).
            tilt: of the particles, (N, 2); needed by a cascade that knows tilted ones, as in what follows.
        """
        rings = heaps[..., 1]
        layers, z = rings.sum(-1), self.latents(heaps)
        return {
            "response": self.response_rows(pdg_id, energy, layers.sum(-1), tilt),
            "layers": self.layer_rows(pdg_id, energy, layers, z, tilt),
            "rings": self.ring_rows(pdg_id, energy, rings, z, tilt=tilt),
            "sectors": self.sector_rows(pdg_id, energy, heaps, tilt=tilt),
        }

    def response_features(self, given: NDArray[np.float32], tilt: Tilt | None) -> NDArray[np.float32]:
        """Return the features of the first split (N, F): those of the particle (N, C) and the slant, if it is seen."""
        return given if tilt is None else np.column_stack([given, slant_of(tilt)])

    def latents(self, heaps: NDArray[np.float32]) -> Latent | None:
        """Compute the latents (N, Z) of known showers, deposits (N, L, R, 2A) in MeV; None without a latent."""
        return None if self.latent is None else latent_of(self.grid, heaps)

    def latent_rows(
        self, pdg_id: Ints, energy: Floats, z: Latent, tilt: Tilt | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute features and contexts of the latent's flow, one row for each of the showers that have deposits."""
        assert self.latent is not None
        some = np.flatnonzero(z[:, VISIBLE] > 0)
        context = with_response(self.given(pdg_id, energy), z[:, VISIBLE], energy)
        return self.latent.rows(z[some], context[some], None if tilt is None else tilt[some])

    def response_rows(
        self, pdg_id: Ints, energy: Floats, visible: NDArray[np.float32], tilt: Tilt | None = None
    ) -> Rows:
        """Compute the splits of the particles' energies (GeV) into the visible energies (N,) in MeV and the rest."""
        features = self.response_features(self.given(pdg_id, energy), tilt)
        return _rows(features, visible, self.available(pdg_id, energy) - visible)

    def layer_rows(
        self,
        pdg_id: Ints,
        energy: Floats,
        layers: NDArray[np.float32],
        z: Latent | None = None,
        tilt: Tilt | None = None,
    ) -> Rows:
        """Compute the splits of the visible energies into those of the layers (N, L) in MeV, given latents (N, Z)."""
        particle, known = with_response(self.given(pdg_id, energy), layers.sum(-1), energy), compressed(layers)
        rest = np.ascontiguousarray(np.cumsum(layers[:, ::-1], axis=1, dtype=np.float64)[:, ::-1].T.astype(np.float32))
        parts, slant = [], slant_of(tilt)
        for layer in range(self.grid.num_layers - 1):
            rows = np.flatnonzero(rest[layer] > 0)
            out = np.empty((len(rows), self.net("layers").first.in_features), np.float32)
            layer_features(rows, layer, layers, known, particle, rest[layer], out)
            if z is not None:
                layer_conditions(rows, layer, layers, rest[layer], z, slant, self.num_features["layers"], out)
            parts.append((out, layers[rows, layer], rest[layer + 1][rows]))
        return _rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def ring_rows(
        self,
        pdg_id: Ints,
        energy: Floats,
        rings: NDArray[np.float32],
        z: Latent | None = None,
        rng: np.random.Generator | None = None,
        tilt: Tilt | None = None,
    ) -> Rows:
        """Compute the splits of the energies of layers into those of their rings (N, L, R) in MeV.

        ``z`` (N, Z) are the latents, if there are any, and ``rng`` draws their blur; None: a fixed one.
        """
        if z is not None:
            z = blurred_rings(z, np.random.default_rng(0) if rng is None else rng)
        particle, rings = self.given(pdg_id, energy), np.ascontiguousarray(rings)
        known, memory = compressed(rings), self._memory(rings[..., None])[..., 0]
        layers = compressed(rings.sum(-1))
        rest = np.cumsum(rings[..., ::-1], axis=2, dtype=np.float64)[..., ::-1].astype(np.float32)
        parts, gone = [], np.zeros((len(rings), self.grid.num_layers, 5))
        slant = slant_of(tilt)
        for layer, num_r in enumerate(self.grid.num_r):
            sum_rings(rings, layer, self.grid.radii, gone)
            for ring in range(num_r - 1):
                left = np.ascontiguousarray(rest[:, layer, ring])
                rows = np.flatnonzero(left > 0)
                out = np.empty((len(rows), self.net("rings").first.in_features), np.float32)
                ring_features(rows, layer, ring, layers, known, memory, particle, left, out)
                if z is not None:
                    place, radii = self.num_features["rings"], self.grid.radii
                    ring_conditions(rows, layer, ring, rings, left, radii, gone, z, slant, place, out)
                parts.append((out, rings[rows, layer, ring], rest[rows, layer, ring + 1]))
        return _rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def sector_rows(
        self,
        pdg_id: Ints,
        energy: Floats,
        heaps: NDArray[np.float32],
        most: int | None = None,
        rng: np.random.Generator | None = None,
        tilt: Tilt | None = None,
    ) -> Rows:
        """Compute the splits of the energies of rings into those of their sectors.

        Args:
            pdg_id: of the particles, (N,).
            energy: kinetic energies of the particles in GeV, (N,).
            heaps: deposits in MeV, (N, L, R, 2A).
            most: draw so many splits, with repetition, where there are more; None: all splits.
            rng: draws them, and the blur of the latents; None: a fixed one.
            tilt: of the particles, (N, 2); needed by a cascade that knows tilted ones.
        """
        nodes, particle = all_nodes(heaps, self.grid.divided, self.grid.halved), self.given(pdg_id, energy)
        if most is not None and rng is not None and most < len(nodes):
            nodes = nodes[rng.integers(0, len(nodes), most)]
        out = np.empty((len(nodes), self.net("sectors").first.in_features), np.float32)
        swapped = np.empty(len(nodes), np.bool_)
        sector_features(nodes, compressed(heaps), self._memory(heaps), self.grid.neighbours, particle, out, swapped)
        if (z := self.latents(heaps)) is not None:
            blurred = blurred_sectors(z, np.random.default_rng(0) if rng is None else rng)
            sides = Sides(self.grid, heaps, blurred, tilt)
            for front in range(self.grid.num_fronts):
                sides.advance(front)
            sides.fill(nodes, swapped, self.num_features["sectors"], out)
        n, layer, ring, node = nodes.T
        first, second = heaps[n, layer, ring, 2 * node], heaps[n, layer, ring, 2 * node + 1]
        return _rows(out, np.where(swapped, second, first), np.where(swapped, first, second))

    def _memory(self, deposits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the compressed memory (N, L, R, S) of deposits (N, L, R, S) in MeV."""
        memory = np.zeros_like(deposits)
        for layer in range(1, self.grid.num_layers):
            remember(deposits, layer, self.grid.neighbours, memory)
        return compressed(memory)


class Sides:
    """How the energy of showers lies across their axis, front of splits by front, beside what their latents ask for.

    Args:
        grid: of the voxels.
        deposits: in MeV, known where earlier fronts have split; may be filled later, (N, L, R, 2A).
        z: latents, blurred, (N, Z).
        tilt: of the particles, (N, 2); None for a cascade that knows no tilted ones.
    """

    def __init__(self, grid: Grid, deposits: NDArray[np.float32], z: Latent, tilt: Tilt | None = None) -> None:
        self._grid, self._deposits, self._z, self._tilt = grid, deposits, z, with_slant(tilt)
        shape = (len(deposits), grid.num_layers, grid.num_levels, NUM_VECTORS, 2)
        self._own, self._gone = np.zeros(shape), np.zeros(shape)
        self._recent = np.zeros((*shape[:3], NUM_RECENT, 2))
        self._energy = np.zeros((*shape[:2], 3))
        sum_layers(np.ascontiguousarray(deposits[..., 1]), self._energy)

    def advance(self, front: int) -> None:
        """Take in what the fronts before this one have split."""
        radii, directions = self._grid.radii, self._grid.directions
        sum_sides(self._deposits, front, radii, directions, self._z, self._own, self._gone, self._recent)

    def fill(self, nodes: Ints, swapped: NDArray[np.bool_], place: int, out: NDArray[np.float32]) -> None:
        """Fill the features of the splits of blocks; see :func:`~.conditions.sector_conditions`."""
        sums = self._own, self._gone, self._recent
        directions = self._grid.directions
        sector_conditions(
            nodes, self._deposits, swapped, directions, self._z, self._energy, *sums, self._tilt, place, out
        )


def available(pdg_id: Ints, energy: Floats) -> NDArray[np.float32]:
    """Compute the largest energies (N,) in MeV that particles (N,) of kinetic energies in GeV can deposit.

    Mesons and muons decay or are captured and so can deposit one mass more, antinucleons annihilate with a nucleon and
    can deposit two; electrons, photons and nucleons only their kinetic energy.
    """
    kind = np.abs(pdg_id)
    num_masses = np.where(np.isin(kind, (11, 22)), 0, np.where(np.isin(kind, (2112, 2212)), 1 - np.sign(pdg_id), 1))
    result: NDArray[np.float32] = (1e3 * (energy + num_masses * masses(pdg_id))).astype(np.float32)
    return result


def most_visible(pdg_id: Ints, energy: Floats, visible: NDArray[np.float32]) -> float:
    """Return the ceiling that showers need: 1, or more where they show nearly all, or more, of what they can deposit.

    Args:
        pdg_id: of the particles, (N,).
        energy: kinetic energies of the particles in GeV, (N,).
        visible: energies of the showers in MeV, (N,).

    >>> most_visible(np.array([22, 22]), np.array([1.0, 2.0]), np.array([30.0, 50.0], np.float32))
    1.0
    """
    most = float((visible / available(pdg_id, energy)).max())
    return 1.0 if most < _NEARLY_ALL else round(1.5 * most, 3)


def with_response(particle: NDArray[np.float32], visible: NDArray[np.float32], energy: Floats) -> NDArray[np.float32]:
    """Extend the particle's features (N, C) by the log of the visible fraction of its energy, (N, C + 1).

    ``visible`` (N,) is in MeV, ``energy`` (N,) in GeV.
    """
    fraction = np.log(np.maximum(visible, 1e-6) / (1e3 * energy))
    return np.column_stack([particle, fraction]).astype(np.float32)


def _rows(features: NDArray[np.float32], part_a: NDArray[np.float32], part_b: NDArray[np.float32]) -> Rows:
    """Compute splits, as the likelihood takes them, from their features (K, F) and their parts (K,) in MeV."""
    part_a, part_b = np.maximum(part_a, 0), np.maximum(part_b, 0)
    case = np.where(part_b <= 0, ONLY_A, np.where(part_a <= 0, ONLY_B, BOTH))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(part_a.astype(np.float64)) - np.log(part_b.astype(np.float64))
    ratio = np.where(case == BOTH, np.clip(ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO), 0.0).astype(np.float32)
    return Rows(torch.from_numpy(features), torch.from_numpy(case), torch.from_numpy(ratio))
