"""A first run says that it compiles; ``fastsim compile`` does so ahead of time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GUN = ["--gun", "flavour=u,g pt=50:500 num=2", "--seed", "1", "--force"]
PHOTONS = ["--detector", "pb-si-ecal", "--particle", "gamma", "--energy", "5", "--num", "2"]
NOTICE = "compiling kernels, once on this machine"


def run(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "fastsim.cli", *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_first_run_says_once_what_it_waits_for(tmp_path: Path) -> None:
    words = ["generate", *GUN, "-o", str(tmp_path / "a.h5"), "--model", "hadron-tree-small"]
    first, second = run(*words, cache=tmp_path / "cache"), run(*words, cache=tmp_path / "cache")
    assert first.stderr.count(NOTICE) == 1 and len(first.stderr.splitlines()) == 1
    assert second.stderr == ""


def test_compile_leaves_nothing_to_compile(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = run("compile", cache=cache)
    assert "kernels compiled in" in first.stdout and str(cache) in first.stdout
    kernels = sorted(cache.rglob("*.nbc"))
    second = run("compile", cache=cache)
    assert "compiled before" in second.stdout
    commands = [
        ["generate", *GUN, "-o", str(tmp_path / "b.h5"), "--steps", "hadrons,calorimeter"],
        ["showers", *PHOTONS, "-o", str(tmp_path / "c.h5")],
    ]
    for words in commands:
        assert run(*words, cache=cache).stderr == ""
    assert sorted(cache.rglob("*.nbc")) == kernels
