"""HepMC3 text of our own making, held field by field against what pyhepmc reads."""

from __future__ import annotations

import gzip
import io
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyhepmc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastsim.compiled import compiled
from fastsim.errors import FastsimError, InvalidEvent, PipelineError
from fastsim.event import HardEvents, ParticleSet, RunInfo, kinematics, species
from fastsim.formats import digits, hepmc, lhe
from fastsim.formats.record import REMNANT
from tests.helpers.events import CHAIN, with_decays, with_hadrons

FILES = ["powheg-box-v2-W.lhe", "powheg-box-v2-hvq.lhe", "pr180.lhe", "whizard-3.1.4-eeWW.lhe"]


def load(path: Path) -> tuple[RunInfo, HardEvents]:
    run, batches = lhe.read(path)
    return run, with_hadrons(HardEvents.concatenate(list(batches)))


def write(path: Path, run: RunInfo, events: HardEvents) -> list[Any]:
    with hepmc.Writer(path, run, force=True) as writer:
        writer.write(events)
    with pyhepmc.open(str(path)) as file:
        return list(file)


def p4(particle: Any) -> NDArray[Any]:
    q = particle.momentum
    return np.array([q.e, q.px, q.py, q.pz])


def total(particles: list[Any]) -> NDArray[Any]:
    return np.asarray(np.sum([p4(p) for p in particles], axis=0))


@pytest.mark.parametrize("name", FILES)
def test_every_field_comes_back(shared: Path, tmp_path: Path, name: str) -> None:
    run, events = load(shared / "lhe" / name)
    run = replace(run, provenance={"version": "1.2", "seed": "7", "model": "tree: a\nb\\c"})
    assert events.particles is not None
    read = write(tmp_path / "o.hepmc3", run, events)
    assert len(read) == len(events)
    for i, event in enumerate(read):
        assert event.event_number == events.number[i]
        assert event.weights == events.weights[i].tolist()
        assert event.momentum_unit == pyhepmc.Units.GEV and event.length_unit == pyhepmc.Units.MM
        assert event.cross_section.xsec() == pytest.approx(run.cross_section[0])
        assert event.cross_section.xsec_err() == pytest.approx(run.cross_section[1])
        assert float(event.attributes["event_scale"].astype(float)) == pytest.approx(events.scale[i])
        assert int(event.attributes["signal_process_id"].astype(int)) == events.process[i]
        table = event.numpy.particles
        final = table.status == 1
        mine = events.particles[np.array([i])]
        order = np.argsort(table.e[final], kind="stable")
        other = np.argsort(mine.p4[:, 0], kind="stable")
        assert table.pid[final][order].tolist() == mine.pdg_id[other].tolist()
        for k, column in enumerate((table.e, table.px, table.py, table.pz)):
            np.testing.assert_allclose(column[final][order], mine.p4[other, k], rtol=2e-15, atol=0)
    info = read[0].run_info
    assert tuple(info.weight_names) == run.weight_names
    assert [(t.name, t.version) for t in info.tools] == [("fastsim", "1.2")]
    assert info.attributes["seed"].astype(str) == "7"
    assert info.attributes["model"].astype(str) == "tree: a\nb\\c"


@pytest.mark.parametrize("name", FILES)
def test_vertices_tell_who_comes_from_whom(shared: Path, tmp_path: Path, name: str) -> None:
    run, events = load(shared / "lhe" / name)
    assert events.particles is not None and events.origin is not None
    for i, event in enumerate(write(tmp_path / "o.hepmc3", run, events)):
        rows = np.arange(events.offsets[i], events.offsets[i + 1])
        beams = [p for p in event.particles if p.status == 4]
        assert [b.pid for b in beams] == list(run.beam_pdg_id)
        assert [b.momentum.e for b in beams] == list(run.beam_energy)
        assert beams[0].momentum.pz > 0 > beams[1].momentum.pz
        incoming = [p for p in event.particles if p.status == 21]
        assert [p.pid for p in incoming] == events.pdg_id[rows][events.status[rows] == -1].tolist()
        for beam, parton in zip(beams, incoming, strict=True):
            assert parton.parents == [beam]
            np.testing.assert_allclose(total(beam.children), p4(beam), rtol=1e-11)
        (hard,) = {p.end_vertex.id for p in incoming}
        vertex = next(v for v in event.vertices if v.id == hard)
        expected = [k for k in rows if events.status[k] != -1 and events.mothers[k, 0] in (-1, 0, 1)]
        assert sorted(p.pid for p in vertex.particles_out) == sorted(events.pdg_id[expected].tolist())
        np.testing.assert_allclose(total(vertex.particles_out), total(incoming), rtol=1e-4, atol=1e-4)
        sets = events.particles[np.array([i])]
        origin = events.origin[events.particles.offsets[i] : events.particles.offsets[i + 1]]
        partons = [p for p in event.particles if p.status == 23]
        coloured = [k for k in rows if events.status[k] == 1 and (abs(events.pdg_id[k]) <= 5 or events.pdg_id[k] == 21)]
        assert len(partons) == len(coloured)
        for k in coloured:
            parton = min(partons, key=lambda p: np.abs(p4(p) - events.p4[k]).max())
            mine = origin == k - rows[0]
            assert sorted(c.pid for c in parton.children) == sorted(sets.pdg_id[mine].tolist())
            assert all(c.status == 1 for c in parton.children)
            np.testing.assert_allclose(total(parton.children), sets.p4[mine].sum(axis=0), rtol=1e-12)
        resonances = [p for p in event.particles if p.status in (2, 22)]
        assert len(resonances) == np.sum(events.status[rows] == 2)
        for resonance in resonances:
            np.testing.assert_allclose(total(resonance.children), p4(resonance), rtol=1e-4, atol=1e-4)
        assert {p.status for p in event.particles} <= {1, 2, 4, 21, 22, 23, 63}


@pytest.mark.parametrize("make", [with_hadrons, with_decays])
def test_delphes_counts_its_vertices(examples: Path, tmp_path: Path, make: Callable[[HardEvents], HardEvents]) -> None:
    """Delphes ends an event when it has met as many parents (and the root) as the E line has vertices.

    It takes places from V lines alone, which must come before the daughters, and one that it does not know for zero.
    """
    run, events = load(examples / "pp_mixed.lhe.gz")
    events = make(events)
    write(tmp_path / "o.hepmc3", run, events)
    parents: set[str] = set()
    places: dict[str, list[float]] = {}
    seen = expected = particles = 0
    found = []
    for line in (tmp_path / "o.hepmc3").read_text().splitlines():
        words = line.split()
        if words[:1] == ["E"]:
            assert len(parents) == expected and seen == particles
            parents, places, seen = set(), {}, 0
            expected, particles = int(words[2]) + 1, int(words[3])
        elif words[:1] == ["V"]:
            assert words[1] not in parents and int(words[1]) == -len(parents - {"0"}) - 1
            places[words[1]] = [float(word) for word in words[5:9]] if "@" in words else [0.0] * 4
        elif words[:1] == ["P"]:
            seen += 1
            assert int(words[1]) == seen and int(words[2]) < seen
            parents.add(words[2])
            if words[-1] == "1":
                found.append(places.get(words[2], [0.0] * 4))
    assert len(parents) == expected and seen == particles
    assert events.particles is not None
    history = events.particles.history
    place = np.zeros((len(found), 4)) if history is None else history.vertex[:, [1, 2, 3, 0]]
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(place, axis=0), rtol=1e-9, atol=0)


def test_what_decayed_is_found_with_its_places(examples: Path, tmp_path: Path) -> None:
    """The graph that pyhepmc reads back is that of the history: mothers, daughters, momenta, places."""
    run, events = load(examples / "pp_dijet.lhe.gz")
    events = with_decays(events)
    final, origin = events.particles, events.origin
    assert final is not None and origin is not None and final.history is not None
    decayed = final.history.decayed

    def place(particle: Any) -> list[float]:
        x = particle.production_vertex.position
        return [x.t, x.x, x.y, x.z]

    for i, event in enumerate(write(tmp_path / "o.hepmc3", run, events)):
        finals = range(final.offsets[i], final.offsets[i + 1])
        before = range(decayed.offsets[i], decayed.offsets[i + 1])
        by_energy = {round(p.momentum.e, 9): p for p in event.particles if p.status in (1, 2)}
        assert len(by_energy) == len(finals) + len(before) == sum(p.status in (1, 2) for p in event.particles)
        of_final = [by_energy[round(float(final.p4[k, 0]), 9)] for k in finals]
        of_decayed = [by_energy[round(float(decayed.p4[k, 0]), 9)] for k in before]
        for particles, table, mothers, where, rows in (
            (of_final, final, final.history.mother, final.history.vertex, finals),
            (of_decayed, decayed, decayed.mother, decayed.vertex, before),
        ):
            for particle, row in zip(particles, rows, strict=True):
                assert particle.pid == table.pdg_id[row]
                np.testing.assert_allclose(p4(particle), table.p4[row], rtol=1e-14, atol=1e-14)
                np.testing.assert_allclose(place(particle), where[row], rtol=1e-9, atol=0)
                (parent,) = particle.parents
                if mothers[row] >= 0:
                    assert parent.id == of_decayed[mothers[row]].id and parent.status == 2
                else:
                    assert parent.status == 23 and parent.pid in (21, *range(-5, 6))
        for particle in of_decayed:
            np.testing.assert_allclose(total(particle.children), p4(particle), rtol=1e-12, atol=1e-12)
        # as Rivet's HeavyHadrons: beauty of status 2 whose daughters have none, and finals with such an ancestor
        beauty = [p for p in of_decayed if p.pid == 511]
        assert len(beauty) == np.sum(decayed.pdg_id[before[0] : before[-1] + 1] == 511)
        for hadron in beauty:
            below: list[Any] = []
            pending = list(hadron.children)
            while pending:
                child = pending.pop()
                below.append(child)
                pending += child.children
            assert sorted(p.pid for p in below if p.status == 2) == sorted(CHAIN[1:3])
            assert sum(p.status == 1 for p in below) == 4


def test_a_record_without_displaced_decays_has_no_further_vertices(examples: Path, tmp_path: Path) -> None:
    run, events = load(examples / "pp_dijet.lhe.gz")
    events = with_decays(events)
    assert events.particles is not None
    write(tmp_path / "final.hepmc3", run, replace(events, particles=events.particles.without_history()))
    write(tmp_path / "hadrons.hepmc3", run, with_hadrons(events))
    assert (tmp_path / "final.hepmc3").read_bytes() == (tmp_path / "hadrons.hepmc3").read_bytes()


def test_particles_that_pass_through_are_written_once_and_recoiling_ones_twice(examples: Path, tmp_path: Path) -> None:
    run, events = load(examples / "pp_mixed.lhe.gz")
    assert events.particles is not None
    z_jet = events[events.process == 2]
    for event in write(tmp_path / "same.hepmc3", run, z_jet):
        leptons = [p for p in event.particles if abs(p.pid) in (11, 13)]
        assert [p.status for p in leptons] == [1, 1]
        assert {p.parents[0].pid for p in leptons} == {23}
    assert z_jet.particles is not None
    moved = z_jet.particles.p4.copy()
    light = np.isin(np.abs(z_jet.particles.pdg_id), (11, 13))
    moved[light, 1:] *= 1.01
    moved = kinematics.on_shell(moved, species.masses(z_jet.particles.pdg_id))
    recoiled = replace(z_jet, particles=replace(z_jet.particles, p4=moved))
    for event in write(tmp_path / "moved.hepmc3", run, recoiled):
        leptons = [p for p in event.particles if abs(p.pid) in (11, 13)]
        assert sorted(p.status for p in leptons) == [1, 1, 23, 23]
        assert all(p.parents[0].pid == p.pid for p in leptons if p.status == 1)


def test_decayed_taus_have_status_2_and_daughters_may_come_first(tmp_path: Path) -> None:
    ids = np.array([11, -11, 16, -211, 15, -15])
    q = np.array([[50, 0, 0, 50], [50, 0, 0, -50], [20, 20, 0, 0], [30, 30, 0, 0], [50, 50, 0, 0], [50, -50, 0, 0.0]])
    mothers = np.array([[-1, -1], [-1, -1], [4, 4], [4, 4], [0, 1], [0, 1]])
    one, none = np.ones(1), np.zeros((6, 2), np.int64)
    status = np.array([-1, -1, 1, 1, 2, 1])
    ev = HardEvents(
        np.arange(1), np.array([0, 6]), ids, status, mothers, none, q, np.zeros(6), one[:, None], np.ones(1, int), one
    )
    run = RunInfo(beam_pdg_id=(11, -11), beam_energy=(50.0, 50.0))
    (event,) = write(tmp_path / "o.hepmc3", run, ev)
    tau = next(p for p in event.particles if p.pid == 15)
    assert tau.status == 2
    assert sorted(c.pid for c in tau.children) == [-211, 16]
    assert next(p for p in event.particles if p.pid == -15).status == 1
    assert event.cross_section is None
    assert not [p for p in event.particles if p.pid == REMNANT]


def test_leptons_that_radiated_have_status_22_and_each_tau_decays_once(tmp_path: Path) -> None:
    ids = np.array([11, -11, 15, 15, 22, 16, -211, -13, -13, 22])
    x = np.array([0, 0, 50, 40, 10, 15, 25, -50, -45, -5.0])  # all momenta of outgoing ones along x
    q = np.stack([np.abs(x), x, 0 * x, 0 * x], axis=1)
    q[:2] = [[50, 0, 0, 50], [50, 0, 0, -50]]
    mother = np.array([-1, -1, 0, 2, 2, 3, 3, 0, 7, 7])
    mothers = np.stack([mother, np.where(mother == 0, 1, mother)], axis=1)
    status = np.array([-1, -1, 2, 2, 1, 1, 1, 2, 1, 1])
    one, none = np.ones(1), np.zeros((10, 2), np.int64)
    ev = HardEvents(
        np.arange(1), np.array([0, 10]), ids, status, mothers, none, q, np.zeros(10), one[:, None], np.ones(1, int), one
    )
    run = RunInfo(beam_pdg_id=(11, -11), beam_energy=(50.0, 50.0))
    (event,) = write(tmp_path / "o.hepmc3", run, ev)
    assert [(p.status, p.momentum.px) for p in event.particles if p.pid == 15] == [(22, 50), (2, 40)]
    assert [(p.status, p.momentum.px) for p in event.particles if p.pid == -13] == [(22, -50), (1, -45)]


@pytest.mark.parametrize("ending", [".hepmc3", ".hepmc", ".hepmc3.gz", ".hepmc3.bz2", ".hepmc3.xz", ".hepmc3.zst"])
def test_endings(examples: Path, tmp_path: Path, ending: str) -> None:
    run, events = load(examples / "pp_dijet.lhe.gz")
    assert events.particles is not None
    path = tmp_path / f"o{ending}"
    with hepmc.Writer(path, run) as writer:
        for chunk in events.chunks(30):
            writer.write(chunk)
    batches = list(hepmc.read(path, chunk_size=64))
    assert [len(b[0]) for b in batches] == [64, 64, 64, 8]
    read = ParticleSet.concatenate([b[0] for b in batches])
    assert read.counts.tolist() == events.particles.counts.tolist()
    np.testing.assert_allclose(read.sums(), events.particles.sums(), rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), events.weights)


def test_standard_output(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, events = load(examples / "pp_mixed.lhe.gz")
    write(tmp_path / "o.hepmc3", run, events)
    content = io.BytesIO()
    sink = io.TextIOWrapper(content)
    monkeypatch.setattr(sys, "stdout", sink)
    with hepmc.Writer("-", run) as writer:
        writer.write(events)
    assert not content.closed
    assert content.getvalue() == (tmp_path / "o.hepmc3").read_bytes()


def test_chunks_change_nothing(examples: Path, tmp_path: Path) -> None:
    run, events = load(examples / "pp_dijet.lhe.gz")
    for size in (7, 200):
        with hepmc.Writer(tmp_path / f"{size}.hepmc3", run) as writer:
            for chunk in events.chunks(size):
                writer.write(chunk)
    assert (tmp_path / "7.hepmc3").read_bytes() == (tmp_path / "200.hepmc3").read_bytes()


def test_memory_does_not_grow_with_events(examples: Path, tmp_path: Path) -> None:
    run, events = load(examples / "pp_dijet.lhe.gz")

    def peak(repeats: int) -> int:
        tracemalloc.start()
        with hepmc.Writer(tmp_path / "o.hepmc3", run, force=True) as writer:
            for _ in range(repeats):
                writer.write(events)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(8) < 1.2 * peak(2)


def test_what_cannot_be_written(examples: Path, tmp_path: Path) -> None:
    run, events = load(examples / "pp_dijet.lhe.gz")
    assert events.particles is not None
    bad = events.particles.p4.copy()
    bad[events.particles.offsets[3], 1] = np.nan
    broken = replace(events, particles=replace(events.particles, p4=bad))
    two = replace(run, weight_names=("nominal", "x"))
    path = tmp_path / "o.hepmc3"
    finite = pytest.raises(InvalidEvent, match="event 3: a particle's momentum is not finite")
    with finite, hepmc.Writer(path, run) as writer:
        writer.write(broken)
    number = pytest.raises(PipelineError, match="1 weights an event, but the run names 2")
    with number, hepmc.Writer(path, two) as writer:
        writer.write(events)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_cut_short_or_damaged(examples: Path, tmp_path: Path) -> None:
    run, events = load(examples / "pp_dijet.lhe.gz")
    write(tmp_path / "whole.hepmc3", run, events[:12])
    text = (tmp_path / "whole.hepmc3").read_bytes()
    starts = [at for at in range(len(text)) if text.startswith(b"\nE ", at)]
    packed = gzip.compress(text)
    broken = {
        "in-event.hepmc3": (
            text[: starts[7] + 1000],
            "8 events begin in it but the one after the first 7 is not whole",
        ),
        "in-number.hepmc3": (text[: starts[7] + 3], "8 events begin in it but the one after the first 7 is not whole"),
        "between.hepmc3": (text[: starts[7] + 1], "does not end with the line HepMC::Asciiv3-END_EVENT_LISTING"),
        "footer.hepmc3": (text[:-10], "does not end with the line"),
        "header.hepmc3": (text[: starts[0]], "does not end with the line"),
        "hole.hepmc3": (text[: starts[3] + 500] + text[starts[3] + 900 :], "12 events begin in it but the one after"),
        "cut.hepmc3.gz": (packed[: len(packed) // 2], "[1-9] whole events are readable"),
        "cut-text.hepmc3.gz": (gzip.compress(text[: len(text) // 2]), "is not whole"),
    }
    for name, (data, message) in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FastsimError, match=f"{name}: cut short.*{message}") as caught:
            list(hepmc.read(tmp_path / name))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["HepMC3", "HepMC2", "HEPEVT"])
def test_files_of_pyhepmc_and_joined_files_are_read(examples: Path, tmp_path: Path, form: str) -> None:
    run, events = load(examples / "pp_dijet.lhe.gz")
    read = write(tmp_path / "ours.hepmc3", run, events[:5])
    with pyhepmc.open(str(tmp_path / "theirs"), "w", format=form) as file:
        for event in read:
            file.write(event)
    text = (tmp_path / "theirs").read_bytes()
    (tmp_path / "theirs.gz").write_bytes(gzip.compress(text))
    (tmp_path / "joined").write_bytes(text + text)
    for name, num in (("theirs", 5), ("theirs.gz", 5), ("joined", 10)):
        assert sum(len(sets) for sets, _ in hepmc.read(tmp_path / name, chunk_size=2)) == num


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="no such file"):
        next(hepmc.read(tmp_path / "none.hepmc3"))
    (tmp_path / "alien.hepmc3").write_text("<LesHouchesEvents>\n")
    with pytest.raises(FastsimError, match=r"alien.hepmc3: not a readable HepMC file") as caught:
        next(hepmc.read(tmp_path / "alien.hepmc3"))
    assert "\n" not in str(caught.value)


@compiled
def put_float(text: NDArray[np.uint8], value: float, num_digits: int) -> int:
    """Python does not call kernels that are called inside others."""
    return digits.put_float(text, 0, value, num_digits)


@compiled
def put_integer(text: NDArray[np.uint8], value: int) -> int:
    return digits.put_integer(text, 0, value)


def written(value: float, num_digits: int = 16) -> float:
    """The number that a float is written as."""
    text = np.zeros(digits.FLOAT_WIDTH, np.uint8)
    end = put_float(text, value, num_digits)
    assert len(bytes(text[:end])) == num_digits + 5 + (value < 0)
    return float(bytes(text[:end]))


@given(st.floats(-1e98, 1e98, allow_subnormal=False))
def test_floats_have_sixteen_digits(value: float) -> None:
    assert written(value) == pytest.approx(value if abs(value) >= 1e-98 else 0.0, rel=8e-16, abs=1e-98)


def test_floats_at_powers_of_ten() -> None:
    for value in (s * m * 10.0**e for s in (1, -1) for e in range(-20, 20) for m in (1.0, 0.9999999999999999, 9.5)):
        assert written(value) == pytest.approx(value, rel=8e-16, abs=0)


@given(st.floats(-1e98, 1e98, allow_subnormal=False), st.integers(2, 16))
def test_floats_of_fewer_digits(value: float, num: int) -> None:
    assert written(value, num) == pytest.approx(value, rel=0.5000001 * 10.0 ** (1 - num) + 8e-16, abs=1e-98)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_integers(value: int) -> None:
    text = np.zeros(digits.INTEGER_WIDTH, np.uint8)
    assert int(bytes(text[: put_integer(text, value)])) == value
