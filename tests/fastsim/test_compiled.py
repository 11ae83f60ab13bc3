"""Kernels are cached where the user can write, and say when they have to be compiled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

INNER = """
from fastsim.compiled import compiled_inside

@compiled_inside
def inner(x):
    return {factor} * x
"""
OUTER = """
from fastsim.compiled import compiled
from parts import inner

@compiled
def outer(x):
    return inner(x) + 1
"""
PROGRAM = """
import logging, sys
logging.basicConfig(format="%(message)s %(kept)s", level=logging.INFO, stream=sys.stdout)
import kernels
from fastsim.compiled import cache_folders
print(kernels.outer(2.0))
print("folders", [f for f in cache_folders()])
"""


def package(folder: Path, factor: int = 2) -> None:
    """Write two modules of which one calls the other."""
    folder.mkdir(exist_ok=True)
    (folder / "parts.py").write_text(INNER.format(factor=factor))
    (folder / "kernels.py").write_text(OUTER)


def run(folder: Path, **environment: str | Path) -> list[str]:
    paths = os.pathsep.join([str(folder), *sys.path])
    values = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    values = {key: str(value) for key, value in values.items() if value != ""}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=values, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def read_only(folder: Path) -> None:
    """Leave no room for a cache beside the source; permissions would not stop root."""
    (folder / "__pycache__").write_text("a file, not a folder")


COMPILED = ["compiling outer True", "compiling inner True", "5.0"]


def test_cached_beside_the_source_where_that_is_writable(tmp_path: Path) -> None:
    package(tmp_path)
    first, second = run(tmp_path, NUMBA_CACHE_DIR=""), run(tmp_path, NUMBA_CACHE_DIR="")
    assert first == [*COMPILED, f"folders {[str(tmp_path / '__pycache__')]}"]
    assert second == first[2:]


def test_cached_for_the_user_where_the_package_is_read_only(tmp_path: Path) -> None:
    package(tmp_path / "package")
    read_only(tmp_path / "package")
    places: dict[str, str | Path] = {
        "NUMBA_CACHE_DIR": "",
        "HOME": tmp_path / "home",
        "XDG_CACHE_HOME": tmp_path / "cache",
    }
    first, second = run(tmp_path / "package", **places), run(tmp_path / "package", **places)
    assert first[:3] == COMPILED and str(tmp_path / "cache") in first[3]
    assert second == first[2:]


def test_cached_in_a_named_folder(tmp_path: Path) -> None:
    package(tmp_path / "package")
    first, second = (run(tmp_path / "package", NUMBA_CACHE_DIR=tmp_path / "named") for _ in range(2))
    assert first[:3] == COMPILED and str(tmp_path / "named") in first[3]
    assert second == first[2:]


def test_runs_where_nothing_is_writable(tmp_path: Path) -> None:
    package(tmp_path / "package")
    read_only(tmp_path / "package")
    blocked = tmp_path / "file"
    blocked.write_text("")
    places = {"NUMBA_CACHE_DIR": blocked / "a", "HOME": blocked / "b", "XDG_CACHE_HOME": blocked / "c"}
    for _ in range(2):
        said = run(tmp_path / "package", **places)
        assert said == ["compiling outer False", "compiling inner False", "5.0", "folders []"]


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    package(tmp_path / "package")
    run(tmp_path / "package", NUMBA_CACHE_DIR=tmp_path / "named")
    for index in (tmp_path / "named").rglob("*.nbi"):
        index.write_bytes(index.read_bytes()[:40])
    assert run(tmp_path / "package", NUMBA_CACHE_DIR=tmp_path / "named")[:3] == COMPILED
    assert run(tmp_path / "package", NUMBA_CACHE_DIR=tmp_path / "named")[0] == "5.0"


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_has_changed(tmp_path: Path) -> None:
    """Numba by itself looks at the file of the kernel alone, and would go on with the old machine code."""
    for factor, result in ((2, "5.0"), (3, "7.0")):
        package(tmp_path, factor)
        assert result in run(tmp_path, NUMBA_CACHE_DIR=tmp_path / "named")


def test_extensions_of_numba_stay_unloaded(tmp_path: Path) -> None:
    package(tmp_path)
    program = "import kernels, sys; kernels.outer(2.0); print({'awkward', 'vector', 'sympy'} & set(sys.modules))"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(tmp_path / "named")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


PRODUCT = """
import sys, kernels
kernels.outer(2.0)
print("numba.np.arraymath" in sys.modules)
import numba, numpy
print(numba.njit(lambda a: (a @ a).sum())(numpy.eye(3)), kernels.outer(numpy.float32(2.0)))
"""


def test_machine_code_is_loaded_without_what_is_for_compiling(tmp_path: Path) -> None:
    """Numba would load all that it can compile first. What has to be compiled after that finds it."""
    package(tmp_path)
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(tmp_path / "named")}
    for loaded in ("True", "False"):
        done = subprocess.run([sys.executable, "-c", PRODUCT], env=environment, capture_output=True, text=True)
        assert done.stdout.splitlines() == [loaded, "3.0 5.0"], done.stderr


def test_kernels_can_be_sent_to_other_processes() -> None:
    from generators.hadrons.tree.splittings import breakup

    assert pickle.loads(pickle.dumps(breakup)) is not None


@pytest.mark.parametrize("name", ["generators.nn.sampling", "generators.showers.cascade.features"])
def test_numba_finds_a_place_for_every_kernel(name: str) -> None:
    from importlib import import_module

    from fastsim.compiled import cache_folders

    import_module(name)
    assert cache_folders()
