"""Which particles of a run are stable: --tau0-max of generate, reference and reference --full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim.errors import FastsimError
from fastsim.event import HardEvents, ParticleSet
from fastsim.formats import hdf5
from fastsim.production.manifest import Manifest, manifest_path
from tests.helpers.sources import Spray

GUN = "flavour=b pt=60 num=25"


def final(path: Path) -> ParticleSet:
    events = fastsim.read(path)
    assert isinstance(events, HardEvents) and events.particles is not None
    return events.particles


def made(how: str, source: str | Path, path: Path, tau0_max: float) -> ParticleSet:
    if how == "generate":
        fastsim.generate(source, path, model="hadron-tree", seed=1, tau0_max=tau0_max, num_events=25, event="hard")
    else:
        fastsim.reference(source, path, full=how == "full", seed=1, tau0_max=tau0_max, num_events=25)
    assert Manifest.read(manifest_path(path)).settings["tau0_max"] == tau0_max
    return final(path)


@pytest.mark.parametrize("how", ["generate", "reference", "full"])
def test_lifetimes_decide_what_is_final(how: str, examples: Path, tmp_path: Path) -> None:
    source: str | Path = examples / "pp_dijet.lhe.gz" if how == "full" else GUN
    long, short = (made(how, source, tmp_path / f"{limit}.h5", limit) for limit in (1000.0, 0.01))
    ids = np.abs(long.pdg_id)
    assert not np.isin(ids, [310, 3122, 3112, 3222, 3312, 3322, 3334]).any() and np.isin(ids, [130, 2112]).any()
    assert long.history is not None and short.history is not None
    decayed, has = long.history.decayed, np.flatnonzero(long.history.mother >= 0)
    mothers = decayed.pdg_id[long.history.mother[has] + decayed.offsets[long.index[has]]]
    pions = long.history.vertex[has[mothers == 310]]
    assert len(pions) > 10 and np.median(np.abs(pions[:, 1:]).max(axis=1)) > 1.0, "K0S fly"
    ids = np.abs(short.pdg_id)
    heavy = np.isin(ids, [411, 421, 431, 4122, 511, 521, 531, 5122])
    assert heavy.sum() >= 15 and np.isin(ids, [310]).any()


def test_the_default_is_ten_millimetres(tmp_path: Path) -> None:
    particles = made("reference", GUN, tmp_path / "a.h5", 10.0)
    ids = np.abs(particles.pdg_id)
    assert np.isin(ids, [310, 3122]).any() and not np.isin(ids, [411, 421, 511, 521]).any()
    assert "tau0_max" not in hdf5.read(tmp_path / "a.h5")[2]
    fastsim.reference(GUN, tmp_path / "b.h5", tau0_max=1000.0)
    assert hdf5.read(tmp_path / "b.h5")[2]["tau0_max"] == "1000"


def test_models_of_final_particles_take_the_default_only(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match=r"tau0_max is 1000 mm: particles of spray are stable from 10 mm on"):
        fastsim.generate(GUN, tmp_path / "a.h5", model=Spray(), tau0_max=1000.0)
    for how in ({"full": True}, {}):
        with pytest.raises(FastsimError, match="tau0_max is -1"):
            fastsim.reference("a.lhe" if how else GUN, tmp_path / "a.h5", tau0_max=-1, **how)  # type: ignore[arg-type]
