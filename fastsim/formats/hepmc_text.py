"""HepMC3 text (Asciiv3) of many events in one buffer, compiled: lines of particles and vertices, and given ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastsim.compiled import compiled, compiled_inside
from fastsim.errors import InvalidValue
from fastsim.event import Floats, Ints, offsets_from_counts
from fastsim.formats.digits import FLOAT_WIDTH, INTEGER_WIDTH, TOO_LARGE, Bytes, put_float, put_integer
from fastsim.formats.record import Record

POSITION_DIGITS = 10
"""Digits of the coordinates of vertices: a decay after 1 m is known to 0.1 nm, the momenta need more for their sums."""
_PARTICLE_WIDTH = 2 + 4 * (INTEGER_WIDTH + 1) + 5 * (FLOAT_WIDTH + 1)
_VERTEX_WIDTH = 8 + 2 * (INTEGER_WIDTH + 1) + 4 * (FLOAT_WIDTH + 1)
_P, _V, _BLANK, _LINE, _NOUGHT, _OPEN, _CLOSE, _AT = (ord(sign) for sign in "PV \n0[]@")


def text_of_events(record: Record, heads: Sequence[bytes], vertices: Sequence[bytes]) -> memoryview:
    """Return the text of E events with N particles, whose lines are ``P number parent pdg_id px py pz e m status``.

    Vertices away from the primary one have lines ``V id 0 [mother] @ x y z t``, before that of their first daughter.

    Args:
        record: the events.
        heads: the lines at the beginnings of the events, (E,).
        vertices: the lines of their hard vertices, (E,).

    Raises:
        InvalidValue: if a number is not finite, or not below 1e99.
    """
    displaced = record.displaced
    for values in (record.p4, record.mass, displaced.position):
        if not max(values.max(initial=0.0), -values.min(initial=0.0)) < TOO_LARGE:
            wrong = values[~(np.abs(values) < TOO_LARGE)][0]
            raise InvalidValue(f"{wrong} cannot be written: a number must be finite and below 1e99")
    lines = [line for both in zip(heads, vertices, strict=True) for line in both]
    given = np.frombuffer(bytearray(b"".join(lines)), np.uint8)
    ends = offsets_from_counts(np.array([len(line) for line in lines], dtype=np.int64))[1:]
    rows = np.stack([record.start[:-1], record.middle], axis=-1).ravel()
    num = len(record.number)
    text = np.empty(len(given) + num * _PARTICLE_WIDTH + len(displaced.row) * _VERTEX_WIDTH, np.uint8)
    columns = record.number, record.parent, record.pdg_id, record.p4, record.mass, record.status
    return text.data[: _put_lines(*columns, *displaced, rows, ends, given, text)]


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
    before: Ints,
    ends: Ints,
    given: Bytes,
    text: Bytes,
) -> int:
    """Put the lines of N particles and V vertices into a text, and return where it ends.

    Of the G ``given`` pieces, which end at ``ends`` (G,), each goes before the line of a particle, ``before`` (G,).
    """
    at = vertex = piece = place = 0
    for k in range(len(number) + 1):
        while piece < len(before) and before[piece] == k:
            while place < ends[piece]:
                text[at] = given[place]
                at += 1
                place += 1
            piece += 1
        if k == len(number):
            break
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
    return at


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
