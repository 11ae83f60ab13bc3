r"""Shapes of whole calorimeter showers: where the axis lies and points, how long and wide a shower is, how it clusters.

Deposits E_v of the voxels v at (r_v, alpha_v), eta_v = r_v cos(alpha_v), phi_v = r_v sin(alpha_v). The layers that have
voxels are counted from 0; layer l goes from depth l to l + 1, and its deposits lie at d = l + 1/2, so that depths
are in layers. <x> = sum_v E_v x_v / sum_v E_v goes over all deposits of a shower, <x>_s over those of the layers with
several sectors, the only ones that have sides; c_l is the mean of (eta, phi) in such a layer.

    displacement   (<cos alpha>_s, <sin alpha>_s): 0 for a shower that is alike on all sides, 1 for one in one sector
    centre         c = (<eta>_s, <phi>_s) in mm
    tilt           slope of the centres with the depth, t = <(d - <d>_s)((eta, phi) - c)>_s / <(d - <d>_s)^2>_s in mm
                   a layer: least squares to the c_l, weighted with the layers' energies
    wander         sqrt(<|c_l - c - t (d - <d>_s)|^2>_s) in mm: how far the centres of layers lie from that line
    radius         <r>, and its spread sqrt(<r^2> - <r>^2), in mm
    core           share of the energy in the innermost ring, and in the two innermost ones
    axes           roots of the larger and smaller eigenvalue of the covariance of (eta, phi) about c, in mm, and the
                   ellipticity (a^2 - b^2) / (a^2 + b^2)
    depth          <d>, and the length sqrt(<d^2> - <d>^2); the depths before which 10% and 90% of the energy lie,
                   energy spread evenly through a layer; the start: layers in front of the first with energy;
                   the maximum: the layer with most energy
    growth         correlation of r and d over the deposits: how fast a shower widens, -1 to 1
    sides          alignment of the sides of layers k apart, sum_l S_l . S_(l+k) / sum_l |S_l||S_(l+k)| with
                   S_l = sum_v E_v (cos alpha_v, sin alpha_v): 1 where both always lean the same way
    clusters       numbers of sets of voxels that hang together (:mod:`fastsim.detector.clusters`), in space and layer
                   by layer, and the share of the energy in the largest in space
    voxels         numbers of those above a threshold: all, in the front, middle and last third of the layers, in the
                   inner half of the rings and outside

Without energy, or where a ratio has nothing below its line (one layer has no tilt), a shape is 0; the start of an empty
shower is the number of layers. Sums are in float64; energies are in MeV, lengths in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer
from fastsim.detector.clusters import clusters

Floats = NDArray[np.float64]

SIDE_STEPS = (1, 2, 4, 8)
"""Layers between the two whose sides are compared."""
ROUNDING = 1e-12
"""A variance below this fraction of the mean square is the rounding of a difference of equal numbers."""
_CHUNK_VALUES = 4_000_000
_ONE, _R, _RR, _CORE, _CORES, _COS, _SIN, _ETA, _PHI, _ETA2, _PHI2, _ETAPHI = range(12)


@dataclass(frozen=True)
class ShowerShapes:
    """Shapes of N showers, (N,) each unless it is said otherwise; the module defines them.

    Attributes:
        displacement_cos, displacement_sin, displacement: mean of cos and sin alpha, and their length.
        centre_eta, centre_phi, centre: centre of gravity across the shower in mm, and its distance from the axis.
        tilt_eta, tilt_phi, tilt: slope of the layers' centres in mm a layer, and its size.
        wander: spread of the layers' centres about that line in mm.
        radius, radius_spread: mean distance from the axis and its standard deviation in mm.
        core, core_two: share of the energy in the innermost ring, in the two innermost ones.
        major_axis, minor_axis: of the ellipse of the deposits across the shower, in mm.
        ellipticity: 0 for a circle, 1 for a line.
        depth, length: mean and standard deviation of the depth in layers.
        depth_10, depth_90: depths in layers before which 10% and 90% of the energy lie.
        start: number of layers in front of the first that has energy.
        maximum: number of the layer that has most energy.
        growth: correlation of distance from the axis and depth.
        sides: alignment of the sides of layers that are :data:`SIDE_STEPS` apart, (N, 4).
        clusters, layer_clusters: number of clusters in space, and of those in each layer together.
        largest_cluster: share of the energy in the largest cluster in space.
        voxels: number of voxels above the threshold.
        front_voxels, middle_voxels, back_voxels: of these, in the thirds of the layers.
        inner_voxels, outer_voxels: of these, in the inner half of the rings of their layer, and outside.
    """

    displacement_cos: Floats
    displacement_sin: Floats
    displacement: Floats
    centre_eta: Floats
    centre_phi: Floats
    centre: Floats
    tilt_eta: Floats
    tilt_phi: Floats
    tilt: Floats
    wander: Floats
    radius: Floats
    radius_spread: Floats
    core: Floats
    core_two: Floats
    major_axis: Floats
    minor_axis: Floats
    ellipticity: Floats
    depth: Floats
    length: Floats
    depth_10: Floats
    depth_90: Floats
    start: Floats
    maximum: Floats
    growth: Floats
    sides: Floats
    clusters: Floats
    layer_clusters: Floats
    largest_cluster: Floats
    voxels: Floats
    front_voxels: Floats
    middle_voxels: Floats
    back_voxels: Floats
    inner_voxels: Floats
    outer_voxels: Floats

    @classmethod
    def concatenate(cls, parts: Sequence[ShowerShapes]) -> ShowerShapes:
        """Return the shapes of at least one batch of showers as one batch."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})


def shower_shapes(voxels: NDArray[np.floating[Any]], binning: Binning, *, threshold: float = 0.0) -> ShowerShapes:
    """Compute the shapes of showers.

    Args:
        voxels: deposits in MeV, none negative, shape (N, V).
        binning: of the voxels.
        threshold: MeV; voxels above it count in clusters and numbers of voxels. All other shapes are of all deposits.

    Raises:
        FastsimError: if the showers have another number of voxels than the binning.

    >>> from fastsim.detector.binning import Layer
    >>> binning = Binning("electron", 11, (Layer(0, (0.0, 10.0, 20.0), 4), Layer(1, (0.0, 10.0, 20.0), 4)))
    >>> shower = np.zeros((1, 16))
    >>> shower[0, [0, 9]] = 3.0, 1.0  # inner ring of the first layer, outer ring of the same sector in the second
    >>> shapes = shower_shapes(shower, binning)
    >>> [round(float(x[0]), 3) for x in (shapes.displacement, shapes.centre, shapes.tilt, shapes.radius, shapes.depth)]
    [1.0, 7.5, 10.0, 7.5, 0.75]
    """
    binning.check(voxels.shape[1], "shower shapes")
    size = max(1, _CHUNK_VALUES // binning.num_voxels)
    parts = [
        _of_chunk(voxels[first : first + size], binning, threshold) for first in range(0, max(len(voxels), 1), size)
    ]
    return ShowerShapes.concatenate(parts)


def _of_chunk(voxels: NDArray[np.floating[Any]], binning: Binning, threshold: float) -> ShowerShapes:
    """Compute the shapes of showers that fit in memory in double precision."""
    sums = np.stack([voxels[:, part].astype(np.float64) @ _moments(layer) for layer, part in binning.parts], axis=1)
    energy = sums[:, :, _ONE]
    sided = np.array([layer.binned_in_alpha for layer, _ in binning.parts])
    d = np.arange(energy.shape[1]) + 0.5
    total, with_sides = energy.sum(axis=1), energy[:, sided].sum(axis=1)

    def mean(column: int, power: int = 0) -> Floats:
        """Compute <x d^power> of a column over all layers."""
        return _ratio(sums[:, :, column] @ d**power, total)

    def side(column: int, power: int = 0) -> Floats:
        """Compute <x d^power>_s of a column over the layers that have sides."""
        return _ratio(sums[:, sided, column] @ d[sided] ** power, with_sides)

    cos, sin, eta, phi = (side(column) for column in (_COS, _SIN, _ETA, _PHI))
    eta_eta = _variance(side(_ETA2), eta, eta)
    phi_phi = _variance(side(_PHI2), phi, phi)
    eta_phi = side(_ETAPHI) - eta * phi
    half, apart = (eta_eta + phi_phi) / 2, np.hypot((eta_eta - phi_phi) / 2, eta_phi)
    d_side = side(_ONE, 1)
    d_variance = _variance(side(_ONE, 2), d_side, d_side)
    tilt_eta, tilt_phi = (
        _ratio(side(column, 1) - d_side * centre, d_variance) for column, centre in ((_ETA, eta), (_PHI, phi))
    )
    away = np.zeros(len(voxels))
    for column, centre, tilt in ((_ETA, eta, tilt_eta), (_PHI, phi, tilt_phi)):
        own = _ratio(sums[:, sided, column], energy[:, sided])
        line = centre[:, None] + tilt[:, None] * (d[sided] - d_side[:, None])
        away += _ratio((energy[:, sided] * (own - line) ** 2).sum(axis=1), with_sides)
    radius, depth = mean(_R), mean(_ONE, 1)
    r_variance = _variance(mean(_RR), radius, radius)
    depth_variance = _variance(mean(_ONE, 2), depth, depth)
    hit = voxels > threshold
    counts = (hit.astype(np.float32) @ _regions(binning)).astype(np.float64)
    num_clusters, largest = clusters(voxels, binning, threshold=threshold)
    has_energy = energy > 0
    return ShowerShapes(
        displacement_cos=cos,
        displacement_sin=sin,
        displacement=np.hypot(cos, sin),
        centre_eta=eta,
        centre_phi=phi,
        centre=np.hypot(eta, phi),
        tilt_eta=tilt_eta,
        tilt_phi=tilt_phi,
        tilt=np.hypot(tilt_eta, tilt_phi),
        wander=np.sqrt(away),
        radius=radius,
        radius_spread=np.sqrt(r_variance),
        core=mean(_CORE),
        core_two=mean(_CORES),
        major_axis=np.sqrt(half + apart),
        minor_axis=np.sqrt(np.maximum(half - apart, 0.0)),
        ellipticity=np.minimum(_ratio(apart, half), 1.0),
        depth=depth,
        length=np.sqrt(depth_variance),
        depth_10=_depth_of_share(energy, total, 0.1),
        depth_90=_depth_of_share(energy, total, 0.9),
        start=np.where(has_energy.any(axis=1), has_energy.argmax(axis=1), energy.shape[1]).astype(np.float64),
        maximum=energy.argmax(axis=1).astype(np.float64),
        growth=np.clip(_ratio(mean(_R, 1) - radius * depth, np.sqrt(r_variance * depth_variance)), -1.0, 1.0),
        sides=_sides(sums[:, sided][:, :, [_COS, _SIN]]),
        clusters=num_clusters.astype(np.float64),
        layer_clusters=clusters(voxels, binning, threshold=threshold, between_layers=False)[0].astype(np.float64),
        largest_cluster=_ratio(largest, total),
        voxels=counts[:, :3].sum(axis=1),
        front_voxels=counts[:, 0],
        middle_voxels=counts[:, 1],
        back_voxels=counts[:, 2],
        inner_voxels=counts[:, 3],
        outer_voxels=counts[:, 4],
    )


def _moments(layer: Layer) -> Floats:
    """Compute what the sums over the voxels of a layer are weighted with, (voxels, 12); 0 for sides it has not."""
    ring = np.tile(np.arange(layer.num_r), layer.num_alpha)
    out = np.zeros((layer.num_voxels, 12))
    for column, values in ((_ONE, 1.0), (_R, layer.r), (_RR, layer.r**2), (_CORE, ring < 1), (_CORES, ring < 2)):
        out[:, column] = values
    if layer.binned_in_alpha:
        eta, phi = layer.eta, layer.phi
        sides = (np.cos(layer.alpha), np.sin(layer.alpha), eta, phi, eta**2, phi**2, eta * phi)
        out[:, _COS:] = np.stack(sides, axis=1)
    return out


@lru_cache(maxsize=16)
def _regions(binning: Binning) -> NDArray[np.float32]:
    """Mark the voxels of the front, middle and last third of the layers, of inner and outer rings; (V, 5)."""
    out = np.zeros((binning.num_voxels, 5), np.float32)
    for place, (layer, part) in enumerate(binning.parts):
        out[part, 3 * place // len(binning.parts)] = 1
        inner = np.tile(2 * np.arange(layer.num_r) < layer.num_r, layer.num_alpha)
        out[part, 3], out[part, 4] = inner, ~inner
    return out


def _sides(sides: Floats) -> Floats:
    """Compute the alignment of layers' sides (N, L, 2) at each of the steps, (N, steps); 0 at steps beyond them."""
    columns = []
    size = np.hypot(sides[:, :, 0], sides[:, :, 1])
    for step in SIDE_STEPS:
        product = (sides[:, :-step] * sides[:, step:]).sum(axis=(1, 2))
        columns.append(_ratio(product, (size[:, :-step] * size[:, step:]).sum(axis=1)))
    return np.stack(columns, axis=1)


def _depth_of_share(energy: Floats, total: Floats, share: float) -> Floats:
    """Find the depth in layers before which a share of the energy lies, (N,)."""
    reached = np.cumsum(energy, axis=1)
    wanted = share * total
    place = np.minimum((reached < wanted[:, None]).sum(axis=1), energy.shape[1] - 1)
    rows = np.arange(len(energy))
    own = energy[rows, place]
    return np.asarray(place + np.clip(_ratio(wanted - reached[rows, place] + own, own), 0.0, 1.0))


def _variance(square: Floats, one: Floats, other: Floats) -> Floats:
    """Subtract a product of means from a mean square; what rounding leaves is 0."""
    variance = square - one * other
    return np.where(variance > ROUNDING * square, variance, 0.0)


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide, 0 where the divisor is not positive."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
