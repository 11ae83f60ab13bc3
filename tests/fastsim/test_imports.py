"""Imports stay light and run one way."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "pythia8mc", "fastjet", "diffusers", "nflows", "sklearn", "matplotlib")
PACKAGES = ("fastsim", "generators", "metrics")
# what pip calls the packages that are imported under another name
DISTRIBUTIONS = {
    "backports": "backports.zstd",
    "sklearn": "scikit-learn",
    "geant4_pybind": "geant4-pybind",
    "ot": "POT",
}


@pytest.mark.parametrize("module", ["fastsim", "metrics", "fastsim.cli", "fastsim.sources.cards", "fastsim.event"])
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "", f"import {module} loads {done.stdout}"


def test_metrics_need_numpy_and_scipy_only() -> None:
    others = sorted(name for name in third_party_imports() if name not in ("numpy", "scipy"))
    code = f"import sys, metrics, metrics.evaluation, metrics.files; print(*sorted(set({others}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_public_name_exists() -> None:
    import fastsim

    missing = [name for name in fastsim.__all__ if not hasattr(fastsim, name)]
    assert missing == []
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fastsim.nothing


def test_import_contract_names_every_core_module() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = config["tool"]["importlinter"]["contracts"][0]
    named = {word.strip("() ") for layer in contract["layers"] for word in layer.replace("|", ":").split(":")}
    present = {
        f"fastsim.{path.stem}"
        for path in (ROOT / "fastsim").iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
    }
    assert present <= named, f"add to the import contract of pyproject.toml: {sorted(present - named)}"


def third_party_imports() -> dict[str, str]:
    """Name of each imported package from outside, and one file that imports it."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                    names = [node.module]
                for name in names:
                    found.setdefault(name.split(".")[0], str(path.relative_to(ROOT)))
    # _typeshed: types of the standard library, for type checkers only
    own = {*PACKAGES, "data", "_typeshed", *sys.stdlib_module_names}
    return {name: place for name, place in found.items() if name not in own}


def test_every_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]
    declared = {requirement.split("[")[0].split(">")[0].split("<")[0].strip() for requirement in requirements}
    undeclared = {
        name: place for name, place in third_party_imports().items() if DISTRIBUTIONS.get(name, name) not in declared
    }
    assert undeclared == {}
