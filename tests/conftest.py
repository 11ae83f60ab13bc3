"""What tests share: the folder of reference files, and the example events."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# the machine may be busy with a training: time says nothing about correctness
# the same examples in every run: a gate that fails one day in ten teaches to run it again
settings.register_profile("fastsim", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("fastsim")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of files from real generators (FASTSIM_SHARED, or ``shared`` beside the repository).

    A missing reference must not pass for a success: under CI it fails, elsewhere it skips and says why.
    """
    folder = Path(os.environ.get("FASTSIM_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        reason = f"reference files are not at {folder}; set FASTSIM_SHARED"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """Folder of the example events that ship with the package."""
    return ROOT / "data" / "examples"


@pytest.fixture
def rng() -> np.random.Generator:
    """A fixed seed for every test."""
    return np.random.default_rng(20_261)


@pytest.fixture(scope="session")
def rest_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small library of rests for protons of 13 TeV, made by Pythia."""
    from fastsim.collisions import make_rests

    return make_rests(tmp_path_factory.mktemp("rests") / "rests.h5", energy=13000.0, num=100, seed=5)
