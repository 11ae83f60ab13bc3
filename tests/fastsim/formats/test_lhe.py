"""Les Houches files: real ones, round trips against pylhe, streaming, and everything that can be wrong."""

from __future__ import annotations

import gzip
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pylhe
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, kinematics
from fastsim.formats import lhe
from fastsim.formats.lhe_text import Source
from tests.helpers.events import INIT, event, file

SHARED = {
    "madgraph5-3.5.8-pp_to_jj.lhe.gz": (1000, 146),
    "powheg-box-v2-W.lhe": (100, 2),
    "powheg-box-v2-hvq.lhe": (6, 46),
    "pr180.lhe": (10, 1),
    "whizard-3.1.4-eeWW.lhe": (10, 1),
}


def read_all(source: Source, **options: Any) -> HardEvents:
    return HardEvents.concatenate(list(lhe.read(source, **options)[1]))


def stream(text: str) -> io.BytesIO:
    return io.BytesIO(text.encode())


@pytest.mark.parametrize("name", SHARED)
def test_real_files_agree_with_pylhe(shared: Path, name: str) -> None:
    run, batches = lhe.read(shared / "lhe" / name, chunk_size=64)
    events = HardEvents.concatenate(list(batches))
    assert (len(events), len(run.weight_names)) == SHARED[name]
    reference = pylhe.LHEFile.fromfile(shared / "lhe" / name)
    assert run.beam_pdg_id == (reference.init.initInfo.beamA, reference.init.initInfo.beamB)
    assert run.cross_section[0] == pytest.approx(sum(p.xSection for p in reference.init.procInfo))
    count = 0
    for i, other in enumerate(reference.events):
        mine = slice(events.offsets[i], events.offsets[i + 1])
        assert events.pdg_id[mine].tolist() == [p.id for p in other.particles]
        assert events.status[mine].tolist() == [p.status for p in other.particles]
        assert events.colours[mine].tolist() == [[p.color1, p.color2] for p in other.particles]
        p4 = np.array([[p.e, p.px, p.py, p.pz] for p in other.particles])
        np.testing.assert_array_equal(events.p4[mine][:, 1:], p4[:, 1:])
        np.testing.assert_allclose(events.p4[mine][:, 0], p4[:, 0], rtol=1e-5)
        assert events.weights[i].tolist() == [other.eventinfo.weight, *other.weights.values()]
        count += 1
    assert count == len(events)


@pytest.mark.parametrize("name", SHARED)
def test_outgoing_particles_are_on_the_shell_of_the_file(shared: Path, name: str) -> None:
    events = read_all(shared / "lhe" / name)
    out = events.status == 1
    p4, mass = events.p4[out], events.mass[out]
    assert (np.abs(kinematics.mass_squared(p4) - mass**2) <= 1e-12 * p4[:, 0] ** 2).all()


def test_powheg_weights_have_both_signs_and_their_names(shared: Path) -> None:
    run, batches = lhe.read(shared / "lhe" / "powheg-box-v2-hvq.lhe")
    events = next(batches)
    assert run.weight_names[:2] == ("nominal", "MUR1.0_MUF1.0_PDF99208082")
    assert (events.weights[:, 0] < 0).any() and (events.weights[:, 0] > 0).any()
    assert events.weights[1, :2].tolist() == [-1.11453e7, -1.1145e7]


@pytest.mark.parametrize("name", ["pp_dijet.lhe.gz", "pp_mixed.lhe.gz"])
def test_example_files(examples: Path, name: str) -> None:
    run, batches = lhe.read(examples / name)
    events = HardEvents.concatenate(list(batches))
    assert len(events) == {"pp_dijet.lhe.gz": 200, "pp_mixed.lhe.gz": 48}[name]
    assert run.cross_section[0] > 0
    assert set(events.process) == {p[3] for p in run.processes}


def test_colours_mothers_and_scale_of_a_known_event() -> None:
    run, batches = lhe.read(stream(file(event())))
    (events,) = batches
    assert run.processes == ((10.0, 0.1, 1.0, 7),)
    assert events.mothers.tolist() == [[-1, -1], [-1, -1], [0, 1], [0, 1]]
    assert events.colours[2].tolist() == [103, 102]
    assert (events.process[0], events.scale[0]) == (7, 91.0)
    assert events.p4[2].tolist() == [100.0, 60.0, 0.0, 80.0]


@given(first=st.integers(0, 9), num=st.integers(0, 12), size=st.integers(1, 12))
def test_slices_and_chunks_give_the_same_events(first: int, num: int, size: int) -> None:
    text = file(*(event((0, 2, f"{k}.5")) for k in range(10)))
    batches = list(lhe.read(stream(text), chunk_size=size, first_event=first, num_events=num)[1])
    numbers = [n for batch in batches for n in batch.number.tolist()]
    assert numbers == list(range(first, min(first + num, 10)))
    assert [w for batch in batches for w in batch.weights[:, 0]] == [k + 0.5 for k in numbers]
    assert all(len(batch) == size for batch in batches[:-1])


def test_gzipped_stream_and_fortran_exponents() -> None:
    text = file(event((3, 6, "6.0D+01"), (0, 2, "-1.5d2")))
    events = read_all(io.BytesIO(gzip.compress(text.encode())))
    assert events.p4[2, 1] == 60.0
    assert events.weights[0, 0] == -150.0


def test_reading_is_lazy_and_memory_is_bounded() -> None:
    """An endless file: only what is asked for may be read."""

    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.source = itertools.chain([INIT.encode()], itertools.repeat(event().encode()))
            self.rest = b""
            self.given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            while len(self.rest) < len(buffer):
                self.rest += next(self.source)
            buffer[:] = self.rest[: len(buffer)]
            self.rest = self.rest[len(buffer) :]
            self.given += len(buffer)
            return len(buffer)

    raw = Endless()
    _, batches = lhe.read(raw, chunk_size=10)  # type: ignore[arg-type]
    assert len(next(batches)) == 10
    assert raw.given < 32 * len(event()) + 4 * io.DEFAULT_BUFFER_SIZE


def test_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.lhe.gz"
    with gzip.open(path, "wb") as bomb:
        for _ in range(8):
            bomb.write(b"\0" * (1 << 20))
    with pytest.raises(InvalidEvent, match=r"bomb.lhe.gz, line 1: longer than 1048576 bytes"):
        lhe.read(path)


def test_weights_of_the_first_event_decide_names_and_order() -> None:
    rwgt = "<rwgt>\n<wgt id='a'> 2.0 </wgt>\n<wgt id=\"b c\"> -3.0 </wgt>\n</rwgt>"
    turned = "#rwgt 1 2 3\n<rwgt>\n<wgt id='b c'> 5.0 </wgt>\n<wgt id='a'> 4.0 </wgt>\n</rwgt>"
    run, batches = lhe.read(stream(file(event(tail=rwgt), event(tail=turned))))
    assert run.weight_names == ("nominal", "a", "b c")
    assert next(batches).weights.tolist() == [[1.0, 2.0, -3.0], [1.0, 4.0, 5.0]]


def test_a_weight_called_nominal_keeps_its_own_column() -> None:
    run, _ = lhe.read(stream(file(event(tail="<rwgt>\n<wgt id='nominal'> 2.0 </wgt>\n</rwgt>"))))
    assert run.weight_names == ("nominal", "nominal_2")


def test_squared_matrix_elements_of_whizard_are_no_weights() -> None:
    tail = '<weight name="sqme_prc">0.3</weight>\n<weight name="alt">0.7</weight>'
    run, batches = lhe.read(stream(file(event(tail=tail))))
    assert run.weight_names == ("nominal", "alt")
    assert next(batches).weights.tolist() == [[1.0, 0.7]]


LEPTONS = event(
    *((k, 0, pdg) for k, pdg in ((1, "11"), (2, "-11"), (3, "13"), (4, "-13"))),
    *((k, c, "0") for k in range(1, 5) for c in (4, 5)),
)


def test_colourless_events_need_no_colour() -> None:
    assert read_all(stream(file(LEPTONS))).pdg_id.tolist() == [11, -11, 13, -13]


def test_unknown_particles_pass() -> None:
    changes = [(k, 0, pdg) for k, pdg in ((3, "1000021"), (4, "9000001"))]
    assert read_all(stream(file(event(*changes)))).pdg_id.tolist()[2:] == [1000021, 9000001]


BAD_EVENTS = {
    "nan momentum": (event((3, 6, "nan")), r"line 20: particle 3 holds a number that is not finite: .*nan"),
    "infinite energy": (event((4, 9, "inf")), r"line 21: particle 4 holds a number that is not finite"),
    "zero momentum": (event(*((3, c, "0.") for c in (6, 7, 8, 9))), r"outgoing particle 3 \(PDG id 21\) has no mom"),
    "negative energy": (event((3, 9, "-100.")), r"outgoing particle 3 \(PDG id 21\) has an energy of -100 GeV"),
    "spacelike": (event((3, 9, "50.")), r"has less energy than momentum"),
    "columns": (event((3, 12, "")), r"line 20: particle 3 of 4 needs 13 numbers, found 12 columns"),
    "stars": (event((3, 6, "********")), r"line 20: particle 3 of 4 has '\*{8}' where a number is expected"),
    "short event line": (event((0, 5, "")), r"line 17: the event line needs 6 numbers, found 5 columns"),
    "too few": (event(drop=4), r"line 20: the event announces 4 particles but has 3"),
    "too many": (event((0, 0, "3")), r"line 21: the event announces 3 particles but has more"),
    "none": (event((0, 0, "0")), r"announces 0 particles; 1 to 10000 are allowed"),
    "absurd": (event((0, 0, "1e9")), r"announces 1e\+09 particles"),
    "nan weight": (event((0, 2, "nan")), r"line 17: the event line holds a number that is not finite: XWGTUP is nan"),
    "mothers": (
        event((3, 3, "9")),
        r"line 20: particle 3 \(PDG id 21\) has mothers 1 9, but the event has 4 particles",
    ),
    "own mother": (event((3, 2, "3")), r"is its own mother"),
    "final mother": (event((4, 2, "3")), r"has a mother that is outgoing"),
    "status": (event((3, 1, "5")), r"has status 5; allowed are -9, -2, -1, 1, 2, 3"),
    "fraction": (event((3, 0, "21.5")), r"must be integers"),
    "id 0": (event((3, 0, "0")), r"has PDG id 0"),
    "gluon colour": (event((3, 5, "0")), r"line 20: particle 3 \(PDG id 21\) has colours 103 0: impossible"),
    "singlet gluon": (event((3, 5, "103")), r"colours 103 103: impossible"),
    "antiquark colour": (event((3, 0, "-2"), (3, 4, "102"), (3, 5, "0")), r"PDG id -2\) has colours 102 0: impossible"),
    "quark without": (event((3, 0, "2"), (3, 4, "0"), (3, 5, "0")), r"has colours 0 0: impossible"),
    "coloured lepton": (event((3, 0, "11")), r"PDG id 11\) has colours 103 102: impossible"),
    "unpaired": (event((3, 5, "109")), r"colour tag \d+ joins 1 legs; it must start at one leg and end at another"),
    "tag reused": (event((3, 4, "101"), (4, 5, "101")), r"colour tag 101 joins 4 legs"),
    "nothing out": (event((3, 1, "2"), (4, 1, "2")), r"needs one or two incoming particles and an outgoing one"),
    "unbalanced": (event((4, 6, "-40.")), r"outgoing minus incoming .* is not zero"),
    "text": (event((0, 0, "4x")), r"the event line has '4x' where a number is expected"),
    "weight text": (event(tail="<rwgt>\n<wgt id='a'> none </wgt>\n</rwgt>"), r"1 weight, but the first event has 0"),
    "unclosed": (event().replace("</event>\n", ""), r"</event> is missing|truncated"),
    "wrong tag": (event().replace("<event>", "<evnt>"), r"unexpected '<evnt>' between events"),
}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_bad_events_are_one_line_and_the_good_ones_before_come_first(name: str) -> None:
    bad, message = BAD_EVENTS[name]
    source = stream(file(event(), bad, event()))
    source.name = "somewhere/bad.lhe"
    _, batches = lhe.read(source, chunk_size=100)
    assert next(batches).number.tolist() == [0]
    with pytest.raises(InvalidEvent, match=message) as caught:
        next(batches)
    text = str(caught.value)
    assert re.match(r"bad\.lhe, event 1, line \d+: ", text), text
    assert "\n" not in text


@pytest.mark.parametrize("name", ["nan momentum", "columns", "unpaired"])
def test_a_bad_event_that_is_skipped_or_after_the_last_is_no_matter(name: str) -> None:
    text = file(event(), BAD_EVENTS[name][0], event())
    assert read_all(stream(text), num_events=1).number.tolist() == [0]


def test_changing_weights_are_named() -> None:
    one = "<rwgt>\n<wgt id='a'> 1.0 </wgt>\n</rwgt>"
    for tail, message in (
        ("", "event 1, line 25: 0 weights, but the first event has 1"),
        (one.replace("'a'", "'z'"), "weight 'a' of the first event is missing"),
        (one.replace("1.0", "nan"), "weight 'a' is 'nan'; weights must be finite"),
        (one.replace("1.0", "one"), "weight 'a' is 'one', not a number"),
    ):
        _, batches = lhe.read(stream(file(event(tail=one), event(tail=tail))))
        assert len(next(batches)) == 1
        with pytest.raises(InvalidEvent, match=message):
            next(batches)


@pytest.mark.parametrize("cut", [30, 200, 400])
def test_truncated_files(cut: int) -> None:
    text = file(event(), event(), event())
    _, batches = lhe.read(stream(text[:-cut]))
    with pytest.raises(InvalidEvent, match="truncated"):
        for batch in batches:
            assert len(batch) >= 1


def test_truncated_gzip(shared: Path, tmp_path: Path) -> None:
    whole = (shared / "lhe" / "madgraph5-3.5.8-pp_to_jj.lhe.gz").read_bytes()
    path = tmp_path / "cut.lhe.gz"
    path.write_bytes(whole[: len(whole) // 2])
    numbers = []
    with pytest.raises(InvalidEvent, match=r"cut.lhe.gz, line \d+: the compressed file is truncated or damaged"):
        for batch in lhe.read(path, chunk_size=50)[1]:
            numbers.extend(batch.number.tolist())
    assert len(numbers) > 300
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("HepMC::Version 3\n", "not a Les Houches event file: it starts with 'HepMC::Version 3'"),
        ("\n\n", "not a Les Houches event file"),
        ("<LesHouchesEvents>\n<header>\n", "there is no <init> block; the file is truncated"),
        ("<LesHouchesEvents>\n<event>\n", "<event> before the <init> block"),
        (INIT[:-30], "truncated"),
        (INIT.replace("10.0 0.1", "10.0 nan"), "4 numbers \\(process\\) are expected"),
        (INIT.replace("-4 1", "-4 3"), "announces 3 processes but has 1"),
        (INIT.replace("6500. 6500.", "6500. proton"), "where numbers are expected"),
    ],
)
def test_bad_files(text: str, message: str) -> None:
    with pytest.raises(InvalidEvent, match=message) as caught:
        lhe.read(stream(text))
    assert "\n" not in str(caught.value)


def test_no_events_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidEvent, match="the file holds no events"):
        next(lhe.read(stream(file()))[1])
    with pytest.raises(FastsimError, match=r"nothing.lhe: cannot open: No such file"):
        lhe.read(tmp_path / "nothing.lhe")
    with pytest.raises(FastsimError, match=r"first event 5 asked, but the file holds 1 \(numbered from 0\)"):
        next(lhe.read(stream(file(event())), first_event=5)[1])
    with pytest.raises(FastsimError, match="chunk size must be positive"):
        lhe.read(stream(file(event())), chunk_size=0)


def test_a_record_with_daughters_first_is_read_and_a_cycle_is_not() -> None:
    rows = [
        "5 7 1.0 91.0 0.0078 0.118",
        "11 -1 0 0 0 0 0 0 50. 50. 0. 0. 9.",
        "-11 -1 0 0 0 0 0 0 -50. 50. 0. 0. 9.",
        "13 1 5 5 0 0 50. 0. 0. 50. 0. 0. 9.",
        "-13 1 5 5 0 0 -50. 0. 0. 50. 0. 0. 9.",
        "23 2 1 2 0 0 0. 0. 0. 100. 100. 0. 9.",
    ]
    good = "\n".join(["<event>", *rows, "</event>", ""])
    assert read_all(stream(file(good))).mothers[2].tolist() == [4, 4]
    two = [*rows[:5], "23 2 6 6 0 0 0. 0. 0. 100. 100. 0. 9.", "23 2 5 5 0 0 0. 0. 0. 100. 100. 0. 9."]
    two[0] = "6" + two[0][1:]
    bad = "\n".join(["<event>", *two, "</event>", ""])
    with pytest.raises(InvalidEvent, match="among its own ancestors"):
        read_all(stream(file(bad)))
