"""HepMC files of other programs: what decayed in them, odd weights and statuses, cross-sections that come late."""

from __future__ import annotations

import bz2
import gzip
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyhepmc
import pytest

import fastsim
from fastsim.errors import FastsimError
from fastsim.event import Decayed, Floats, HardEvents, Ints, ParticleSet
from fastsim.formats import cross_section, hepmc, lhe
from fastsim.formats.events import read_events
from fastsim.formats.weight_names import distinct, safe_names
from fastsim.production.verify import verify
from tests.helpers.events import with_decays
from tests.helpers.sources import Spray

PION = "40.0 0.0 5.0 40.31 0.13957"


def text(
    *events: tuple[str, ...], names: str | None = "W Weight", weights: str = "1.0", vertices: int = 1, status: int = 1
) -> str:
    """Return a HepMC3 file whose events have two beams, two pions and further lines."""
    lines = ["HepMC::Version 3.02.05", "HepMC::Asciiv3-START_EVENT_LISTING", *([names] if names else [])]
    for number, more in enumerate(events):
        attributes = [line for line in more if line.startswith("A")]
        rest = [line for line in more if not line.startswith("A")]
        num = 4 + sum(line.startswith("P") for line in rest)
        num_vertices = vertices + sum(line.startswith("V") for line in rest)
        lines += [f"E {number} {num_vertices} {num}", "U GEV MM", f"W {weights}", *attributes]
        lines += ["P 1 0 2212 0 0 6500 6500 0.938 4", "P 2 0 2212 0 0 -6500 6500 0.938 4", "V -1 0 [1,2]"]
        lines += [f"P 3 -1 211 {PION} {status}", f"P 4 -1 -211 {PION} {status}", *rest]
    return "\n".join([*lines, "HepMC::Asciiv3-END_EVENT_LISTING", "", ""])


def make(path: Path, *events: tuple[str, ...], **options: object) -> Path:
    path.write_text(text(*(events or ((), ())), **options))  # type: ignore[arg-type]
    return path


def mothers(mother: Ints, particles: ParticleSet | Decayed, decayed: Decayed) -> Floats:
    """Return the momenta of the mothers of particles, zero where there is none."""
    p4 = decayed.p4[np.maximum(mother, 0) + decayed.offsets[particles.index]]
    return np.where(mother[:, None] >= 0, p4, 0.0)


def test_our_own_records_come_back_with_their_history(examples: Path, tmp_path: Path) -> None:
    run, batches = lhe.read(examples / "pp_dijet.lhe.gz")
    given = with_decays(HardEvents.concatenate(list(batches)))
    with hepmc.Writer(tmp_path / "a.hepmc3", run) as writer:
        writer.write(given)
    read = ParticleSet.concatenate([sets for sets, _ in hepmc.read(tmp_path / "a.hepmc3", chunk_size=70, history=True)])
    wanted = given.particles
    assert wanted is not None and wanted.history is not None and read.history is not None
    one, other = wanted.history.decayed, read.history.decayed
    assert other.counts.tolist() == one.counts.tolist() and read.counts.tolist() == wanted.counts.tolist()
    order, place = (np.lexsort((d.p4[:, 0], d.index)) for d in (one, other))
    rows, found = (np.lexsort((sets.p4[:, 0], sets.index)) for sets in (wanted, read))
    assert other.pdg_id[place].tolist() == one.pdg_id[order].tolist()
    np.testing.assert_allclose(other.vertex[place], one.vertex[order], rtol=1e-9, atol=0)
    np.testing.assert_allclose(read.history.vertex[found], wanted.history.vertex[rows], rtol=1e-9, atol=0)
    for mine, theirs in (
        (mothers(wanted.history.mother, wanted, one)[rows], mothers(read.history.mother, read, other)[found]),
        (mothers(one.mother, one, one)[order], mothers(other.mother, other, other)[place]),
    ):
        np.testing.assert_allclose(theirs, mine, rtol=1e-14, atol=1e-14)
    bare = ParticleSet.concatenate([sets for sets, _ in hepmc.read(tmp_path / "a.hepmc3")])
    assert bare.history is None and np.array_equal(bare.p4, read.p4)


DECAYS = (
    "P 5 -1 11 1 0 0 10 5 11",  # what another generator has between
    "V -2 0 [5] @ 1.0 2.0 3.0 4.0",
    "P 6 -2 521 1 0 0 9 5.28 2",
    "P 7 6 521 1 0 0 9 5.28 11",
    "V -4 0 [7] @ 2.0 3.0 4.0 6.0",
    "P 8 -4 -421 1 0 0 5 1.86 2",
    "P 9 -4 211 1 0 0 4 0.14 1",
    "P 10 8 321 1 0 0 3 0.49 1",
    "P 11 8 -211 1 0 0 2 0.14 1",
)


@pytest.mark.parametrize(("units", "momentum", "length"), [("GEV MM", 1.0, 1.0), ("MEV CM", 1e-3, 10.0)])
def test_mothers_are_the_nearest_that_decayed(units: str, momentum: float, length: float, tmp_path: Path) -> None:
    """Particles of other statuses are passed over; a vertex without a place has that of the one before."""
    path = tmp_path / "a.hepmc3"
    path.write_text(text(DECAYS, vertices=3).replace("GEV MM", units))
    ((sets, _),) = hepmc.read(path, history=True)
    assert sets.history is not None and sets.pdg_id.tolist() == [211, -211, 211, 321, -211]
    decayed = sets.history.decayed
    assert decayed.pdg_id.tolist() == [521, -421] and decayed.mother.tolist() == [-1, 0]
    assert decayed.p4[:, 0].tolist() == [9 * momentum, 5 * momentum]
    assert sets.history.mother.tolist() == [-1, -1, 0, 1, 1]
    first, second = (length * np.array(place) for place in ((4.0, 1.0, 2.0, 3.0), (6.0, 2.0, 3.0, 4.0)))
    np.testing.assert_allclose(decayed.vertex, [first, second])
    np.testing.assert_allclose(sets.history.vertex, [0 * first, 0 * first, second, second, second])


def test_daughters_may_come_before_their_mothers(tmp_path: Path) -> None:
    """HepMC2 lists particles by vertices in any order; mothers come first in what is read."""
    event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
    vector, particle = pyhepmc.FourVector(1, 0, 0, 2), pyhepmc.GenParticle
    late = pyhepmc.GenVertex()
    late.add_particle_in(kaon := particle(vector, 310, 2))
    for pdg_id in (211, -211):
        late.add_particle_out(particle(vector, pdg_id, 1))
    first = pyhepmc.GenVertex(pyhepmc.FourVector(5, 6, 7, 8))
    first.add_particle_in(particle(vector, 411, 2))
    first.add_particle_out(kaon)
    event.add_vertex(late)
    event.add_vertex(first)
    event.weights = [1.0]
    with pyhepmc.open(str(tmp_path / "a.hepmc"), "w", format="HepMC2") as file:
        file.write(event)
    ((sets, _),) = hepmc.read(tmp_path / "a.hepmc", history=True)
    assert sets.history is not None
    decayed = sets.history.decayed
    assert decayed.pdg_id.tolist() == [411, 310] and decayed.mother.tolist() == [-1, 0]
    assert sets.history.mother.tolist() == [1, 1]
    assert decayed.vertex.tolist() == [[0, 0, 0, 0], [8, 5, 6, 7]]
    assert sets.history.vertex.tolist() == [[8, 5, 6, 7]] * 2


@pytest.mark.parametrize(
    ("names", "weights", "expected", "said"),
    [
        (None, "1.0", ("0",), "1 of 1 weights have no name; they are called 0"),
        (None, "1.0 2.0 3.0", ("0", "1", "2"), "3 of 3 weights have no name; they are called 0, 1, 2"),
        ("W nominal\\|up", "1.0 2.0", ("nominal", "up"), None),
    ],
)
def test_weights_without_names_are_numbered(
    names: str | None,
    weights: str,
    expected: tuple[str, ...],
    said: str | None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = make(tmp_path / "a.hepmc3", names=names, weights=weights)
    with caplog.at_level(logging.WARNING):
        run, batches = hepmc.read_events(path)
    assert run.weight_names == expected
    assert [event.weights.tolist() for event in batches] == [[[float(w) for w in weights.split()]] * 2]
    assert [record.getMessage() for record in caplog.records] == ([] if said is None else [f"{path}: {said}"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h-unnamed-weight.hepmc3", ("0",)),
        ("h-three-weights-no-names.hepmc3", ("0", "1", "2")),
        ("h2-names-none.hepmc", ("0", "1")),
        ("h2-names-fewer.hepmc", ("0", "1")),
    ],
)
def test_files_with_unnamed_weights_go_through(
    name: str, expected: tuple[str, ...], shared: Path, tmp_path: Path
) -> None:
    run, batches = read_events(shared / "cases" / name)
    with hepmc.Writer(tmp_path / "a.hepmc3", run) as writer:
        for batch in batches:
            writer.write(batch)
    with pyhepmc.open(str(tmp_path / "a.hepmc3")) as file:
        assert {tuple(event.weight_names) for event in file} == {expected}


def test_a_made_up_name_is_no_other_name() -> None:
    assert distinct(["1", "1"]) == ("1", "1_2")
    assert distinct(["a", "a", "a_2", "a"]) == ("a", "a_3", "a_2", "a_4")


def test_weights_that_come_and_go_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.hepmc3"
    path.write_text(text((), (), names=None).replace("E 1 1 4\nU GEV MM\nW 1.0", "E 1 1 4\nU GEV MM\nW 1.0 2.0"))
    with pytest.raises(FastsimError, match="event 1 has 2 weights, those before it 1"):
        list(hepmc.read(path))


@pytest.mark.parametrize("name", ["weight-name-with-blank", "weight-odd-names"])
def test_odd_names_of_weights_are_made_safe_once(
    name: str, shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "a.hepmc3"
    with caplog.at_level(logging.WARNING):
        fastsim.generate(shared / "cases" / f"{name}.lhe", output, model=Spray(), event="hard")
    assert sum("HepMC cannot hold" in record.getMessage() for record in caplog.records) == 1
    verify(output)
    with pyhepmc.open(str(output)) as file:
        names = {tuple(event.weight_names) for event in file}
    ((nominal, *others),) = names
    assert nominal == "nominal" and len(others) == 2 and not any(" " in text for text in others)


@pytest.mark.parametrize(
    "names", [("a b", "a_b"), ("a", "a"), ("", "x"), ("t\tab", "n\nl"), ("é", "\\|"), ("\x00", "<")]
)
def test_any_names_of_weights_are_read_back(names: tuple[str, str], examples: Path, tmp_path: Path) -> None:
    run, batches = lhe.read(examples / "pp_dijet.lhe.gz", num_events=2)
    events = with_decays(HardEvents.concatenate(list(batches)))
    events = replace(events, weights=np.array([[1.0, 2.0]] * 2))
    with hepmc.Writer(tmp_path / "a.hepmc3", replace(run, weight_names=names)) as writer:
        writer.write(events)
    with pyhepmc.open(str(tmp_path / "a.hepmc3")) as file:
        read = list(file)
    assert len(read) == 2 and len(set(read[0].weight_names)) == 2
    assert tuple(read[0].weight_names) == safe_names(names) and read[1].weights == [1.0, 2.0]


def test_other_statuses_may_be_final(tmp_path: Path) -> None:
    for status in (0, 11):
        path = make(tmp_path / f"{status}.hepmc3", status=status)
        with pytest.raises(FastsimError, match=f"none of status 1, but of .*{status}.*--final-status") as caught:
            list(hepmc.read(path))
        assert "\n" not in str(caught.value)
        ((sets, _),) = hepmc.read(path, final_status=(status,))
        assert sets.counts.tolist() == [2, 2]
        output = tmp_path / f"{status}.h5"
        summary = fastsim.generate(path, output, steps=("calorimeter",), final_status=(1, status))
        assert summary.particles == 4
        assert verify(output).settings["final_status"] == [1, status]
    with pytest.raises(FastsimError, match="only HepMC files"):
        fastsim.generate("flavour=u", tmp_path / "a.h5", model=Spray(), final_status=(2,))


def test_particles_that_no_table_has_pass_through(tmp_path: Path) -> None:
    more = tuple(
        f"P {k} -1 {pdg_id} 10 0 5 20 5.0 1" for k, pdg_id in ((5, 0), (6, 9902210), (7, 1009213), (8, 4900111))
    )
    path = make(tmp_path / "a.hepmc3", more)
    output = tmp_path / "a.h5"
    summary = fastsim.generate(path, output, steps=("calorimeter",))
    assert (summary.particles, summary.notes["dropped_particles"]) == (6, 4)
    (events,) = read_events(output)[1]
    assert events.particles is not None and events.particles.pdg_id.tolist() == [
        211,
        -211,
        0,
        9902210,
        1009213,
        4900111,
    ]


@pytest.mark.parametrize("name", ["h-pid0", "h-exotic"])
def test_files_with_unknown_particles_go_through(name: str, shared: Path, tmp_path: Path) -> None:
    summary = fastsim.generate(shared / "cases" / f"{name}.hepmc3", tmp_path / "a.h5", steps=("calorimeter",))
    assert summary.events == 3 and summary.notes["dropped_particles"] > 0


XSEC = ("A 0 GenCrossSection 1.0e+01 1.0e-01 100 100",), ("A 0 GenCrossSection 1.2e+01 2.0e-01 200 200",)


@pytest.mark.parametrize("ending", [".hepmc3", ".hepmc3.gz", ".hepmc3.bz2"])
def test_the_last_cross_section_counts(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pythia's is a running estimate, and may be missing at first."""
    packed: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress}
    pack = packed.get(ending.removeprefix(".hepmc3"), bytes)
    for size in (1 << 20, 300):  # also where the line lies across blocks
        monkeypatch.setattr(cross_section, "BLOCK", size)
        for k, (events, expected) in enumerate(
            [
                (((), *XSEC), (12.0, 0.2)),
                ((*XSEC, ()), (12.0, 0.2)),
                ((XSEC[0], *([()] * 9)), (10.0, 0.1)),
                (((), ()), (0.0, 0.0)),
            ]
        ):
            path = tmp_path / f"{size}-{k}{ending}"
            path.write_bytes(pack(text(*events).encode()))
            assert hepmc.read_events(path)[0].cross_section == expected


def test_the_last_cross_section_of_hepmc2(shared: Path, tmp_path: Path) -> None:
    assert read_events(shared / "cases" / "h-xsec-later.hepmc3")[0].cross_section[0] == 12.0
    lines = (shared / "cases" / "h2-names-none.hepmc").read_text()
    at = lines.rindex("C 1.25e+01")
    (tmp_path / "a.hepmc").write_text(f"{lines[:at]}C 1.50e+01{lines[at + 10 :]}")
    assert read_events(tmp_path / "a.hepmc")[0].cross_section == (15.0, 0.1)


def test_standard_output_stays_clean(tmp_path: Path) -> None:
    """HepMC3 prints "1  vs  2 expected" on standard output for an event with fewer vertices than it says."""
    path = make(tmp_path / "a.hepmc3", (), ("A 0 x 1",))
    path.write_text(path.read_text().replace("E 1 1 4", "E 1 2 4"))
    command = [sys.executable, "-m", "fastsim.cli", "evaluate", str(path), str(make(tmp_path / "b.hepmc3")), "-o", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "vs  2 expected" in done.stderr and "cut short or damaged, 2 events begin in it" in done.stderr


def test_standard_output_is_the_callers(tmp_path: Path) -> None:
    """HepMC3 prints "1  vs  2 expected" of an event with a vertex too few; C keeps it until the process ends."""
    path = make(tmp_path / "a.hepmc3", (), vertices=2)
    code = (
        "import sys, fastsim\n"
        "print('before')\n"
        "try: fastsim.read(sys.argv[1])\n"
        "except fastsim.FastsimError as error: print(error)\n"
        "print('after')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    before, error, after = done.stdout.splitlines()
    assert (before, after) == ("before", "after") and error.startswith(f"{path}: holds no event")
    assert "1  vs  2 expected" in done.stderr
