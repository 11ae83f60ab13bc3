"""From partons to cells, as a user runs it: chains of steps, files in and out, one clear line for bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyhepmc
import pytest

from fastsim import api
from fastsim.cli import main
from fastsim.detector.detector import load_detector
from fastsim.detector.towers import Towers
from fastsim.errors import FastsimError, InvalidEvent, PipelineError
from fastsim.event import Cells, HardEvents, RunInfo
from fastsim.formats import hdf5, hepmc, root
from fastsim.formats.output import open_writer
from fastsim.production.chunks import EVENTS_PER_BLOCK
from generators.reference.geant4 import DATA_SETS, DATA_VARIABLE
from tests.helpers.calorimeter import Row, events_of
from tests.helpers.showers import store, toy_showers

COPPER = load_detector("copper")


@pytest.fixture
def no_geant4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Geant4 without its data: no fallback."""
    for name in (*DATA_SETS, "GEANT4_DATA_DIR", DATA_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Files of made-up showers of photons, pions and muons in copper, 0.2 to 200 GeV."""
    folder = tmp_path_factory.mktemp("library")
    rng = np.random.default_rng(4)
    settings = {"detector": {"name": "copper"}, "energy": [0.2, 200.0]}
    paths = []
    for name in ("gamma", "pi+", "pi-", "mu-"):
        binning = COPPER.binning(name)
        assert binning is not None
        showers = toy_showers(40, binning, rng, energy=(200.0, 2e5), response=0.2)
        paths.append(store(folder / f"{name}.h5", showers, binning, **settings))
    return tuple(paths)


def hepmc_file(path: Path, rows: list[list[Row]]) -> Path:
    """Written by pyhepmc in MEV, with two weights, a beam, a decayed particle and a cross-section."""
    events = events_of(rows)
    assert events.particles is not None
    info = pyhepmc.GenRunInfo()
    info.weight_names = ["nominal", "muR2"]
    with pyhepmc.open(path, "w") as file:
        for number in range(len(events)):
            event = pyhepmc.GenEvent(pyhepmc.Units.MEV, pyhepmc.Units.MM)
            event.run_info = info
            event.event_number = 100 + number
            event.weights = [1.5, 2.5]
            cross_section = pyhepmc.GenCrossSection()
            event.cross_section = cross_section
            cross_section.set_cross_section(7.0, 0.5, -1, -1)
            vertex = pyhepmc.GenVertex()
            for sign in (1, -1):
                vertex.add_particle_in(pyhepmc.GenParticle((0, 0, sign * 4e6, 4e6), 2212, 4))
            particles = events.particles[np.array([number])]
            for pdg_id, p4 in zip(particles.pdg_id, particles.p4 * 1e3, strict=True):
                vertex.add_particle_out(pyhepmc.GenParticle((*p4[1:], p4[0]), int(pdg_id), 1))
            vertex.add_particle_out(pyhepmc.GenParticle((0, 0, 0, 135.0), 111, 2))
            event.add_vertex(vertex)
            file.write(event)
    return path


ROWS: list[list[Row]] = [
    [(22, 0.4, 0.3, 1.0), (211, 0.6, -1.5, 3.1), (12, 50.0, 0.0, 0.0)],
    [(13, 1.0, 0.5, 0.0), (310, 0.3, 1.0, -1.0), (22, 30.0, 4.0, 0.0)],
    [(-211, 0.25, 0.0, -3.1), (22, 8e-4, 1.0, 0.0)],
]


def read(path: Path) -> tuple[RunInfo, HardEvents, Cells]:
    if path.suffix == ".root":
        run, events = root.read(path)
    else:
        run, batches = hdf5.read_events(path)
        events = HardEvents.concatenate(list(batches))
    assert events.cells is not None
    return run, events, events.cells


def same(one: Cells, two: Cells) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("offsets", "id", "energy"))


def test_hepmc_of_any_origin_through_geant4(shared: Path, tmp_path: Path) -> None:
    source = hepmc_file(tmp_path / "in.hepmc3", ROWS)
    options: dict[str, Any] = {
        "steps": ("calorimeter",),
        "shower_model": "geant4",
        "geant4_data": shared / "geant4" / "copper",
    }
    summary = api.generate(source, tmp_path / "a.h5", seed=3, **options, event="hard")
    assert summary.source == "geant4" and summary.events == 3 and summary.cross_section == (7.0, 0.5)
    assert summary.notes == {
        "showers": 5,
        "soft_particles": 1, "soft_energy_MeV": 1,
        "forward_particles": 1, "forward_energy_MeV": 30_000,
    }  # fmt: skip
    run, events, cells = read(tmp_path / "a.h5")
    assert events.number.tolist() == [0, 1, 2] and events.weights.tolist() == [[1.5, 2.5]] * 3
    assert run.weight_names == ("nominal", "muR2") and run.beam_energy == pytest.approx((4000.0, 4000.0))
    assert summary.cells == len(cells.id) and summary.visible == pytest.approx(cells.sums().sum())
    visible = cells.sums()
    assert 0 < visible[0] < 1000 and 100 < visible[1] < 900 and "cells" in dict(summary.rows())
    towers = Towers.from_json(run.provenance["calorimeter"])
    assert run.provenance["shower_model"] == "geant4" and run.provenance["steps"] == "calorimeter"
    eta, phi, layer = towers.centres(cells[np.array([0])].id)
    energy = cells[np.array([0])].energy
    near = (np.hypot(eta - 0.3, phi - 1.0) < 0.3) | (np.hypot(eta + 1.5, phi - 3.1) < 0.4)
    assert energy[near].sum() > 0.8 * energy.sum() and layer.max() < towers.num_layers
    # the same again: by two workers, as ROOT, and event 1 alone
    api.generate(source, tmp_path / "b.root", seed=3, workers=2, **options, event="hard")
    assert same(read(tmp_path / "b.root")[2], cells)
    api.generate(source, tmp_path / "c.h5", seed=3, first_event=1, num_events=1, **options, event="hard")
    assert same(read(tmp_path / "c.h5")[2], cells[np.array([1])])


def test_chains_share_their_stages(examples: Path, library: tuple[Path, ...], no_geant4: None, tmp_path: Path) -> None:
    """Pythia's hadrons and the calorimeter in one run, and in two, and in slices, and in threads."""
    num = 2 * EVENTS_PER_BLOCK
    lhe = examples / "pp_dijet.lhe.gz"
    chain = ("pythia", "calorimeter")
    whole = api.generate(
        lhe, tmp_path / "a.h5", steps=chain, shower_model=library, seed=5, num_events=num, event="hard"
    )
    assert whole.source == "pythia, library" and whole.events == num and whole.partons > 0
    notes = whole.notes
    assert notes["showers"] > 0 and notes["dropped_particles"] > 0 and "fallback_showers" not in notes
    run, events, cells = read(tmp_path / "a.h5")
    assert run.provenance["model"] == "pythia" and run.provenance["shower_fallback"] == "none"
    assert events.particles is not None and len(events.offsets) == num + 1
    assert (cells.sums() > 0).sum() >= num - 2  # both jets of an event may pass beside the calorimeter
    api.generate(lhe, tmp_path / "h.h5", steps=("pythia",), seed=5, num_events=num, event="hard")
    api.generate(tmp_path / "h.h5", tmp_path / "b.h5", steps=chain[1:], shower_model=library, seed=5, threads=1)
    assert same(read(tmp_path / "b.h5")[2], cells)
    options: dict[str, Any] = {"first_event": 3, "num_events": 27, "threads": 1}
    api.generate(lhe, tmp_path / "c.root", steps=chain, shower_model=library, seed=5, **options, event="hard")
    assert same(read(tmp_path / "c.root")[2], cells[3:30])
    other = api.generate(
        lhe, tmp_path / "d.h5", steps=("hadrons", "calorimeter"), shower_model=library, num_events=2, event="hard"
    )
    assert other.source == "hadron-tree, library"
    assert read(tmp_path / "d.h5")[0].provenance["model_sha256"]


def test_a_guns_sets_as_events(library: tuple[Path, ...], no_geant4: None, tmp_path: Path) -> None:
    gun = "flavour=b pt=50 eta=-1:1 num=30"
    summary = api.generate(gun, tmp_path / "a.h5", steps=("hadrons", "calorimeter"), shower_model=library, seed=2)
    run, events, cells = read(tmp_path / "a.h5")
    assert summary.partons == 30 == len(cells) and events.number.tolist() == list(range(30))
    assert "num=30" in run.provenance["gun"]
    towers = Towers.from_json(run.provenance["calorimeter"])
    _, phi, _ = towers.centres(cells.id)
    parton = np.repeat(np.arange(30), cells.counts)
    away = np.abs(np.angle(np.exp(1j * (phi - np.arctan2(events.p4[parton, 2], events.p4[parton, 1])))))
    assert np.average(away, weights=cells.energy) < 0.3


def test_the_models_of_copper_agree(no_geant4: None, tmp_path: Path) -> None:
    """The default, in few voxels, and the one in many: visible energies and shares of layers, on the same hadrons."""
    shares = []
    for name, model in (("a.h5", None), ("b.h5", "copper-cascade")):
        summary = api.generate(
            "flavour=d,g pt=50 eta=-1:1 num=96", tmp_path / name, steps=("hadrons", "calorimeter"), shower_model=model
        )
        assert summary.source == f"hadron-tree, {model or 'copper-towers'}"
        run, events, cells = read(tmp_path / name)
        layer = Towers.from_json(run.provenance["calorimeter"]).centres(cells.id)[2]
        by_layer = np.zeros((96, 5))
        np.add.at(by_layer, (np.repeat(np.arange(96), cells.counts), layer), cells.energy)
        shares.append(by_layer / (1e3 * events.p4[:, :1]))
    one, other = (np.column_stack([share, share.sum(1)]) for share in shares)
    assert 0.12 < one[:, -1].mean() < 0.2
    differences = (one - other).mean(0) / ((one - other).std(0) / np.sqrt(96))
    assert np.abs(differences).max() < 4.5, differences


def test_outside_the_library_through_geant4(library: tuple[Path, ...], shared: Path, tmp_path: Path) -> None:
    source = hepmc_file(tmp_path / "in.hepmc3", [[(22, 2.0, 0.0, 0.0), (2212, 0.5, 1.0, 1.0), (22, 0.1, -1.0, 2.0)]])
    data = shared / "geant4" / "copper"
    options: dict[str, Any] = {"steps": ("calorimeter",), "shower_model": library}
    summary = api.generate(source, tmp_path / "a.h5", geant4_data=data, **options, event="hard")
    assert summary.notes == {"showers": 3, "fallback_showers": 2}
    assert read(tmp_path / "a.h5")[0].provenance["shower_fallback"] == "geant4"


def test_without_geant4_what_is_outside_is_counted(
    library: tuple[Path, ...], no_geant4: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = hepmc_file(tmp_path / "in.hepmc3", [[(22, 2.0, 0.0, 0.0), (2212, 0.5, 1.0, 1.0), (22, 0.1, -1.0, 2.0)]])
    models = [word for path in library for word in ("--shower-model", str(path))]
    assert main(["generate", str(source), "-o", str(tmp_path / "a.h5"), "--steps", "calorimeter", *models]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "dropped energy MeV │ 500" in said and "soft particles │ 1" in said


def test_cells_file_is_as_documented(library: tuple[Path, ...], no_geant4: None, tmp_path: Path) -> None:
    source = hepmc_file(tmp_path / "in.hepmc3", [[(22, 2.0, 0.0, 0.0)], [(12, 2.0, 0.0, 0.0)]])
    api.generate(source, tmp_path / "a.h5", steps=("calorimeter",), shower_model=library)
    with h5py.File(tmp_path / "a.h5") as file:
        offsets, cell, energy = (file[f"cell/{name}"][:] for name in ("offsets", "id", "energy"))
        towers = json.loads(file.attrs["calorimeter"])
    assert offsets.dtype == np.int64 and cell.dtype == np.int32 and energy.dtype == np.float32
    assert offsets.tolist() == [0, len(cell), len(cell)] and towers["num_eta"] == 60
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["cell/offsets"][1] = -1
    with pytest.raises(FastsimError, match="damaged or incomplete"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize(("column", "value", "what"), [(1, np.nan, "not finite"), (0, -1.0, "energy of -1 GeV")])
def test_momenta_that_no_particle_has_keep_the_events_before(
    column: int, value: float, what: str, library: tuple[Path, ...], no_geant4: None, tmp_path: Path
) -> None:
    events = events_of([[(22, 2.0, 0.0, 0.0)]] * 40)
    assert events.particles is not None
    events.particles.p4[35, column] = value
    with open_writer(tmp_path / "in.h5", RunInfo()) as writer:
        writer.write(events)
    with pytest.raises(InvalidEvent, match=rf"event 35: .*{what}; the 35 events before it are in .*a\.partial\.h5"):
        api.generate(tmp_path / "in.h5", tmp_path / "a.h5", steps=("calorimeter",), shower_model=library)
    assert len(read(tmp_path / "a.partial.h5")[2]) == 35 and not (tmp_path / "a.h5").exists()


GUN = ("--gun", "flavour=u pt=20 num=1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (*GUN, "-o", "a.hepmc3", "--steps", "hadrons,calorimeter", "--shower-model", "LIBRARY"),
            "written as HDF5 (.h5)",
        ),
        ((*GUN, "-o", "-", "--steps", "hadrons,calorimeter", "--shower-model", "LIBRARY"), "written as HDF5 (.h5)"),
        ((*GUN, "-o", "a.h5", "--steps", "calorimeter,hadrons"), "none of hadrons, pythia, hadrons,calorimeter"),
        ((*GUN, "-o", "a.h5", "--steps", ""), "none of hadrons"),
        ((*GUN, "-o", "a.h5", "--steps", "calorimeter", "--shower-model", "LIBRARY"), "takes events with hadrons"),
        ((*GUN, "-o", "a.h5", "--shower-model", "LIBRARY"), "the steps do not end with calorimeter"),
        ((*GUN, "-o", "a.h5", "--steps", "pythia,calorimeter", "--shower-model", "geant4"), "not found: G4EMLOW"),
        ((*GUN, "-o", "a.h5", "--steps", "pythia,calorimeter", "--shower-model", "none.h5"), "none"),
        ((*GUN, "-o", "a.h5", "--steps", "pythia,calorimeter", "--shower-model", "hadron-tree"), "makes hadrons"),
        ((*GUN, "-o", "a.h5", "--steps", "pythia,calorimeter", "--shower-model", "LIBRARY", "--latent"), "latent"),
        (("HEPMC", "-o", "a.h5", "--steps", "hadrons,calorimeter", "--shower-model", "LIBRARY"), "has hadrons, not"),
        (
            ("HEPMC", "-o", "a.h5", "--steps", "calorimeter", "--shower-model", "LIBRARY", "--first-event", "7"),
            "holds 1",
        ),
        (("CUT", "-o", "a.h5", "--steps", "calorimeter", "--shower-model", "LIBRARY"), "cut"),
        (("EMPTY", "-o", "a.h5", "--steps", "calorimeter", "--shower-model", "LIBRARY"), "no event that can be read"),
    ],
)
def test_one_line_for_what_does_not_fit(
    words: tuple[str, ...],
    message: str,
    library: tuple[Path, ...],
    no_geant4: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = hepmc_file(tmp_path / "in.hepmc3", [[(22, 2.0, 0.0, 0.0)]])
    cut, empty = tmp_path / "cut.hepmc3", tmp_path / "empty.hepmc3"
    cut.write_bytes(whole.read_bytes()[:-40])
    empty.write_bytes(b"")
    places = {"LIBRARY": library[0], "HEPMC": whole, "CUT": cut, "EMPTY": empty}
    inputs = set(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *(str(places.get(word, word)) for word in words)]) in (1, 2)
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out
    assert set(tmp_path.iterdir()) == inputs


def test_steps_do_not_go_with_single_showers(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--detector", "copper", "--particle", "pi+", "--energy", "1", "--num", "1", "-o", "a.h5"]
    assert main(["generate", *words, "--steps", "pythia"]) == 2
    assert "--steps does not go with --detector" in capsys.readouterr().err


def test_a_model_of_hadrons_needs_their_step(no_geant4: None, tmp_path: Path) -> None:
    source = hepmc_file(tmp_path / "in.hepmc3", ROWS)
    for more in ({"model": "hadron-tree-small"}, {"num_inference_steps": 4}):
        with pytest.raises(FastsimError, match="calorimeter takes none"):
            api.generate(source, tmp_path / "a.h5", steps=("calorimeter",), **more)


def test_the_environment_does_not_choose_the_fallback(
    library: tuple[Path, ...], no_geant4: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command makes the same cells wherever it runs; what it asks for has to be there."""
    source = hepmc_file(tmp_path / "in.hepmc3", ROWS)
    options: dict[str, Any] = {"steps": ("calorimeter",), "shower_model": library, "seed": 1}
    api.generate(source, tmp_path / "a.h5", **options, event="hard")
    monkeypatch.setenv("FASTSIM_GEANT4_DATA", str(tmp_path / "nowhere"))
    api.generate(source, tmp_path / "b.h5", **options, event="hard")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert read(tmp_path / "b.h5")[0].provenance["shower_fallback"] == "none"
    with pytest.raises(FastsimError, match="nowhere"):
        api.generate(source, tmp_path / "c.h5", **options, shower_fallback="geant4", event="hard")
    with pytest.raises(FastsimError, match="must be one of none, geant4"):
        api.generate(source, tmp_path / "c.h5", **options, shower_fallback="pythia", event="hard")


def test_what_made_the_hadrons_is_kept_beside_what_made_the_cells(
    library: tuple[Path, ...], no_geant4: None, tmp_path: Path
) -> None:
    api.generate("flavour=u pt=50 num=2", tmp_path / "in.root", seed=7, steps=("pythia",))
    api.generate(tmp_path / "in.root", tmp_path / "a.h5", seed=8, steps=("calorimeter",), shower_model=library)
    provenance = read(tmp_path / "a.h5")[0].provenance
    assert (provenance["input_seed"], provenance["seed"], provenance["model"]) == ("7", "8", "pythia")


def test_process_and_scale_go_through_hepmc(examples: Path, tmp_path: Path) -> None:
    api.reference(examples / "pp_dijet.lhe.gz", tmp_path / "a.hepmc3", num_events=5)
    api.reference(examples / "pp_dijet.lhe.gz", tmp_path / "a.h5", num_events=5)
    one = HardEvents.concatenate(list(hepmc.read_events(tmp_path / "a.hepmc3")[1]))
    other = HardEvents.concatenate(list(hdf5.read_events(tmp_path / "a.h5")[1]))
    assert one.process.tolist() == other.process.tolist() and (one.process > 0).all()
    assert one.scale == pytest.approx(other.scale) and (one.scale > 1).all()


def test_steps_are_names(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="steps 'calo' are none of"):
        api.generate("flavour=u num=1", tmp_path / "a.h5", steps=["calo"])


def test_hepmc_events_read_as_events(tmp_path: Path) -> None:
    run, batches = hepmc.read_events(hepmc_file(tmp_path / "in.hepmc3", ROWS), chunk_size=2)
    all_batches = list(batches)
    assert [batch.number.tolist() for batch in all_batches] == [[0, 1], [2]] and run.beam_pdg_id == (2212, 2212)
    assert [batch.scale.tolist() for batch in all_batches] == [[0.0, 0.0], [0.0]]
    wanted = events_of(ROWS).particles
    found = HardEvents.concatenate(all_batches).particles
    assert wanted is not None and found is not None
    assert np.array_equal(found.pdg_id, wanted.pdg_id), "status 1 alone"
    assert np.allclose(found.p4, wanted.p4, rtol=1e-9, atol=1e-12)
