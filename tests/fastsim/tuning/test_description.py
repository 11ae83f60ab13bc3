"""The TOML file of a fit: what it says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastsim.errors import FastsimError
from fastsim.tuning.description import EventData, TableData, read

TABLES = """
seed = 7
[parameters]
aLund = 0.6
alphaS = {start = 0.137, high = 0.14}
[fixed]
bLund = 1.1
[tables]
files = ["a.yoda"]
relative_error = 0.01
[tables.observables]
"/REF/A/d01-x01-y01@0.1:" = 2
"B/d02" = 1.0
"""


def test_everything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "fit.toml"
    path.write_text(TABLES)
    found = read(path)
    assert (found.seed, found.model, found.fixed) == (7, "hadron-tree-tunes", {"bLund": 1.1})
    assert found.parameters == {"aLund": (0.6, None, None), "alphaS": (0.137, None, 0.14)}
    assert isinstance(found.data, TableData)
    assert found.data.files == (str(tmp_path / "a.yoda"),)
    assert found.data.observables == {"REF/A/d01-x01-y01@0.1:": 2.0, "B/d02": 1.0}
    assert (found.data.energy, found.data.num, found.data.relative_error) == (91.2, 10_000, 0.01)
    path.write_text('[parameters]\naLund = 1\n[events]\nfiles = "b.h5"\nnum = 300')
    assert read(path).data == EventData((str(tmp_path / "b.h5"),), 300)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[parameters", "cannot be read as TOML"),
        ("[parameters]\na = 1", r"give one of \[events\] and \[tables\]"),
        ("[events]\nfiles=['a']", r"\[parameters\] is missing"),
        ("[parameters]\n[events]\nfiles=['a']", r"\[parameters\] is missing"),
        ("params = 1\n[events]\nfiles=['a']", "unknown key 'params'"),
        ("[parameters]\na = 'x'\n[events]\nfiles=['a']", "parameters: a: 'x' is no number"),
        ("[parameters]\na = {begin = 1}\n[events]\nfiles=['a']", "unknown key 'begin'"),
        ("[parameters]\na = 1\n[fixed]\na = 2\n[events]\nfiles=['a']", "a is fitted and fixed"),
        ("[parameters]\na = 1\n[events]\nnum = 3", "files are missing"),
        ("[parameters]\na = 1\n[events]\nfiles=['a']\nnum = 0.5", "num: 0.5 is no whole number"),
        ("[parameters]\na = 1\n[events]\nfile=['a']", r"\[events\]: unknown key 'file'"),
        ("[parameters]\na = 1\n[tables]\nfiles=['a']", "observables are missing"),
        ("[parameters]\na = 1\n[tables]\nfiles=['a']\nobservables={x=0}", "weight of x is 0"),
        ("[parameters]\na = 1\n[tables]\nfiles=['a']\nobservables=['x']\nenergy=-1", "energy must be above 0"),
    ],
)
def test_bad_files_are_refused_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(FastsimError, match=message) as error:
        read(path)
    assert str(error.value).startswith(str(path))
