"""The notebooks of the documentation run, each in less than two minutes."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LIMIT = 120.0
"""Seconds, for a reader's patience as much as for the tests'."""


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "docs" / "tools" / "run_notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, runner: ModuleType) -> None:
    start = time.monotonic()
    notebook = runner.run(path)
    assert time.monotonic() - start < LIMIT
    assert any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_saved_with_its_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for number, cell in enumerate(notebook.cells):
        outputs = cell.get("outputs", [])
        assert not [output for output in outputs if output.output_type == "error"], f"cell {number}"
        assert "/tmp" not in str(outputs), f"cell {number} shows a path of the machine that it ran on"
        if "print(" in cell.source and "\ndef " not in cell.source:
            assert outputs, f"cell {number} has no output: make notebooks"


def test_there_are_four() -> None:
    assert len(NOTEBOOKS) == 4
