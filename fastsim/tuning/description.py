"""What the TOML file of a fit says: parameters, and the events or the tables that they are fitted to.

docs/tunes.md lists the keys.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastsim.errors import FastsimError

_KEYS: dict[str, tuple[str, ...]] = {
    "": ("model", "seed", "parameters", "fixed", "events", "tables"),
    "events": ("files", "num"),
    "tables": ("files", "observables", "energy", "num", "max_points", "relative_error"),
}
_PARAMETER = ("start", "low", "high")
MODEL = "hadron-tree-tunes"
"""The model that is fitted where the file names none."""


@dataclass(frozen=True)
class EventData:
    """A sample of events to fit: paths of files, and how many of their events at most."""

    files: tuple[str, ...]
    num: int


@dataclass(frozen=True)
class TableData:
    """Measured tables to fit.

    Attributes:
        files: YODA files.
        observables: weights by the paths of tables, such as "ALEPH_1996_S3486095/d01-x01-y01"; a range of bins may
            follow, as in Professor's weight files: "PATH@LOW:HIGH".
        energy: of the e+e- collision in GeV.
        num: events of a sample.
        max_points: points at which the model is sampled, at most.
        relative_error: error of the model's predictions, relative to the data, that is added to theirs in quadrature.
    """

    files: tuple[str, ...]
    observables: Mapping[str, float]
    energy: float
    num: int
    max_points: int
    relative_error: float


@dataclass(frozen=True)
class Description:
    """What the file of a fit says.

    Attributes:
        place: path of the file, for messages.
        model: name or path of the model.
        seed: of all randomness.
        parameters: start and bounds of those that are fitted, by name; None where the file gives none.
        fixed: values of others by name.
        data: what they are fitted to.
    """

    place: str
    model: str
    seed: int
    parameters: Mapping[str, tuple[float | None, float | None, float | None]]
    fixed: Mapping[str, float]
    data: EventData | TableData


def read(path: str | os.PathLike[str]) -> Description:
    """Read the file of a fit; paths in it are relative to its folder.

    Raises:
        FastsimError: if it cannot be read, or a key is unknown, missing or of another kind.
    """
    place = os.fspath(path)
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FastsimError(f"{place}: cannot be read as TOML: {error}") from error
    return described(values, place, Path(path).parent)


def described(values: Mapping[str, Any], place: str, folder: Path = Path()) -> Description:
    """Return the description that the tables of a file stand for.

    Args:
        values: the tables.
        place: what messages begin with.
        folder: that relative paths start from.

    Raises:
        FastsimError: if a key is unknown, missing or of another kind.
    """
    _check_keys(values, "", place)
    if ("events" in values) == ("tables" in values):
        raise FastsimError(f"{place}: give one of [events] and [tables]: what the parameters are fitted to")
    given = values.get("parameters")
    if not isinstance(given, Mapping) or not given:
        raise FastsimError(f"{place}: [parameters] is missing: name what is fitted, such as aLund = 0.68")
    parameters = {name: _parameter(value, f"{place}: parameters: {name}") for name, value in given.items()}
    fixed = {name: _number(v, f"{place}: fixed: {name}") for name, v in _table(values, "fixed", place).items()}
    if twice := sorted(set(parameters) & set(fixed)):
        raise FastsimError(f"{place}: {twice[0]} is fitted and fixed")
    data = _events(values["events"], place, folder) if "events" in values else _tables(values["tables"], place, folder)
    seed = _integer(values.get("seed", 1), f"{place}: seed", 0)
    return Description(place, str(values.get("model", MODEL)), seed, parameters, fixed, data)


def _events(table: Any, place: str, folder: Path) -> EventData:
    where = f"{place}: events"
    _check_keys(table, "events", place)
    return EventData(_files(table, where, folder), _integer(table.get("num", 5000), f"{where}: num", 1))


def _tables(table: Any, place: str, folder: Path) -> TableData:
    where = f"{place}: tables"
    _check_keys(table, "tables", place)
    observables = table.get("observables")
    if isinstance(observables, list) and all(isinstance(name, str) for name in observables):
        observables = dict.fromkeys(observables, 1.0)
    if not isinstance(observables, Mapping) or not observables:
        raise FastsimError(f"{where}: observables are missing: a list of paths of tables, or weights by path")
    weights = {str(name).lstrip("/"): _number(w, f"{where}: weight of {name}") for name, w in observables.items()}
    if bad := [name for name, weight in weights.items() if not weight > 0]:
        raise FastsimError(f"{where}: the weight of {bad[0]} is {weights[bad[0]]:g}: it must be above 0, or left out")
    numbers = {"energy": 91.2, "relative_error": 0.0}
    numbers = {key: _number(table.get(key, value), f"{where}: {key}") for key, value in numbers.items()}
    if numbers["energy"] <= 0 or numbers["relative_error"] < 0:
        raise FastsimError(f"{where}: energy must be above 0 GeV, relative_error at least 0")
    return TableData(
        _files(table, where, folder),
        weights,
        num=_integer(table.get("num", 10_000), f"{where}: num", 500),
        max_points=_integer(table.get("max_points", 8), f"{where}: max_points", 1),
        **numbers,
    )


def _check_keys(table: Any, name: str, place: str) -> None:
    where = f"{place}: [{name}]" if name else place
    if not isinstance(table, Mapping):
        raise FastsimError(f"{where}: is no table")
    if unknown := [key for key in table if key not in _KEYS[name]]:
        raise FastsimError(f"{where}: unknown key {unknown[0]!r}: there are {', '.join(_KEYS[name])}")


def _table(values: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    table = values.get(name, {})
    if not isinstance(table, Mapping):
        raise FastsimError(f"{place}: [{name}]: is no table")
    return table


def _files(table: Mapping[str, Any], where: str, folder: Path) -> tuple[str, ...]:
    given = table.get("files")
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
        raise FastsimError(f"{where}: files are missing: a list of paths")
    return tuple(os.fspath(folder / name) for name in given)


def _parameter(value: Any, where: str) -> tuple[float | None, float | None, float | None]:
    if not isinstance(value, Mapping):
        return _number(value, where), None, None
    if unknown := [key for key in value if key not in _PARAMETER]:
        raise FastsimError(f"{where}: unknown key {unknown[0]!r}: there are {', '.join(_PARAMETER)}")
    start, low, high = (None if key not in value else _number(value[key], f"{where}: {key}") for key in _PARAMETER)
    return start, low, high


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise FastsimError(f"{where}: {value!r} is no number")
    return float(value)


def _integer(value: Any, where: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise FastsimError(f"{where}: {value!r} is no whole number of at least {least}")
    return value
