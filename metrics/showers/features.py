r"""The CaloChallenge's high-level features of calorimeter showers, and the shapes of whole showers beside them.

With deposits E_v of the voxels v of layer l at (eta_v, phi_v), ring middle r_v, incident energy E_inc:

    E_l = sum_v E_v,   E_tot = sum_l E_l,
    centre  <eta>_l = sum_v eta_v E_v / E_l,   width  sigma_eta,l = sqrt(sum_v eta_v^2 E_v / E_l - <eta>_l^2),

centre and width in phi and r likewise, and the sparsity lambda_l, the share of a layer's voxels above a threshold.
(The challenge's HighLevelFeatures class stores 1 - lambda_l; plots and histograms of the field show lambda_l.)
Centres and widths in eta and phi exist in layers with several sectors only. A layer without energy has centre and
width 0, as in the challenge. Energies are in MeV, lengths in mm; sums are in float64.

The embedding, for FPD, KPD and classifiers, is the high-level input vector of the challenge's evaluate.py:

    log10 E_inc,   log10(E_l + 1e-8),   <eta>_l / 100,   <phi>_l / 100,   sigma_eta,l / 100,   sigma_phi,l / 100.

It holds E_inc, so that a wrong dependence on it is seen, and neither sparsity nor anything of r.

All of these look at one layer at a time. The shapes of whole showers (:mod:`fastsim.detector.shower_shapes`), which see
how layers belong together, are observables too, but no part of the challenge's vector.

References:
    Krause et al. 2024, arXiv:2410.21611 (CaloChallenge 2022).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer
from fastsim.detector.shower_shapes import ShowerShapes, shower_shapes
from fastsim.formats.calochallenge import Showers, check_showers
from metrics.sample import Sample
from metrics.showers.response import RATIO
from metrics.showers.shapes import GROUP, shape_columns, shape_names

Floats = NDArray[np.float64]

LOG_OFFSET = 1e-8
"""MeV added to a layer's energy before the logarithm, as in the challenge's evaluate.py."""


@dataclass(frozen=True)
class ShowerFeatures:
    """Features of N showers in L layers that have voxels, A of them with several sectors.

    Attributes:
        incident: incident energy in MeV, (N,).
        total: energy of all voxels in MeV, (N,).
        energy: energy of each layer in MeV, (N, L).
        centre_eta, centre_phi, width_eta, width_phi: in mm, (N, A).
        centre_r, width_r: in mm, (N, L).
        sparsity: share of the layer's voxels above the threshold, in [0, 1], (N, L).
        shapes: of the whole showers.
        direction: theta and phi of the particles in rad, (N, 2); 0 where the showers do not say, which are along the
            normal.
    """

    incident: Floats
    total: Floats
    energy: Floats
    centre_eta: Floats
    centre_phi: Floats
    width_eta: Floats
    width_phi: Floats
    centre_r: Floats
    width_r: Floats
    sparsity: Floats
    shapes: ShowerShapes
    direction: Floats

    def embedding(self) -> Floats:
        """Compute the challenge's high-level input vector, shape (N, 1 + L + 4 A)."""
        return np.concatenate(
            [
                np.log10(self.incident)[:, None],
                np.log10(self.energy + LOG_OFFSET),
                *(c / 1e2 for c in (self.centre_eta, self.centre_phi, self.width_eta, self.width_phi)),
            ],
            axis=1,
        )


def shower_features(
    showers: Showers | Iterable[Showers], binning: Binning, *, threshold: float = 0.0
) -> ShowerFeatures:
    """Compute high-level features of showers.

    Args:
        showers: N showers, or parts of them one after the other (``read_chunks``), each dropped after use.
        binning: of their voxels.
        threshold: voxels above this many MeV count in the sparsity, in numbers of voxels and in clusters (0: all that
            recorded anything).

    Returns:
        The features of all showers, in order.

    Raises:
        FastsimError: if the showers do not fit the binning, or an energy is negative, NaN or infinite.
    """
    parts, first = [_of_chunk(Showers(np.zeros(0), np.zeros((0, binning.num_voxels), np.float32)), binning, 0.0)], 0
    for part in (showers,) if isinstance(showers, Showers) else showers:
        for chunk in part.chunks():
            check_showers(chunk, binning, first=first)
            parts.append(_of_chunk(chunk, binning, threshold))
            first += len(chunk)
    arrays = [f.name for f in fields(ShowerFeatures) if f.name != "shapes"]
    return ShowerFeatures(
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in arrays},
        shapes=ShowerShapes.concatenate([p.shapes for p in parts]),
    )


def showers_sample(
    showers: Showers | Iterable[Showers],
    binning: Binning,
    *,
    weights: Floats | None = None,
    threshold: float = 0.0,
) -> Sample:
    """Make a sample for every metric from showers: features as observables, the challenge's vector as embedding.

    Args:
        showers: N showers, kept in ``events``; or parts of them, of which only the features are kept.
        binning: of their voxels.
        weights: event weights of either sign, (N,).
        threshold: of the sparsity, numbers of voxels and clusters, in MeV.

    Returns:
        Observables named as :func:`observable_groups` lists them; ``condition["energy"]`` is E_inc in GeV, "theta" and
        "phi" are the directions in rad of showers that are not all along the normal.

    Raises:
        FastsimError: as :func:`shower_features`.
        ValueError: if there are not as many weights as showers.
    """
    features = shower_features(showers, binning, threshold=threshold)
    groups = observable_groups(binning)
    columns = {RATIO: (features.total / features.incident)[:, None]}
    columns |= {name: getattr(features, attribute) for name, (attribute, _) in _GROUPS.items()}
    columns[GROUP] = shape_columns(features.shapes, groups[GROUP])
    condition = {"energy": features.incident / 1e3}
    if features.direction[:, 0].any():
        condition |= {"theta": features.direction[:, 0], "phi": features.direction[:, 1]}
    return Sample(
        "showers",
        {
            name: np.ascontiguousarray(columns[group][:, i])
            for group, names in groups.items()
            for i, name in enumerate(names)
        },
        features.embedding(),
        condition,
        None if weights is None else np.asarray(weights, dtype=np.float64),
        showers if isinstance(showers, Showers) else None,
        binning,
    )


def binning_of(sample: Sample) -> Binning:
    """Return the binning of a sample of showers.

    Raises:
        ValueError: if the sample is of something else.
    """
    if sample.binning is None:
        raise ValueError(f"the sample is of {sample.kind} and has no binning: make it with showers_sample")
    return sample.binning


def layer_energies(sample: Sample) -> Floats:
    """Return E_l in MeV of a sample of showers, for the layers that have voxels, shape (N, L).

    Raises:
        ValueError: if the sample is of something else, or an energy is NaN or infinite.
    """
    names = observable_groups(binning_of(sample))["E_layer"]
    energy = np.stack([sample.observables[name] for name in names], axis=1)
    if not np.isfinite(energy).all():
        raise ValueError("layer energies hold NaN or infinity")
    return energy


def showers_of(sample: Sample) -> Showers:
    """Return the showers that a sample holds.

    Raises:
        ValueError: if it holds none, as one made of a file's chunks.
    """
    if not isinstance(sample.events, Showers):
        raise ValueError("the sample does not hold its showers: make it from Showers, not from chunks of a file")
    return sample.events


# group of observables: attribute of ShowerFeatures, unit
_GROUPS = {
    "E_layer": ("energy", " / MeV"),
    "centre eta": ("centre_eta", " / mm"),
    "centre phi": ("centre_phi", " / mm"),
    "width eta": ("width_eta", " / mm"),
    "width phi": ("width_phi", " / mm"),
    "centre r": ("centre_r", " / mm"),
    "width r": ("width_r", " / mm"),
    "sparsity": ("sparsity", ""),
}


def observable_groups(binning: Binning) -> dict[str, tuple[str, ...]]:
    """Name the observables of a binning's showers, in groups that keep tables readable: one group a feature.

    The last group, "whole shower", has all shapes of :data:`metrics.showers.shapes.SHAPES`.

    Returns:
        Names of observables by group.

    >>> from fastsim.detector.binning import Layer
    >>> groups = observable_groups(Binning("photon", 22, (Layer(0, (0.0, 5.0), 1), Layer(3, (0.0, 5.0), 8))))
    >>> groups["E_layer"], groups["centre eta"]
    (('E_layer 0 / MeV', 'E_layer 3 / MeV'), ('centre eta layer 3 / mm',))
    """
    every = [layer for layer, _ in binning.parts]
    names: dict[str, tuple[str, ...]] = {RATIO: (RATIO,)}
    for group, (attribute, unit) in _GROUPS.items():
        layers = [layer for layer in every if layer.binned_in_alpha or not attribute.endswith(("_eta", "_phi"))]
        label = group if group == "E_layer" else f"{group} layer"
        names[group] = tuple(f"{label} {layer.id}{unit}" for layer in layers)
    names[GROUP] = shape_names(binning)
    return names


def _moments(layer: Layer) -> Floats:
    """Compute powers of the voxels' positions, whose means over the energy give centres and widths.

    Returns:
        1, r, r^2 of each voxel, then eta, eta^2, phi, phi^2 in layers of several sectors; shape (voxels, 3 or 7).
    """
    axes = (layer.r, layer.eta, layer.phi) if layer.binned_in_alpha else (layer.r,)
    return np.stack([np.ones(layer.num_voxels), *(x**n for x in axes for n in (1, 2))], axis=1)


def _of_chunk(showers: Showers, binning: Binning, threshold: float) -> ShowerFeatures:
    """Compute features of showers that fit in memory in double precision."""
    voxels = showers.voxels.astype(np.float64)
    hit = showers.voxels > threshold
    radial, across, sparsity = [], [], []
    for layer, part in binning.parts:
        sums = voxels[:, part] @ _moments(layer)
        energy = np.where(sums[:, :1] > 0, sums[:, :1], 1.0)
        centre = sums[:, 1::2] / energy
        # the difference of two nearly equal numbers may come out below 0
        square = sums[:, 2::2] / energy
        # the difference of equal numbers is their rounding: one voxel has no width
        variance = square - centre**2
        width = np.sqrt(np.where(variance > 1e-12 * square, variance, 0.0))
        radial.append(np.stack([sums[:, 0], centre[:, 0], width[:, 0]]))
        if layer.binned_in_alpha:
            across.append(np.stack([centre[:, 1], centre[:, 2], width[:, 1], width[:, 2]]))
        sparsity.append(np.count_nonzero(hit[:, part], axis=1) / layer.num_voxels)
    energy, centre_r, width_r = np.stack(radial, axis=2)
    centre_eta, centre_phi, width_eta, width_phi = (
        np.stack(across, axis=2) if across else np.zeros((4, len(showers), 0))
    )
    return ShowerFeatures(
        showers.incident.astype(np.float64),
        energy.sum(axis=1),
        energy,
        centre_eta,
        centre_phi,
        width_eta,
        width_phi,
        centre_r,
        width_r,
        np.stack(sparsity, axis=1),
        shower_shapes(showers.voxels, binning, threshold=threshold),
        np.zeros((len(showers), 2)) if showers.direction is None else showers.direction,
    )
