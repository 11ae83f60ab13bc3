"""Observables of whole showers: names, units and meanings of :class:`fastsim.detector.shower_shapes.ShowerShapes`.

What needs sides is left out where no layer has several sectors, and the alignment of layers k apart where fewer than
k + 1 have them. The vector, for FPD, is every observable of whole showers, log10 of E_inc and E_tot / E_inc.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.detector.shower_shapes import SIDE_STEPS, ShowerShapes
from metrics.sample import Sample
from metrics.showers.response import RATIO

Floats = NDArray[np.float64]

GROUP = "whole shower"
"""Name of the group of these observables."""


@dataclass(frozen=True)
class ShapeObservable:
    """An observable of whole showers.

    Attributes:
        attribute: of :class:`~fastsim.detector.shower_shapes.ShowerShapes`.
        meaning: in a phrase.
        sides: how many layers with several sectors it needs.
        column: of an attribute that has several.
    """

    attribute: str
    meaning: str
    sides: int = 0
    column: int | None = None


SHAPES: dict[str, ShapeObservable] = {
    "displacement": ShapeObservable(
        "displacement", "how far the shower leans to one side: 0 alike on all, 1 all on one", 1
    ),
    "displacement cos": ShapeObservable("displacement_cos", "energy-weighted mean of cos alpha", 1),
    "displacement sin": ShapeObservable("displacement_sin", "energy-weighted mean of sin alpha", 1),
    "shower centre / mm": ShapeObservable("centre", "distance of the centre of gravity from the axis", 1),
    "shower centre eta / mm": ShapeObservable("centre_eta", "centre of gravity in eta", 1),
    "shower centre phi / mm": ShapeObservable("centre_phi", "centre of gravity in phi", 1),
    "tilt / (mm/layer)": ShapeObservable("tilt", "slope of the layers' centres with depth", 2),
    "tilt eta / (mm/layer)": ShapeObservable("tilt_eta", "slope of the layers' centres in eta with depth", 2),
    "tilt phi / (mm/layer)": ShapeObservable("tilt_phi", "slope of the layers' centres in phi with depth", 2),
    "wander / mm": ShapeObservable("wander", "spread of the layers' centres about the shower's own axis", 2),
    "radius / mm": ShapeObservable("radius", "energy-weighted mean distance from the axis"),
    "radius spread / mm": ShapeObservable("radius_spread", "energy-weighted spread of the distance from the axis"),
    "core": ShapeObservable("core", "share of the energy in the innermost rings"),
    "core two rings": ShapeObservable("core_two", "share of the energy in the two innermost rings"),
    "major axis / mm": ShapeObservable("major_axis", "spread across the shower where it is widest", 1),
    "minor axis / mm": ShapeObservable("minor_axis", "spread across the shower where it is narrowest", 1),
    "ellipticity": ShapeObservable("ellipticity", "0 for a round shower, 1 for one on a line", 1),
    "depth / layers": ShapeObservable("depth", "energy-weighted mean depth"),
    "length / layers": ShapeObservable("length", "energy-weighted spread of the depth"),
    "depth 10% / layers": ShapeObservable("depth_10", "depth before which 10% of the energy lie"),
    "depth 90% / layers": ShapeObservable("depth_90", "depth before which 90% of the energy lie"),
    "start": ShapeObservable("start", "layers in front of the first with energy"),
    "maximum": ShapeObservable("maximum", "layer with most energy"),
    "growth": ShapeObservable("growth", "correlation of the distance from the axis with the depth"),
    **{
        f"sides {step} apart": ShapeObservable(
            "sides", f"whether layers {step} apart lean to the same side: -1 to 1", step + 1, column
        )
        for column, step in enumerate(SIDE_STEPS)
    },
    "clusters": ShapeObservable("clusters", "number of sets of voxels that hang together"),
    "clusters in layers": ShapeObservable("layer_clusters", "number of such sets layer by layer"),
    "largest cluster": ShapeObservable("largest_cluster", "share of the energy in the largest such set"),
    "voxels": ShapeObservable("voxels", "number of voxels with energy"),
    "voxels front": ShapeObservable("front_voxels", "number of those in the first third of the layers"),
    "voxels middle": ShapeObservable("middle_voxels", "number of those in the second third of the layers"),
    "voxels back": ShapeObservable("back_voxels", "number of those in the last third of the layers"),
    "voxels inner": ShapeObservable("inner_voxels", "number of those in the inner half of the rings"),
    "voxels outer": ShapeObservable("outer_voxels", "number of those in the outer half of the rings"),
}
"""Observables of whole showers by name."""


def shape_names(binning: Binning) -> tuple[str, ...]:
    """Name the observables of whole showers that a binning's showers have."""
    sided = sum(layer.binned_in_alpha for layer, _ in binning.parts)
    return tuple(name for name, shape in SHAPES.items() if shape.sides <= sided)


def shape_columns(shapes: ShowerShapes, names: tuple[str, ...]) -> Floats:
    """Return observables by name, one a column, (N, K)."""
    columns = []
    for name in names:
        values: Floats = getattr(shapes, SHAPES[name].attribute)
        column = SHAPES[name].column
        columns.append(values if column is None else values[:, column])
    return np.stack(columns, axis=1)


def shape_observables(sample: Sample) -> dict[str, Floats]:
    """Return the observables of whole showers of a sample by name, (N,) each.

    Raises:
        ValueError: if the sample is not of showers.
    """
    if sample.binning is None:
        raise ValueError(f"the sample is of {sample.kind} and has no binning: make it with showers_sample")
    return {name: sample.observables[name] for name in shape_names(sample.binning)}


def shape_vector(sample: Sample) -> Floats:
    """Return every observable of whole showers, log10 of E_inc / GeV and E_tot / E_inc, (N, K + 2).

    Raises:
        ValueError: as :func:`shape_observables`.
    """
    columns = [*shape_observables(sample).values(), np.log10(sample.condition["energy"]), sample.observables[RATIO]]
    return np.stack(columns, axis=1)
