"""Configs: dataclasses come back from JSON, and one line names what is unknown, missing or no JSON object."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastsim.errors import FastsimError
from generators.training.config import check_keys, from_dict, read_config
from generators.training.loop import TrainingConfig


@dataclass(frozen=True)
class Outer:
    """Sizes that grow, and more."""

    sizes: tuple[int, ...]
    loop: TrainingConfig = field(default_factory=lambda: TrainingConfig(num_steps=5))
    more: TrainingConfig | None = None
    by_name: dict[str, TrainingConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if list(self.sizes) != sorted(self.sizes):
            raise ValueError(f"sizes {list(self.sizes)} do not grow")


def test_dataclasses_come_back_from_json() -> None:
    for value in (Outer((1, 2)), Outer((), TrainingConfig(7, warmup=3), TrainingConfig(9))):
        assert from_dict(Outer, json.loads(json.dumps(asdict(value))), "outer") == value
    stages = {"first": TrainingConfig(3)}
    assert from_dict(Outer, {"sizes": [], "by_name": stages}, "outer").by_name is stages


def test_what_is_left_out_is_the_default() -> None:
    default = Outer((1,), TrainingConfig(7, warmup=3))
    changed = from_dict(Outer, {"loop": {"num_steps": 8}}, "outer", default=default)
    assert changed == Outer((1,), TrainingConfig(8, warmup=3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sizes": [], "size": 1}, "tree: unknown key 'size'; known are by_name, loop, more, sizes"),
        ({"sizes": [], "loop": {"steps": 1}}, r"tree\.loop: unknown key 'steps'; known are .*num_steps"),
        ({"sizes": [], "more": {"warmup": 1}}, r"tree\.more: missing key 'num_steps'"),
        ({"sizes": [], "loop": 3}, r"tree\.loop: 3 is not a JSON object"),
        ({}, "tree: missing key 'sizes'"),
        ({"sizes": [2, 1]}, r"tree: sizes \[2, 1\] do not grow"),
        ([], r"tree: \[\] is not a JSON object"),
    ],
)
def test_bad_values_are_named(values: Any, message: str) -> None:
    with pytest.raises(FastsimError, match=message):
        from_dict(Outer, values, "tree")


def test_keys_of_a_config() -> None:
    check_keys({"name": 1}, ("name", "seed"), "a.json", required=("name",))
    with pytest.raises(FastsimError, match=r"a\.json: unknown key 'colour'; known are name, seed"):
        check_keys({"colour": 1}, ("name", "seed"), "a.json")
    with pytest.raises(FastsimError, match=r"a\.json: missing key 'name'"):
        check_keys({"seed": 1}, ("name", "seed"), "a.json", required=("name",))


@pytest.mark.parametrize(
    ("text", "message"),
    [('{\n "name": \n}', r"a\.json:3: not JSON"), ("[]", "a config is a JSON object"), (None, "No such file")],
)
def test_files_that_are_no_config(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FastsimError, match=message):
        read_config(path)
