"""Places about a particle's line of flight, and the places in the layers of a calorimeter that they are.

A particle that hits the middle of the front face flies along n = (sin theta cos phi, sin theta sin phi, cos theta). The
voxels of its shower lie about its line: a place (x, y) at depth z is a vector from the point (z tan theta cos phi, z
tan theta sin phi) of the line at that depth, u along the tilt (cos phi, sin phi) and v across it. Seen along the line
it is u cos theta long along the tilt, and v across: that vector, turned back to the detector's axes, has the radius r,
the distance from the line, and the angle alpha of the voxel. A circle about the line is an ellipse in the layer. At
theta = 0 these are r and alpha about the detector's axis; phi then does not matter. Cells in (x, y) do not follow the
line.
"""

from __future__ import annotations

import numpy as np

from fastsim.event import Floats

Numbers = Floats | float


def across_flight(x: Floats, y: Floats, depth: Numbers, theta: Numbers, phi: Numbers) -> tuple[Floats, Floats]:
    """Return the places seen along the lines of flight, x and y in mm, of places in layers; arrays broadcast.

    Args:
        x, y: from the axis of the detector, in mm.
        depth: of the places behind the front face, in mm.
        theta, phi: directions of flight in rad.

    >>> x, y = across_flight(np.array([30.0]), np.array([2.0]), 20.0, np.pi / 4, 0.0)
    >>> x.round(3).tolist(), y.tolist()
    ([7.071], [2.0])
    """
    return _stretched(x - depth * np.tan(theta) * np.cos(phi), y - depth * np.tan(theta) * np.sin(phi), phi, theta, 1)


def in_layer(x: Floats, y: Floats, depth: Numbers, theta: Numbers, phi: Numbers) -> tuple[Floats, Floats]:
    """Return the places in layers, x and y in mm, of places seen along lines of flight: undo :func:`across_flight`.

    >>> x, y = in_layer(*across_flight(np.array([30.0]), np.array([2.0]), 20.0, 0.7, 1.0), 20.0, 0.7, 1.0)
    >>> x.round(9).tolist(), y.round(9).tolist()
    ([30.0], [2.0])
    """
    x, y = _stretched(x, y, phi, theta, -1)
    return x + depth * np.tan(theta) * np.cos(phi), y + depth * np.tan(theta) * np.sin(phi)


def _stretched(x: Floats, y: Floats, phi: Numbers, theta: Numbers, power: int) -> tuple[Floats, Floats]:
    """Multiply the component of (x, y) along phi by a power of cos(theta)."""
    cos, sin = np.cos(phi), np.sin(phi)
    more = (x * cos + y * sin) * (np.cos(theta) ** power - 1)
    return x + more * cos, y + more * sin
