"""The page "Add a model" of docs/training.md, followed step by step: another package, no change here."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.documentation
ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.M | re.S)


@pytest.fixture(scope="module")
def page() -> dict[str, str]:
    """The titled blocks of the page."""
    return dict(BLOCK.findall((ROOT / "docs" / "training.md").read_text(encoding="utf-8")))


def fastsim(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command where the package is installed: on the path, with its entry points."""
    environment = os.environ | {"PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "fastsim.cli", *words[1:]]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_page_is_true(page: dict[str, str], tmp_path: Path) -> None:
    assert list(page) == ["mypackage/pions.py", "pyproject.toml", "pions.json", "train", "use"]
    # what pip makes of the package
    site = tmp_path / "site"
    (site / "mypackage").mkdir(parents=True)
    (site / "mypackage" / "__init__.py").touch()
    (site / "mypackage" / "pions.py").write_text(page["mypackage/pions.py"])
    group, line = re.findall(r'entry-points\."([^"]+)"\]\n(.+)', page["pyproject.toml"])[0]
    info = site / "mypackage-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    (tmp_path / "pions.json").write_text(page["pions.json"])
    for line in (page["train"] + page["use"]).splitlines():
        done = fastsim(shlex.split(line), tmp_path)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    card = json.loads((tmp_path / "runs" / "pions" / "pions.json").read_text())
    assert card["kind"] == "pions" and card["domain"]["pt_max"] == 200.0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result, "the judge has an opinion"
    # the package is gone: one line says what is missing
    (info / "entry_points.txt").unlink()
    done = fastsim(
        ["fastsim", "generate", "--gun", "flavour=u num=2", "-o", "x.h5", "--model", "runs/pions/pions.json"], tmp_path
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert (
        "unknown kind 'pions': there are cascade, primary-flow, primary-tree, shower-flow; install the package"
        in done.stderr
    )
