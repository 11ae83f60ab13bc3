"""Torch's libraries are there before torch is imported, and torch is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import pytest

from fastsim.cli import ahead

CODE = """
from fastsim.cli.ahead import LIBRARY, load_torch_ahead
thread = load_torch_ahead()
thread.join()
import sys
maps = open("/proc/self/maps").read()
assert LIBRARY in maps and "torch" not in sys.modules
import torch
assert open("/proc/self/maps").read().count(LIBRARY) == maps.count(LIBRARY)
print(torch.nn.Linear(4, 2)(torch.ones(3, 4)).sum().isfinite().item(), load_torch_ahead())
"""


def _for_the_processor() -> bool:
    spec = find_spec("torch")
    folder = Path(spec.submodule_search_locations[0]) / "lib" if spec and spec.submodule_search_locations else Path()
    return not any((folder / name).exists() for name in ahead.GPU_LIBRARIES)


@pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2 or not _for_the_processor(), reason="nothing to gain"
)
def test_libraries_are_loaded_once_and_before_torch() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "None"]


def test_builds_for_gpus_are_left_alone() -> None:
    with patch.dict(sys.modules), patch.object(ahead, "GPU_LIBRARIES", (ahead.LIBRARY,)):
        sys.modules.pop("torch", None)
        assert ahead.load_torch_ahead() is None
    with patch.object(ahead, "find_spec", return_value=None), patch.dict(sys.modules):
        sys.modules.pop("torch", None)
        assert ahead.load_torch_ahead() is None
