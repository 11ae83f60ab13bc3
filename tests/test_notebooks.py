"""The notebooks of the documentation run, each in less than two minutes."""

from __future__ import annotations

import importlib.util
import resource
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

pytestmark = pytest.mark.documentation
ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LIMIT = 120.0
"""Seconds of the processor, so that other work on the machine does not count."""


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "docs" / "tools" / "run_notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, runner: ModuleType) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    notebook = runner.run(path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < LIMIT
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
