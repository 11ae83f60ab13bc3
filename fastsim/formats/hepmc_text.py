"""The lines of particles and vertices of HepMC3 text (Asciiv3), compiled: those of many events into one buffer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside
from fastsim.errors import InvalidValue
from fastsim.event import Floats, Ints
from fastsim.formats.digits import FLOAT_WIDTH, INTEGER_WIDTH, TOO_LARGE, Bytes, put_float, put_integer
from fastsim.formats.record import Record

POSITION_DIGITS = 10
"""Digits of the coordinates of vertices: a decay after 1 m is known to 0.1 nm, the momenta need more for their sums."""
_PARTICLE_WIDTH = 2 + 4 * (INTEGER_WIDTH + 1) + 5 * (FLOAT_WIDTH + 1)
_VERTEX_WIDTH = 8 + 2 * (INTEGER_WIDTH + 1) + 4 * (FLOAT_WIDTH + 1)
_P, _V, _BLANK, _LINE, _NOUGHT, _OPEN, _CLOSE, _AT = (ord(sign) for sign in "PV \n0[]@")


def particle_lines(record: Record) -> tuple[memoryview, Ints]:
    """Return the lines of N particles, ``P number parent pdg_id px py pz e m status``, each after that of its vertex.

    Vertices away from the primary one have lines ``V id 0 [mother] @ x y z t``, before that of their first daughter.

    Returns:
        The text, and the place (N+1,) in it at which the lines of each particle begin.

    Raises:
        InvalidValue: if a number is not finite, or not below 1e99.
    """
    vertices = record.displaced
    for values in (record.p4, record.mass, vertices.position):
        if not (writable := np.abs(values) < TOO_LARGE).all():
            raise InvalidValue(f"{values[~writable][0]} cannot be written: a number must be finite and below 1e99")
    num = len(record.number)
    text = np.empty(num * _PARTICLE_WIDTH + len(vertices.row) * _VERTEX_WIDTH, np.uint8)
    starts = np.empty(num + 1, np.int64)
    columns = record.number, record.parent, record.pdg_id, record.p4, record.mass, record.status
    _put_lines(*columns, *vertices, text, starts)
    return text.data[: starts[-1]], starts


@compiled
def _put_lines(
    number: Ints,
    parent: Ints,
    pdg_id: Ints,
    p4: Floats,
    mass: Floats,
    status: Ints,
    row: Ints,
    identity: Ints,
    mother: Ints,
    position: Floats,
    text: Bytes,
    starts: NDArray[np.int64],
) -> None:
    """Put the lines of N particles and V vertices into a text, and the places where they begin into ``starts``."""
    at = vertex = 0
    for k in range(len(number)):
        starts[k] = at
        if vertex < len(row) and row[vertex] == k:
            at = _put_vertex(text, at, identity[vertex], mother[vertex], position, vertex)
            vertex += 1
        text[at] = _P
        at += 1
        for value in (number[k], parent[k], pdg_id[k]):
            text[at] = _BLANK
            at = put_integer(text, at + 1, value)
        for value in (p4[k, 1], p4[k, 2], p4[k, 3], p4[k, 0], mass[k]):
            text[at] = _BLANK
            at = put_float(text, at + 1, value, 16)
        text[at] = _BLANK
        at = put_integer(text, at + 1, status[k])
        text[at] = _LINE
        at += 1
    starts[len(number)] = at


@compiled_inside
def _put_vertex(text: Bytes, at: int, identity: int, mother: int, position: Floats, row: int) -> int:
    """Put the line of a vertex into a text, its position from a row of ``position``; return the place after it."""
    text[at], text[at + 1] = _V, _BLANK
    at = put_integer(text, at + 2, identity)
    for sign in (_BLANK, _NOUGHT, _BLANK, _OPEN):
        text[at] = sign
        at += 1
    at = put_integer(text, at, mother)
    for sign in (_CLOSE, _BLANK, _AT):
        text[at] = sign
        at += 1
    for axis in (1, 2, 3, 0):
        text[at] = _BLANK
        at = put_float(text, at + 1, position[row, axis], POSITION_DIGITS)
    text[at] = _LINE
    return at + 1
