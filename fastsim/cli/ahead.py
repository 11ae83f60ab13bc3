"""What a command will need soon, loaded by another thread while Python imports the rest."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

LIBRARY = "libtorch_python.so"
"""The library of torch that needs all others of a build for the processor."""
GPU_LIBRARIES = ("libtorch_cuda.so", "libtorch_hip.so", "libtorch_xpu.so")
"""Libraries of builds for GPUs, which torch has an order of its own to load in."""


def load_torch_ahead() -> threading.Thread | None:
    """Begin to map torch's libraries into memory, a fifth of a second of the start that needs no interpreter.

    ``import torch`` finds them there. Python would hold its lock while it loads them, so that nothing else could run.

    Returns:
        The thread; None where there is nothing to gain: torch is loaded, not installed, or no build for the processor
        on Linux, or there is one core.
    """
    if sys.platform != "linux" or "torch" in sys.modules or len(os.sched_getaffinity(0)) < 2:
        return None
    spec = find_spec("torch")
    folders = [Path(place) / "lib" for place in (spec and spec.submodule_search_locations) or ()]
    if not folders or not (folders[0] / LIBRARY).is_file():
        return None
    if any((folders[0] / name).exists() for name in GPU_LIBRARIES):
        return None
    thread = threading.Thread(target=_load, args=(folders[0] / LIBRARY,), name="torch's libraries", daemon=True)
    thread.start()
    return thread


def _load(path: Path) -> None:
    """Load a library as ``dlopen`` does, without Python's lock; if that fails, torch says why."""
    load = ctypes.CDLL(None).dlopen
    load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    load(os.fsencode(path), os.RTLD_LAZY)
