"""Vectors of three components in compiled loops: axes, angles between them, and how these look from a moving frame.

An angle theta is given as tan(theta/2), which keeps its precision at small angles.
"""

from __future__ import annotations

from math import sqrt

from fastsim.compiled import compiled_inside

Vector = tuple[float, float, float]

EPS = 1e-300
AXIS = (0.0, 0.0, 1.0)


@compiled_inside
def dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled_inside
def unit(v: Vector) -> Vector:
    length = sqrt(dot(v, v))
    if length < EPS:
        length = EPS
    return v[0] / length, v[1] / length, v[2] / length


@compiled_inside
def perpendicular(v: Vector, z: Vector) -> Vector:
    """Return the part of a vector that is perpendicular to a unit vector z."""
    along = dot(v, z)
    return v[0] - along * z[0], v[1] - along * z[1], v[2] - along * z[2]


@compiled_inside
def across_axes(towards: Vector, z: Vector) -> tuple[Vector, Vector]:
    """Return axes x and y perpendicular to a unit vector z, with x in the plane of z and ``towards``."""
    x = perpendicular(towards, z)
    if dot(x, x) < 1e-20:  # parallel: any perpendicular direction will do
        smallest = min(abs(z[0]), abs(z[1]), abs(z[2]))
        if abs(z[0]) == smallest:
            x = perpendicular((1.0, 0.0, 0.0), z)
        elif abs(z[1]) == smallest:
            x = perpendicular((0.0, 1.0, 0.0), z)
        else:
            x = perpendicular(AXIS, z)
    x = perpendicular(unit(x), z)  # once more: nearly parallel vectors leave rounding along z
    x = unit(x)
    return x, (z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0])


@compiled_inside
def half_tangent(a: Vector, b: Vector) -> float:
    """Return tan(theta/2) of the angle between unit vectors, 1e12 at most; accurate for small angles."""
    minus, plus = (a[0] - b[0], a[1] - b[1], a[2] - b[2]), (a[0] + b[0], a[1] + b[1], a[2] + b[2])
    length = sqrt(dot(minus, minus))
    return length / max(sqrt(dot(plus, plus)), 1e-12 * length)


@compiled_inside
def boosted_tangent(e: float, p: float, m: float, half: float) -> float:
    """Return tan(theta*/2) of a massless direction in the rest frame of a node with energy e, momentum p and mass m.

    ``half`` is tan(theta/2) of its angle to the node in the lab.
    """
    return min(max(half, 1e-12), 1e12) * (e + p) / m


@compiled_inside
def sin_cos(tangent: float) -> tuple[float, float]:
    """Return the sine and cosine of an angle theta from tan(theta/2)."""
    square = tangent * tangent
    return 2 * tangent / (1 + square), (1 - square) / (1 + square)


@compiled_inside
def components(x: Vector, y: Vector, z: Vector, v: Vector) -> tuple[float, float, float, float, float]:
    """Return the components of a unit vector v along x, y, z, and the cosine and sine of its azimuth.

    The azimuth is (0, 0) for a vector along z, such as that of a root's uncle, which flies exactly backwards.
    """
    v_x, v_y = dot(x, v), dot(y, v)
    across = sqrt(v_x * v_x + v_y * v_y)
    turn_x, turn_y = 0.0, 0.0
    if across > 1e-9:
        turn_x, turn_y = v_x / across, v_y / across
    return v_x, v_y, dot(z, v), turn_x, turn_y


@compiled_inside
def polar(v: Vector, x: Vector, y: Vector, z: Vector) -> tuple[float, float, float]:
    """Return tan(theta/2) of a unit vector about the axis z, and the cosine and sine of its azimuth from x.

    The azimuth is (0, 0) for a vector along z.
    """
    v_x, v_y = dot(x, v), dot(y, v)
    across = sqrt(v_x * v_x + v_y * v_y)
    if across > 1e-9:
        return half_tangent(v, z), v_x / across, v_y / across
    return half_tangent(v, z), 0.0, 0.0


@compiled_inside
def turned(v: Vector, x: Vector, y: Vector, z: Vector) -> Vector:
    """Return the vector whose components along the axes x, y, z are ``v``."""
    return (
        v[0] * x[0] + v[1] * y[0] + v[2] * z[0],
        v[0] * x[1] + v[1] * y[1] + v[2] * z[1],
        v[0] * x[2] + v[1] * y[2] + v[2] * z[2],
    )
