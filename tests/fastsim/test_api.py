"""The library's face: files in, files out, the same for slices; models by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import fastsim
from fastsim.errors import FastsimError, InvalidEvent, OutputError, WeightsError
from fastsim.event import ParticleSet, Partons, kinematics
from fastsim.formats import hdf5
from tests.helpers.events import event, file
from tests.helpers.sources import Spray

FILES = {
    "madgraph5-3.5.8-pp_to_jj.lhe.gz": 40,
    "powheg-box-v2-W.lhe": 40,
    "powheg-box-v2-hvq.lhe": 6,
    "pr180.lhe": 10,
    "whizard-3.1.4-eeWW.lhe": 10,
}
"""Files, and how many of the 40 events asked for they hold."""


@pytest.mark.parametrize("name", FILES)
def test_files_of_real_generators_go_through(name: str, shared: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.h5"
    steps: list[tuple[int, int | None]] = []
    summary = fastsim.generate(
        shared / "lhe" / name,
        output,
        model=Spray(20.0),
        seed=2,
        num_events=40,
        progress=lambda done, total: steps.append((done, total)),
        event="hard",
    )
    assert summary.events == min(
        40, {"powheg-box-v2-hvq.lhe": 6}.get(name, 40 if "box" in name or "mad" in name else 10)
    )
    assert steps == [(summary.events, summary.events)] and summary.particles > summary.events
    run, batches = hdf5.read_events(output)
    assert run.provenance["model"] == "spray" and run.provenance["seed"] == "2"
    for events in batches:
        assert events.particles is not None
        incoming = events.status == -1
        total = np.stack([np.bincount(events.index[incoming], c[incoming], len(events)) for c in events.p4.T], -1)
        # the file itself closes to its printed digits
        assert (np.abs(events.particles.sums() - total).max(axis=1) < 2e-9 * total[:, 0]).all()


def test_reference_on_partons_and_full(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.lhe"
    path.write_text(file(event(), event()))
    summary = fastsim.reference(path, tmp_path / "gun.hepmc3", seed=1, num_events=1)
    assert (summary.events, summary.source) == (1, "pythia")
    full = fastsim.reference(shared / "lhe" / next(iter(FILES)), tmp_path / "full.hepmc3", full=True, num_events=2)
    assert (full.events, full.source) == (2, "pythia-full") and full.particles > 40


def test_gun_text_sets_and_fallback(tmp_path: Path) -> None:
    gun = "flavour=u,g pt=10:40 num=200"
    whole = fastsim.generate(gun, tmp_path / "a.h5", model=Spray(20.0), seed=3)
    assert whole.events == 200 and 60 < whole.notes["fallback_partons"] < 140
    fastsim.generate(gun, tmp_path / "b.h5", model=Spray(20.0), seed=3, first_event=150, num_events=20)
    partons, sets, attributes = hdf5.read(tmp_path / "a.h5")
    some, selected, _ = hdf5.read(tmp_path / "b.h5")
    assert np.array_equal(partons.p4[150:170], some.p4) and np.array_equal(sets[150:170].p4, selected.p4)
    assert "num=200" in attributes["gun"]


def test_latent_is_saved(tmp_path: Path) -> None:
    class Shared(Spray):
        has_latent = True

        def draw_latent(self, partons: Partons, rng: np.random.Generator) -> SimpleNamespace:
            return SimpleNamespace(z=rng.normal(size=(len(partons), 3)))

        def draw_with_latent(
            self, partons: Partons, rng: np.random.Generator, latent: SimpleNamespace | None
        ) -> tuple[ParticleSet, SimpleNamespace]:
            drawn = self.draw_latent(partons, rng) if latent is None else latent
            return self.draw(partons, rng), drawn

    model = Shared()
    fastsim.generate("flavour=g pt=50:60 num=20", tmp_path / "a.h5", model=model, latent=True)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["latent/z"].shape == (20, 3) and np.std(file["latent/z"]) > 0.5
    with pytest.raises(FastsimError, match="give a gun and an output ending in"):
        fastsim.generate("flavour=g pt=50:60 num=20", tmp_path / "a.hepmc3", model=model, latent=True)
    with pytest.raises(FastsimError, match="model 'pythia' has no latent"):
        fastsim.generate("flavour=g pt=50:60 num=20", tmp_path / "b.h5", model="pythia", latent=True)
    with pytest.raises(FastsimError, match="model 'spray' has no latent"):
        Spray().latent(Partons.from_pt_eta_phi(np.array([1]), np.ones(1), np.zeros(1), np.zeros(1)))


def test_load_model(tmp_path: Path) -> None:
    partons = Partons.from_pt_eta_phi(np.array([21, -2]), np.array([100.0, 50.0]), np.zeros(2), np.zeros(2))
    pythia = fastsim.load_model("pythia")
    a, b = (pythia.sample(partons, seed=4) for _ in range(2))
    assert np.array_equal(a.p4, b.p4) and not np.array_equal(a.p4, pythia.sample(partons, seed=5).p4)
    hdf5.write(tmp_path / "library.h5", partons, a)
    library = fastsim.load_model(tmp_path / "library.h5")
    assert (library.name, library.card) == ("library", None)
    assert kinematics.pt(library.sample(partons).sums()).shape == (2,)
    with pytest.raises(WeightsError, match="unknown model 'nope'"):
        fastsim.load_model("nope")
    with pytest.raises(FastsimError, match="only diffusion models do"):
        fastsim.load_model("pythia", num_inference_steps=4)


def test_bad_input_and_output(tmp_path: Path) -> None:
    path = tmp_path / "bad.lhe"
    path.write_text(file(event(), event((3, 6, "nan"))))
    model = Spray()
    with pytest.raises(InvalidEvent, match=r"bad\.lhe, event 1.*the 1 events before it are in"):
        fastsim.generate(path, tmp_path / "a.hepmc3", model=model, event="hard")
    assert not (tmp_path / "a.hepmc3").exists() and (tmp_path / "a.partial.hepmc3").exists()
    (tmp_path / "b.h5").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        fastsim.generate(path, tmp_path / "b.h5", model=model, event="hard")
    with pytest.raises(FastsimError, match="first_event=-1"):
        fastsim.generate(path, tmp_path / "c.h5", model=model, first_event=-1, event="hard")
    with pytest.raises(FastsimError, match="on an LHE file, not on a gun"):
        fastsim.reference("flavour=g num=2", tmp_path / "c.h5", full=True)
