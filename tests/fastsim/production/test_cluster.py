"""A local Dask cluster: the same bytes, also when a worker dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import fastsim
from fastsim.detector.detector import load_detector
from fastsim.errors import FastsimError
from fastsim.production.inputs import GunInput
from fastsim.production.verify import verify
from generators.reference.geant4 import DATA_SETS, DATA_VARIABLE
from tests.helpers.showers import SMALL, ToySource, store, toy_showers
from tests.helpers.sources import Spray

distributed = pytest.importorskip("distributed")
GUN = "flavour=u,g pt=10:80 num=400"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as started:
        yield started


def test_same_bytes_also_when_a_worker_dies(cluster: Any, tmp_path: Path) -> None:
    model = Spray(20.0)
    with patch.object(GunInput, "chunk_size", 8):
        fastsim.generate(GUN, tmp_path / "here.h5", model=model, seed=2, threads=1)
        victim = next(iter(cluster.workers.values())).pid
        died = threading.Event()

        def progress(done: int, total: int | None) -> None:
            if done > 40 and not died.is_set():
                died.set()
                os.kill(victim, signal.SIGKILL)
                time.sleep(0.2)

        fastsim.generate(
            GUN, tmp_path / "there.h5", model=model, seed=2, scheduler=cluster.scheduler_address, progress=progress
        )
    assert died.is_set()
    assert (tmp_path / "there.h5").read_bytes() == (tmp_path / "here.h5").read_bytes()
    assert verify(tmp_path / "there.h5").events == 400


def test_cells_and_showers(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Geant4's data, or the particles that the library lacks would go to Geant4."""
    for name in (*DATA_SETS, "GEANT4_DATA_DIR", DATA_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    binning = load_detector("copper").binning("gamma")
    assert binning is not None
    showers = toy_showers(40, binning, np.random.default_rng(1), energy=(200.0, 2e5), response=0.2)
    library = store(tmp_path / "library.h5", showers, binning, detector={"name": "copper"}, energy=[0.2, 200.0])
    cells: dict[str, Any] = {
        "model": Spray(20.0),
        "steps": ("hadrons", "calorimeter"),
        "shower_model": library,
        "seed": 2,
    }
    (tmp_path / "small.toml").write_text(SMALL)
    gun = {"detector": tmp_path / "small.toml", "particle": "e-", "energy": (1.0, 9.0), "num": 1100}
    for name, who in (("here", {"threads": 1}), ("there", {"scheduler": cluster.scheduler_address})):
        fastsim.generate("flavour=u pt=10:80 num=40", tmp_path / f"{name}.h5", **cells, **who)
        fastsim.generate_showers(tmp_path / f"{name}-s.h5", model=ToySource(tmp_path / "small.toml"), **gun, **who)
    for name in ("here.h5", "here-s.h5"):
        there = tmp_path / name.replace("here", "there")
        assert there.read_bytes() == (tmp_path / name).read_bytes() and verify(there).cells > 0


def test_pythias_gun(cluster: Any, examples: Path, tmp_path: Path) -> None:
    with patch.object(GunInput, "chunk_size", 8):
        for name, who in (("here", {}), ("there", {"scheduler": cluster.scheduler_address})):
            fastsim.reference("flavour=u,g pt=10:80 num=20", tmp_path / f"{name}.h5", seed=2, **who)
    assert (tmp_path / "there.h5").read_bytes() == (tmp_path / "here.h5").read_bytes()
    with pytest.raises(FastsimError, match="runs in processes of this machine"):
        lhe, more = examples / "pp_dijet.lhe.gz", {"full": True, "scheduler": cluster.scheduler_address}
        fastsim.reference(lhe, tmp_path / "full.h5", **more)
    assert not (tmp_path / "full.h5").exists()


def test_errors_come_back(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="outside the domain"):
        gun = "flavour=u pt=0.1:0.2 num=4"
        fastsim.generate(gun, tmp_path / "a.h5", model=Spray(20.0), scheduler=cluster.scheduler_address)
    with pytest.raises(FastsimError, match="not both"):
        fastsim.generate(GUN, tmp_path / "a.h5", model=Spray(), scheduler="tcp://x:1", workers=1)
    with (
        patch("fastsim.production.dask.TIMEOUT", 1),
        pytest.raises(FastsimError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
    ):
        fastsim.generate(GUN, tmp_path / "a.h5", model=Spray(), scheduler="tcp://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []
