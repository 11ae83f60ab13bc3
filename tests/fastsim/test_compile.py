"""A first run says that it compiles; ``fastsim compile`` does so ahead of time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GUN = ["--gun", "flavour=u,g pt=50:500 num=2", "--seed", "1", "--force"]
NOTICE = "compiling kernels, once on this machine"


def run(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "fastsim.cli", *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def test_compiled_ahead_or_with_a_notice(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = run("compile", cache=cache)
    assert "kernels compiled in" in done.stdout and str(cache) in done.stdout
    kernels = sorted(cache.rglob("*.nbc"))
    chain = ["generate", *GUN, "-o", str(tmp_path / "b.h5"), "--steps", "hadrons,calorimeter"]
    assert run(*chain, cache=cache).stderr == "", "nothing is left to compile"
    assert sorted(cache.rglob("*.nbc")) == kernels
    # a machine that has some of them: the first run says once what it waits for, the second nothing
    for index in cache.rglob("*pick_bin*.nbi"):
        index.unlink()
    words = ["generate", *GUN, "-o", str(tmp_path / "a.h5"), "--model", "hadron-tree-small"]
    first, second = run(*words, cache=cache), run(*words, cache=cache)
    assert first.stderr.count(NOTICE) == 1 and len(first.stderr.splitlines()) == 1
    assert second.stderr == ""
