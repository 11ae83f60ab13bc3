"""Configs of trainings: JSON objects read into dataclasses, which refuse every key that they do not know."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from fastsim.errors import FastsimError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


class ConfigError(FastsimError, ValueError):
    """A config is not JSON, misses a key, or holds one that nothing reads."""


def read_config(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises:
        ConfigError: if the file cannot be read, or holds anything else.
    """
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: a config is a JSON object")
    return config


def check_keys(
    values: Mapping[str, Any], known: Collection[str], where: object, *, required: Collection[str] = ()
) -> None:
    """Refuse a JSON object with an unknown key, or without a required one.

    Args:
        values: the JSON object.
        known: all keys that it may have.
        where: the file, or the file and the section, that messages begin with.
        required: the keys that it must have.

    Raises:
        ConfigError: naming the key.
    """
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; known are {', '.join(known)}")
    for key in required:
        if key not in values:
            raise ConfigError(f"{where}: missing key {key!r}")


def from_dict(kind: type[T], values: Any, where: object, *, default: T | None = None) -> T:
    """Make a dataclass from a JSON object: the inverse of ``dataclasses.asdict``, after JSON too.

    Fields that are dataclasses are made of JSON objects in the same way, and lists become tuples; other types are not
    checked.

    >>> from generators.training.loop import TrainingConfig
    >>> from_dict(TrainingConfig, {"num_steps": 10}, "tree.json: loop").num_steps
    10

    Args:
        kind: the dataclass.
        values: the JSON object.
        where: the file and the section that messages begin with.
        default: gives the fields that ``values`` lacks; without it the dataclass's own defaults do.

    Raises:
        ConfigError: if ``values`` is no JSON object, holds an unknown key, lacks a field without default, or holds
            what the dataclass refuses.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {values!r} is not a JSON object")
    by_name = {field.name: field for field in fields(kind)}
    required = [n for n, field in by_name.items() if field.default is MISSING and field.default_factory is MISSING]
    check_keys(values, sorted(by_name), where, required=() if default is not None else required)
    hints = get_type_hints(kind)
    result = {} if default is None else {name: getattr(default, name) for name in by_name}
    for name, value in values.items():
        nested = _dataclass_in(hints[name])
        if nested is not None and value is not None and not isinstance(value, nested):
            result[name] = from_dict(nested, value, f"{where}.{name}", default=result.get(name))
        else:
            result[name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**result)
    except ValueError as error:  # what the dataclass itself refuses
        raise ConfigError(f"{where}: {error}") from error


def _dataclass_in(hint: Any) -> type[DataclassInstance] | None:
    """Return the dataclass that a field's type is, alone or with None."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return next((kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)), None)
