"""Projections of a vector of voxels, on axes that all layers share whatever their rings and sectors are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer
from fastsim.formats.calochallenge import Showers

Floats = NDArray[np.float64]


def ring_edges(binning: Binning) -> Floats:
    """Join the edges in r of all layers, in mm, shape (R+1,).

    Args:
        binning: of the voxels.
    """
    return np.asarray(np.unique(np.concatenate([layer.r_edges for layer, _ in binning.parts])))


def ring_shares(layer: Layer, edges: Floats) -> Floats:
    """Compute the share of each of the layer's rings in each common ring, (rings, R), its energy even in r.

    Args:
        layer: a layer.
        edges: of the common rings in mm, (R+1,).
    """
    own = np.array(layer.r_edges)
    low, high = np.maximum(own[:-1, None], edges[:-1]), np.minimum(own[1:, None], edges[1:])
    return np.asarray(np.maximum(high - low, 0.0) / np.diff(own)[:, None])


def mean_voxels(showers: Showers, weights: Floats | None) -> Floats:
    """Compute the weighted mean energy of every voxel, in MeV, shape (V,).

    Args:
        showers: N showers.
        weights: event weights of either sign, (N,); None is 1 each.
    """
    w = np.ones(len(showers)) if weights is None else weights
    total, first = np.zeros(showers.voxels.shape[1]), 0
    for chunk in showers.chunks():
        total += w[first : first + len(chunk)] @ np.float64(chunk.voxels)
        first += len(chunk)
    return np.asarray(total / w.sum())


def along_and_across(voxels: Floats, binning: Binning) -> Floats:
    """Compute the energy by layer and common ring of one vector of voxels, dE/dr in MeV/mm, (L, R).

    Args:
        voxels: energies in MeV, (V,).
        binning: of the voxels.
    """
    edges = ring_edges(binning)
    rows = []
    for layer, part in binning.parts:
        rows.append(voxels[part].reshape(layer.num_alpha, layer.num_r).sum(axis=0) @ ring_shares(layer, edges))
    return np.asarray(np.stack(rows) / np.diff(edges))


def along_and_around(voxels: Floats, binning: Binning) -> Floats:
    """Compute the energy by layer and angle of one vector of voxels, dE/dalpha in MeV/rad, (L, A).

    Sectors of all layers are whole numbers of the A common ones.

    Args:
        voxels: energies in MeV, (V,).
        binning: of the voxels.
    """
    common = int(np.lcm.reduce([layer.num_alpha for layer, _ in binning.parts]))
    rows = []
    for layer, part in binning.parts:
        sectors = voxels[part].reshape(layer.num_alpha, layer.num_r).sum(axis=1)
        rows.append(np.repeat(sectors, common // layer.num_alpha) * layer.num_alpha / (2 * np.pi))
    return np.stack(rows)


def side_view(voxels: Floats, binning: Binning, half: float, pixels: int = 61) -> Floats:
    """Compute the energy by layer and eta of one vector of voxels, seen from the side, dE/deta in MeV/mm.

    Layers of one sector have no sides: their energy is spread over all angles, as every voxel's is over its sector.

    Args:
        voxels: energies in MeV, (V,).
        binning: of the voxels.
        half: the view goes from -half to half, in mm.
        pixels: P, along eta.

    Returns:
        Energy per length, (L, P).
    """
    edges = np.linspace(-half, half, pixels + 1)
    rows = []
    for layer, part in binning.parts:
        # points spread evenly over the areas of voxels
        parts = max(1, 360 // layer.num_alpha)
        alpha = -np.pi + (np.arange(layer.num_alpha * parts) + 0.5) * 2 * np.pi / (layer.num_alpha * parts)
        own = np.array(layer.r_edges)
        steps = (np.arange(8) + 0.5) / 8
        r = np.sqrt(own[:-1, None] ** 2 + steps * (own[1:, None] ** 2 - own[:-1, None] ** 2)).reshape(-1)
        energy = np.repeat(voxels[part].reshape(layer.num_alpha, layer.num_r), parts, axis=0) / (parts * 8)
        eta = np.cos(alpha)[:, None] * r
        rows.append(np.histogram(eta, edges, weights=np.repeat(energy, 8, axis=1))[0])
    return np.asarray(np.stack(rows) / np.diff(edges))


def face_on(voxels: Floats, binning: Binning, half: float, pixels: int = 121) -> Floats:
    """Compute the energy per area summed over the layers, on square pixels seen along the shower.

    Args:
        voxels: energies in MeV, (V,).
        binning: of the voxels.
        half: half the side of the image in mm.
        pixels: P, along each side.

    Returns:
        Energy per area in MeV/mm^2, rows in phi, (P, P).
    """
    middle = (np.arange(pixels) + 0.5) / pixels * 2 * half - half
    eta, phi = np.meshgrid(middle, middle)
    r, alpha = np.hypot(eta, phi), np.arctan2(phi, eta)
    total = np.zeros((pixels, pixels))
    for layer, part in binning.parts:
        edges = np.array(layer.r_edges)
        ring = np.searchsorted(edges, r, side="right") - 1
        sector = np.minimum(((alpha + np.pi) / (2 * np.pi) * layer.num_alpha).astype(int), layer.num_alpha - 1)
        inside = (ring >= 0) & (ring < layer.num_r)
        area = np.pi * np.diff(edges**2) / layer.num_alpha
        grid = voxels[part].reshape(layer.num_alpha, layer.num_r) / area
        total[inside] += grid[sector[inside], ring[inside]]
    return total


def reach(voxels: Floats, binning: Binning) -> float:
    """Find the edge in r, in mm, within which 98% of the energy is.

    Args:
        voxels: energies in MeV, (V,).
        binning: of the voxels.
    """
    edges = ring_edges(binning)
    enclosed = np.cumsum((along_and_across(voxels, binning) * np.diff(edges)).sum(axis=0))
    return float(edges[1 + min(int(np.searchsorted(enclosed, 0.98 * enclosed[-1])), len(enclosed) - 1)])
