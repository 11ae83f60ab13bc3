"""The weights of Les Houches events: their names, and their values in the three forms that generators write.

``<rwgt>`` holds ``<wgt id="...">`` elements, declared by ``<weight id="...">`` in ``<initrwgt>``; ``<weights>`` holds
numbers alone; Whizard writes ``<weight name="...">``. An event may have several of these: all are kept, in this order.

References:
    Andersen et al. 2014, 1405.1067 (Les Houches event files, version 3).
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from fastsim.formats.lhe_text import Line

MAX_WEIGHTS = 10_000
"""Weights that a header may declare."""

_QUOTED = r"""(?:"([^"]*)"|'([^']*)')"""
_WEIGHT_ID = re.compile(rf"<weight\b[^>]*?\bid\s*=\s*{_QUOTED}")
_WGT = re.compile(rf"<wgt\b(?:[^>]*?\bid\s*=\s*{_QUOTED})?[^>]*>([^<]*)<")
_WEIGHTS = re.compile(r"<weights\b[^>]*>([^<]*)<")
_NAMED = re.compile(rf"<weight\b[^>]*?\bname\s*=\s*{_QUOTED}[^>]*>([^<]*)<")


class WeightError(ValueError):
    """What is wrong with an event's weights, without its place."""


def declared_ids(lines: Sequence[Line]) -> list[str]:
    """Return the ids that ``<initrwgt>`` declares, in a header or an init block.

    Raises:
        WeightError: if there are more than :data:`MAX_WEIGHTS`.
    """
    ids: list[str] = []
    inside = False
    for line in lines:
        inside = inside or "<initrwgt" in line.text
        if inside:
            ids += [_text(a or b) for a, b in _WEIGHT_ID.findall(line.text)]
        if len(ids) > MAX_WEIGHTS:
            raise WeightError(f"the header declares more than {MAX_WEIGHTS} weights")
        inside = inside and "</initrwgt" not in line.text
    return ids


def weights_of(tail: str) -> tuple[list[str], list[str]]:
    """Return the ids (empty where the file gives none) and the texts of an event's weights, without the nominal one.

    Args:
        tail: the lines of the event after its particles.
    """
    found = [(_text(a or b), text) for a, b, text in _WGT.findall(tail)] if "<wgt" in tail else []
    if block := _WEIGHTS.search(tail):
        found += [("", value) for value in block[1].split()]
    # Whizard stores the squared matrix element in the same tag: it is no weight of the event
    named = [(_text(a or b), text) for a, b, text in _NAMED.findall(tail)] if "<weight" in tail else []
    found += [(name, text) for name, text in named if not name.startswith("sqme")]
    return [name for name, _ in found], [text.strip() for _, text in found]


def names(ids: list[str], declared: list[str]) -> tuple[str, ...]:
    """Return the names of the weights after the nominal one: the ids of the first event.

    Where it gives none they are those that the header declares, if these are as many, else ``weight_1`` and so on. A
    name that is there already gets a number, so that no two are alike.

    >>> names(["1001", "", ""], [])
    ('1001', 'weight_1', 'weight_2')
    >>> names(["", ""], ["up", "down"]), names(["a", "a"], [])
    (('up', 'down'), ('a', 'a_2'))
    """
    if ids and not any(ids) and len(declared) == len(ids):
        ids = declared
    place = 0
    seen = {"nominal": 1}
    result = []
    for name in ids:
        if not name:
            place += 1
            name = f"weight_{place}"
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return tuple(result)


def values(tail: str, expected: list[str]) -> list[float]:
    """Return the weights of an event after the nominal one, in the order of the ids ``expected``, the first event's.

    Raises:
        WeightError: if a weight is missing, no number or not finite.
    """
    ids, texts = weights_of(tail)
    if len(texts) != len(expected):
        missing = next((name for name in expected if name and name not in ids), None)
        detail = f" ({missing!r} is missing)" if missing else ""
        plural = "" if len(texts) == 1 else "s"
        raise WeightError(f"{len(texts)} weight{plural}, but the first event has {len(expected)}{detail}")
    numbers = []
    for k, (name, text) in enumerate(zip(ids, texts, strict=True)):
        try:
            number = float(text.replace("D", "E").replace("d", "e"))
        except ValueError:
            raise WeightError(f"weight {name or k + 1!r} is {text[:40]!r}, not a number") from None
        if not math.isfinite(number):
            raise WeightError(f"weight {name or k + 1!r} is {text[:40]!r}; weights must be finite")
        numbers.append(number)
    if ids != expected:
        places: dict[str, list[float]] = {}
        for name, number in zip(ids, numbers, strict=True):
            places.setdefault(name, []).append(number)
        if missing_names := [name for name in expected if name not in places]:
            raise WeightError(f"weight {missing_names[0]!r} of the first event is missing")
        if any(len(found) != expected.count(name) for name, found in places.items()):
            raise WeightError("its weights are not those of the first event")
        numbers = [places[name].pop(0) for name in expected]
    return numbers


def _text(value: str) -> str:
    """Return an attribute's value with XML entities resolved."""
    return html.unescape(value).strip()
