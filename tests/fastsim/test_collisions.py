"""Whole collisions as a user makes them: the same bytes however they are computed, and one clear line for bad input."""

from __future__ import annotations

import gzip
import io
import os
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyhepmc
import pytest

import fastsim
from bench.validation.collisions import PROCESSES, observables
from examples import make_lhe
from fastsim.cli import main
from fastsim.collisions import _quarters, keep_rests, make_minimum_bias, make_rests
from fastsim.errors import FastsimError, Stopped
from fastsim.event import HardEvents
from fastsim.event.species import charges
from fastsim.formats import lhe
from fastsim.production.inputs import Input
from fastsim.production.verify import verify
from fastsim.shipped import sha256_of
from generators.rests.library import RestLibrary
from tests.helpers.events import event, file

MODEL = "hadron-tree"


@pytest.fixture(scope="module")
def pileup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_minimum_bias(tmp_path_factory.mktemp("pileup") / "pileup.h5", energy=13000.0, num=20)


def test_slices_workers_and_resumed_runs_give_the_same_bytes(
    examples: Path, rest_library: Path, pileup: Path, tmp_path: Path
) -> None:
    source = examples / "pp_dijet.lhe.gz"
    options: dict[str, Any] = {
        "model": MODEL,
        "event": "full",
        "rest": rest_library,
        "pileup": 2.0,
        "pileup_events": pileup,
        "seed": 3,
        "num_events": 12,
    }

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with patch.object(Input, "chunk_size", 4):
        summary = fastsim.generate(source, tmp_path / "whole.h5", **options, threads=1)
        fastsim.generate(source, tmp_path / "workers.h5", **options, workers=1)
        with pytest.raises(Stopped):
            fastsim.generate(source, tmp_path / "stopped.h5", **options, threads=1, progress=stop)
        assert fastsim.generate(source, tmp_path / "stopped.h5", **options, resume=True).resumed_events > 0
        for i in range(2):
            fastsim.generate(source, tmp_path / f"{i}.h5", **options, slice=(i, 2))
    whole = (tmp_path / "whole.h5").read_bytes()
    assert whole == (tmp_path / "workers.h5").read_bytes() == (tmp_path / "stopped.h5").read_bytes()
    rows = verify(tmp_path / "whole.h5").chunks
    assert [row.sha256 for i in range(2) for row in verify(tmp_path / f"{i}.h5").chunks] == [r.sha256 for r in rows]
    assert summary.notes["rests_from_library"] == 12 and summary.notes["pileup_collisions"] > 5
    settings = verify(tmp_path / "whole.h5").settings
    assert settings["events"] == "full" and settings["rest"] == "rests.h5" and len(settings["rest_sha256"]) == 64
    assert settings["pileup"] == "2" and settings["pileup_events"] == "pileup.h5"


def test_a_library_of_several_files_is_known_by_all_of_them(examples: Path, rest_library: Path, tmp_path: Path) -> None:
    again = make_rests(tmp_path / "again.h5", energy=13000.0, num=100, seed=6)
    library = RestLibrary([rest_library, again])
    assert len(library) == 200
    options: dict[str, Any] = {"model": MODEL, "rest": library, "num_events": 2, "threads": 1}
    fastsim.generate(examples / "pp_dijet.lhe.gz", tmp_path / "a.h5", **options)
    assert verify(tmp_path / "a.h5").settings["rest_sha256"] == f"{sha256_of(rest_library)} {sha256_of(again)}"


def test_command_and_record(
    examples: Path, rest_library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.hepmc3"
    words = ["generate", str(examples / "pp_dijet.lhe.gz"), "-o", str(output), "--model", MODEL, "-n", "3"]
    assert main([*words, "--event", "full", "--rest", str(rest_library)]) == 0
    assert "rests of collisions from the" in " ".join(capsys.readouterr().out.split())
    with pyhepmc.open(str(output)) as opened:
        for one in opened:
            finals = [p.momentum for p in one.particles if p.status == 1]
            assert sum(p.e for p in finals) == pytest.approx(13000.0, rel=1e-9)
            hard = next(v for v in one.vertices if {p.status for p in v.particles_in} >= {21})
            # partons, and what they leave of the beams: the rest begins here too
            assert sorted(p.status for p in hard.particles_in) == [21, 21, 63, 63]
            assert sum(p.momentum.e for p in hard.particles_in) == pytest.approx(13000.0)


def test_what_is_made_by_default(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Short files have rests of Pythia; a library grows with its file, and any range of events gives the same ones."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("FASTSIM_CACHE", str(cache))
    monkeypatch.setattr(Input, "chunk_size", 4)
    source = examples / "pp_dijet.lhe.gz"
    options: dict[str, Any] = {"model": MODEL, "seed": 3, "threads": 1}
    few = fastsim.generate(source, tmp_path / "few.h5", **options, num_events=4)
    assert few.notes["rests_from_pythia"] == 4 and not cache.exists() and not caplog.text
    monkeypatch.setattr("generators.rests.library.STAGES", ((0, 6), (16, 12)))
    fastsim.generate(source, tmp_path / "begin.h5", **options, num_events=8)
    assert caplog.text.count("once on this machine") == 1
    summary = fastsim.generate(source, tmp_path / "whole.h5", **options, num_events=20)
    assert summary.notes["rests_from_library"] > 10
    assert summary.notes.get("rests_from_pythia", 0) + summary.notes["rests_from_library"] == 20
    assert caplog.text.count("once on this machine") == 2
    stamps = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    for i in range(3):
        fastsim.generate(source, tmp_path / f"{i}.h5", **options, num_events=20, slice=(i, 3))
    rows = verify(tmp_path / "whole.h5").chunks
    assert [row.sha256 for i in range(3) for row in verify(tmp_path / f"{i}.h5").chunks] == [r.sha256 for r in rows]
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == stamps
    paths, firsts = keep_rests(source, 20)
    assert set(paths) == set(stamps) and firsts == [0, 16]
    scales = np.concatenate([fastsim.read(path).scale for path in paths])  # type: ignore[union-attr]
    assert scales.tolist() == fastsim.read(source, num_events=12).scale.tolist()  # type: ignore[union-attr]
    assert verify(tmp_path / "whole.h5").settings["events"] == "full"


def test_a_stream_is_as_its_file(examples: Path, tmp_path: Path) -> None:
    """Its beams are read before its events."""
    source = examples / "pp_dijet.lhe.gz"
    options: dict[str, Any] = {"model": MODEL, "num_events": 3, "threads": 1}
    fastsim.generate(source, tmp_path / "file.hepmc3", **options)
    fastsim.generate(io.BytesIO(source.read_bytes()), tmp_path / "stream.hepmc3", **options)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(source.read_bytes()))
    writer.start()
    fastsim.generate(pipe, tmp_path / "pipe.hepmc3", **{**options, "num_events": None})
    writer.join()
    assert (tmp_path / "file.hepmc3").read_bytes() == (tmp_path / "stream.hepmc3").read_bytes()
    whole, begin = (fastsim.read(tmp_path / f"{name}.hepmc3") for name in ("pipe", "file"))
    assert isinstance(whole, HardEvents) and isinstance(begin, HardEvents)
    assert whole[np.arange(3)].particles == begin.particles


@pytest.mark.parametrize("tau0_max", [0.01, 1000.0])
def test_other_lifetimes(tau0_max: float, examples: Path, rest_library: Path, tmp_path: Path) -> None:
    """Rests have the same stable particles as the hadrons of the hard partons, whatever library they are from."""
    source, options = examples / "pp_dijet.lhe.gz", {"model": MODEL, "tau0_max": tau0_max, "num_events": 12}
    summary = fastsim.generate(source, tmp_path / "a.h5", rest=rest_library, **options)  # type: ignore[arg-type]
    assert summary.notes["rests_from_library"] == 12
    events = fastsim.read(tmp_path / "a.h5")
    assert isinstance(events, HardEvents) and events.particles is not None
    particles = events.particles
    assert (particles.pdg_id == 310).any() == (tau0_max < 26) and (np.abs(particles.pdg_id) == 3122).any() == (
        tau0_max < 26
    )
    assert np.allclose(particles.sums(), [13000.0, 0.0, 0.0, 0.0], atol=1e-5)
    assert np.bincount(particles.index, charges(particles.pdg_id)).tolist() == [2.0] * 12


def test_a_long_library_says_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    report = _quarters("rests")
    for done in range(128, 6001, 128):
        report(min(done, 6000), 6000)
    report(6000, 6000)
    report = _quarters("rests")
    report(900, 900)
    assert [record.getMessage() for record in caplog.records] == [
        f"{done} of 6000 rests are made" for done in (1536, 3072, 4608, 6000)
    ]


def test_lepton_beams_have_no_rest(shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = shared / "lhe" / "whizard-3.1.4-eeWW.lhe"
    summaries = [
        fastsim.generate(source, tmp_path / f"{e}.h5", model=MODEL, num_events=4, event=e)
        for e in ("hard", "full", None)
    ]
    assert summaries[0].particles == summaries[1].particles == summaries[2].particles and not caplog.text
    assert not any(key.startswith(("rests", "events_without")) for key in summaries[1].notes)
    with pytest.raises(FastsimError, match="beams of PDG id -11"):  # they got an empty library
        make_rests(tmp_path / "rests.h5", source)
    with pytest.raises(FastsimError, match="beams of PDG id -11"):
        keep_rests(source)
    assert not (tmp_path / "rests.h5").exists()


def test_taus_recoil_with_what_they_decay_into(examples: Path, rest_library: Path, tmp_path: Path) -> None:
    fastsim.generate(examples / "pp_mixed.lhe.gz", tmp_path / "a.hepmc3", model=MODEL, rest=rest_library, seed=1)
    with pyhepmc.open(str(tmp_path / "a.hepmc3")) as read:
        events = list(read)
    taus = [p for e in events for p in e.particles if abs(p.pid) == 15 and p.status == 2]
    taus = [tau for tau in taus if abs(tau.parents[0].pid) in (15, 24)]
    assert len(taus) >= 3
    for tau in taus:
        momentum, place = np.array(tau.momentum), np.array(tau.end_vertex.position)
        assert np.allclose(place[:3], place[3] * momentum[:3] / momentum[3], rtol=1e-6, atol=1e-6 * place[3])
        below = [tau]
        for p in below:
            below += p.children
        final = np.sum([np.array(p.momentum) for p in below if p.status == 1], axis=0)
        assert np.allclose(final, momentum, rtol=1e-6, atol=1e-6)
        assert all(p.status in (1, 2) for p in tau.children)  # no copies that have not recoiled


def test_events_before_cells(examples: Path, rest_library: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {"model": MODEL, "steps": "hadrons,calorimeter", "num_events": 2}
    hard = fastsim.generate(examples / "pp_dijet.lhe.gz", tmp_path / "a.h5", **words, event="hard")
    whole = fastsim.generate(examples / "pp_dijet.lhe.gz", tmp_path / "b.h5", **words, rest=rest_library)
    assert whole.cells > 2 * hard.cells and whole.notes["rests_from_library"] == 2


HADRONS = {
    "lead": ("1000822080", "1000822080"),
    "pions": ("211", "2212"),
    "HERA": ("11", "2212"),
    "photons": ("22", "22"),
}


@pytest.mark.parametrize("name", HADRONS)
def test_beams_that_are_no_nucleons(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = HADRONS[name]
    source = tmp_path / "a.lhe"
    source.write_text(file(event()).replace("2212 2212", f"{one} {other}"))
    with pytest.raises(FastsimError, match=r"beams of PDG id .*use --event hard"):
        fastsim.generate(source, tmp_path / "a.h5", model=MODEL, event="full", rest="pythia")
    assert not caplog.text
    summary = fastsim.generate(source, tmp_path / "a.h5", model=MODEL)
    assert summary.events == 1 and caplog.text.count("no whole collisions are made of such") == 1


def test_beams_of_unequal_energies_go_to_pythia(tmp_path: Path, rest_library: Path) -> None:
    source = tmp_path / "a.lhe"
    source.write_text(file(event()).replace("2212 2212 6500. 6500.", "2212 -2212 6500. 5000."))
    summary = fastsim.generate(source, tmp_path / "a.h5", model=MODEL, event="full", rest=rest_library)
    assert summary.notes["rests_from_pythia"] == 1
    events = fastsim.read(tmp_path / "a.h5")
    assert isinstance(events, HardEvents) and events.particles is not None
    (one,) = events.particles
    assert np.allclose(one.p4.sum(axis=0), [11500.0, 0, 0, 1500.0], atol=1e-3)
    with pytest.raises(FastsimError, match="give a HepMC file of it"):
        fastsim.generate(source, tmp_path / "b.h5", model=MODEL, pileup=2.0)


def test_a_truncated_file_keeps_the_events_before(examples: Path, tmp_path: Path) -> None:
    text = gzip.decompress((examples / "pp_dijet.lhe.gz").read_bytes())
    source, output = tmp_path / "cut.lhe", tmp_path / "a.h5"
    source.write_bytes(text[: text.index(b"<event", text.index(b"<event") + 3000) + 50])
    num = source.read_bytes().count(b"</event>")
    with pytest.raises(FastsimError, match=rf"truncated; the {num} events before it are in .*a\.partial\.h5"):
        fastsim.generate(source, output, model=MODEL)
    kept = fastsim.read(tmp_path / "a.partial.h5")
    assert isinstance(kept, HardEvents) and len(kept) == num >= 2
    assert fastsim.generate(source, output, model=MODEL, num_events=2).events == 2


def test_files_without_beams(tmp_path: Path) -> None:
    source = tmp_path / "a.lhe"
    for given, message in (
        ("2212 2212 0. 0.", "gives no beam energies"),
        ("0 0 6500. 6500.", "does not name its beams"),
    ):
        source.write_text(file(event()).replace("2212 2212 6500. 6500.", given))
        for words in ({"event": "full", "rest": "pythia"}, {"pileup": 2.0}):
            with pytest.raises(FastsimError, match=f"{message}.*use --event hard"):
                fastsim.generate(source, tmp_path / "a.h5", model=MODEL, **words)
        assert not any(
            "rest" in key for key in fastsim.generate(source, tmp_path / "b.h5", model=MODEL, force=True).notes
        )


@pytest.mark.parametrize("energy", [400.0, 100_000.0])
def test_energies_outside_are_those_of_pythia(energy: float, tmp_path: Path, rest_library: Path) -> None:
    source = tmp_path / "a.lhe"
    source.write_text(file(event()).replace("6500. 6500.", f"{energy} {energy}"))
    for rest in (rest_library, None):  # no library is made for such beams
        output = tmp_path / f"{rest is None}.h5"
        summary = fastsim.generate(source, output, model=MODEL, event="full", rest=rest)
        assert summary.notes["rests_from_pythia"] == 1
        events = fastsim.read(output)
        assert isinstance(events, HardEvents) and events.particles is not None
        assert events.particles.sums()[0] == pytest.approx([2 * energy, 0.0, 0.0, 0.0], abs=1e-8 * energy)


def test_partons_with_more_energy_than_their_beam(
    examples: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Such events are counted and keep their hard hadrons, Pythia rejects them, and the others are as they are."""
    text = gzip.decompress((examples / "pp_dijet.lhe.gz").read_bytes()).decode()
    source = tmp_path / "a.lhe"
    source.write_text(text.replace("6.500000e+03 6.500000e+03", "4.000000e+02 4.000000e+02"))
    run, batches = lhe.read(source, chunk_size=12)
    assert run.beam_energy == (400.0, 400.0)
    events = next(batches)
    incoming = events.status == -1
    outside = np.bincount(events.index[incoming & (events.p4[:, 0] >= 400.0)], minlength=12) > 0
    assert 0 < outside.sum() < 12
    summary = fastsim.generate(source, tmp_path / "a.h5", model=MODEL, event="full", rest="pythia", num_events=12)
    assert summary.events == 12 and summary.notes["events_without_rest"] >= outside.sum()
    assert summary.notes["events_without_rest"] + summary.notes["rests_from_pythia"] == 12
    rejected = fastsim.reference(source, tmp_path / "b.h5", full=True, num_events=12).notes["rejected_events"]
    assert outside.sum() <= rejected < 12
    assert "Traceback" not in capfd.readouterr().err


def test_options_that_do_not_go_together(examples: Path, rest_library: Path, pileup: Path, tmp_path: Path) -> None:
    source, output = examples / "pp_dijet.lhe.gz", tmp_path / "a.h5"
    for words, message in (
        ({"event": "both"}, "event='both'"),
        ({"event": "hard", "rest": rest_library}, "use --event full"),
        ({"pileup": -1.0}, "pileup=-1"),
        ({"pileup_events": pileup}, "use --pileup"),
        ({"pileup": 2.0, "beam_spot": -3.0}, "beam_spot=-3 mm"),
        ({"event": "full", "rest": tmp_path / "no.h5"}, "fastsim library rests"),
        ({"pileup": 2.0, "pileup_events": tmp_path / "no.h5"}, "no such file"),
        ({"pileup": 2.0, "pileup_events": rest_library}, "holds rests of collisions"),
        ({"tau0_max": 5000.0}, "tau0_max=5000 mm.*use --event hard"),
        ({"tau0_max": 1000.0, "pileup": 2.0}, "tau0_max=1000 mm: pile-up"),
        ({"event": "full", "steps": "calorimeter"}, "need partons"),
    ):
        with pytest.raises(FastsimError, match=message):
            fastsim.generate(source, output, model=None if "steps" in words else MODEL, **words)
    with pytest.raises(FastsimError, match="from the events of an LHE file"):
        fastsim.generate("flavour=u pt=100 num=5", output, model=MODEL, event="full", rest="pythia")


def test_pileup_of_other_energies_is_refused(examples: Path, pileup: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.lhe"
    source.write_text(file(event()).replace("6500. 6500.", "4000. 4000."))
    with pytest.raises(FastsimError, match="beams of 6500 and 6500 GeV, not those of the input"):
        fastsim.generate(source, tmp_path / "a.h5", model=MODEL, pileup=1.0, pileup_events=pileup)


@pytest.mark.slow
def test_jets_are_as_many_as_in_pythia(tmp_path: Path) -> None:
    """Of the same 3,000 hard events, whose differences have a smaller error than those of other ones."""
    source = tmp_path / "dijets.lhe.gz"
    make_lhe.write(source, [(PROCESSES["dijets"], 3000)], seed=5)
    with patch.dict("os.environ", FASTSIM_CACHE=str(tmp_path / "cache")):
        fastsim.generate(source, tmp_path / "model.h5", model=MODEL, event="full", seed=2)
    fastsim.reference(source, tmp_path / "pythia.h5", full=True, seed=3)
    model, pythia = (observables(tmp_path / name) for name in ("model.h5", "pythia.h5"))
    for jets in ("jets_20", "jets_30"):
        change = model[jets] - pythia[jets]
        error = change.std() / np.sqrt(len(change))
        assert abs(change.mean()) < 3 * error < 0.1 * pythia[jets].mean()


def test_gluinos_that_nothing_decays_stay_in_whole_collisions(tmp_path: Path) -> None:
    """New coloured particles of the file: hadrons of none, counted, and the rest has what they leave of the beams."""
    mass, px = 2000.0, 500.0
    energy = float(np.hypot(mass, px))
    lines = [f"4 1 1.0 {2 * energy} 0.0078 0.1"]
    lines += [f"21 -1 0 0 {c} 0. 0. {s * energy} {energy} 0. 0. 9." for c, s in (("501 502", 1), ("503 501", -1))]
    lines += [f"1000021 1 1 2 {c} {s * px} 0. 0. {energy} {mass} 0. 9." for c, s in (("503 504", 1), ("504 502", -1))]
    source, output = tmp_path / "a.lhe", tmp_path / "a.h5"
    source.write_text(file("<event>\n" + "\n".join(lines) + "\n</event>\n"))
    summary = fastsim.generate(source, output, model=MODEL, event="full", rest="pythia", threads=1)
    assert summary.notes["undecayed_particles"] == 2 and summary.notes["rests_from_pythia"] == 1
    events = fastsim.read(output)
    assert isinstance(events, HardEvents) and events.particles is not None
    (one,) = events.particles
    assert np.count_nonzero(one.pdg_id == 1000021) == 2 and len(one.pdg_id) > 20
    assert one.p4.sum(axis=0) == pytest.approx([13000.0, 0.0, 0.0, 0.0], abs=1e-5)
