r"""Mean energy of calorimeter showers along their depth and across it.

<E_l> of each layer, and <E_r> of each ring summed over chosen layers and all sectors, in MeV a shower, or
<E_l / E_inc>, in which showers of all energies count alike; with the error of the mean:
sqrt(sum_i w_i^2 (E_i - <E>)^2) / |sum_i w_i| for event weights w_i of either sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.sample import Sample
from metrics.showers.features import binning_of, layer_energies, showers_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Mean energies in K bins.

    Attributes:
        edges: of the bins, (K+1,): in mm across the shower; along it, layer i lies between i and i + 1.
        mean: mean energy of a shower in MeV, or its mean share of the incident energy, (K,).
        error: the standard error of the mean, (K,).
    """

    edges: Floats
    mean: Floats
    error: Floats


def longitudinal_profile(sample: Sample, *, over_incident: bool = False) -> Profile:
    """Compute the mean energy of every layer that has voxels, in their order.

    Args:
        sample: of showers.
        over_incident: divide the energies of each shower by its incident energy.

    Returns:
        The profile along the shower.

    Raises:
        ValueError: if the sample is empty or not of showers, or its weights do not sum to more than 0.
    """
    energy = layer_energies(sample)
    if over_incident:
        energy = energy / (1e3 * sample.condition["energy"][:, None])
    return Profile(np.arange(energy.shape[1] + 1.0), *_mean(energy, sample.weights))


def radial_profile(sample: Sample, layers: Sequence[int] | None = None) -> Profile:
    """Compute the mean energy of every ring, summed over layers and sectors.

    Args:
        sample: of showers, which it has to hold.
        layers: ids of the layers to sum over, all of the same rings; default all that have voxels.

    Returns:
        The profile across the shower.

    Raises:
        ValueError: if the layers do not exist or differ in their rings, if the sample does not hold its showers, is
            empty, or its weights do not sum to more than 0.
    """
    every = binning_of(sample).parts
    known = [layer.id for layer, _ in every]
    chosen = known if layers is None else list(layers)
    if not chosen or not set(chosen) <= set(known):
        raise ValueError(f"layers {chosen}: those with voxels are {known}")
    parts = [(layer, part) for layer, part in every if layer.id in chosen]
    if len({layer.r_edges for layer, _ in parts}) > 1:
        raise ValueError(f"layers {chosen} have different rings: name layers of the same")
    num_r = parts[0][0].num_r
    rings = [np.zeros((0, num_r))]
    for chunk in showers_of(sample).chunks():
        energy = np.zeros((len(chunk), num_r))
        for layer, part in parts:
            energy += chunk.voxels[:, part].reshape(-1, layer.num_alpha, num_r).sum(axis=1, dtype=np.float64)
        rings.append(energy)
    return Profile(np.array(parts[0][0].r_edges), *_mean(np.concatenate(rings), sample.weights))


def _mean(energy: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """Compute weighted means of energies (N, K) over showers, and their errors, (K,) each."""
    w = np.ones(len(energy)) if weights is None else weights
    total = float(np.sum(w))
    if len(energy) == 0 or not total > 0:
        raise ValueError(f"a profile needs showers whose weights sum to more than 0, got {len(energy)} of {total}")
    mean = w @ energy / total
    return mean, np.sqrt(w**2 @ (energy - mean) ** 2) / total
