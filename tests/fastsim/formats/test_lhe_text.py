"""What generators write around events: tags, comments, documents, numbers of Fortran; weights in all their forms."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pylhe
import pytest

import fastsim
from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, RunInfo
from fastsim.formats import lhe
from metrics.files import load
from tests.helpers.events import INIT, event, file


def read(source: Path | str) -> tuple[RunInfo, HardEvents, list[str]]:
    """The run, the good events, and what is wrong with the bad ones."""
    bad: list[str] = []

    def leave_out(number: int, error: InvalidEvent) -> bool:
        bad.append(str(error))
        return True

    given = io.BytesIO(source.encode()) if isinstance(source, str) else source
    run, batches = lhe.read(given, on_bad=leave_out)
    return run, HardEvents.concatenate(list(batches)), bad


CASES = {
    "bom": 4,
    "comment-hides-event": 2,
    "event-attrs-newline": 4,
    "event-attrs-tab": 4,
    "fortran-nan-aqed": 4,
    "fortran-no-letter": 2,
    "fortran-no-letter-px": 2,
    "initrwgt-inside-init": 4,
    "pylhe104-no-weights": 4,
    "pylhe104-weights": 4,
    "two-docs": 8,
    "p-colour-none": 4,
    "p-ldmx-beam0": 4,
}


@pytest.mark.parametrize("name", CASES)
def test_files_that_stopped_or_misled_are_read_and_counted_alike(shared: Path, name: str) -> None:
    path = shared / "cases" / f"{name}.lhe"
    _, events, bad = read(path)
    assert (len(events), lhe.count(path), bad) == (CASES[name], CASES[name], [])
    assert events.number.tolist() == list(range(CASES[name]))


@pytest.mark.parametrize(
    ("name", "good", "message"),
    [
        ("nup0", [0, 2], "event 1, line 14: the event announces 0 particles"),
        (
            "p-negative-energy-gluon",
            [0, 2],
            r"particle 4 (PDG id 21) has an energy of -0.19799 GeV, which must be positive",
        ),
        ("weight-nan", [0], "event 1, line 31: weight '1002' is 'NaN'; weights must be finite"),
        ("weights-fewer-later", [0], "1 weight, but the first event has 2 ('1002' is missing)"),
    ],
)
def test_a_bad_event_is_named_and_those_after_it_can_be_had(
    shared: Path, name: str, good: list[int], message: str
) -> None:
    path = shared / "cases" / f"{name}.lhe"
    _, events, bad = read(path)
    assert events.number.tolist() == good and len(bad) == 1 and message in bad[0]
    _, batches = lhe.read(path)
    with pytest.raises(InvalidEvent) as caught:
        list(batches)
    assert message in str(caught.value)


def test_a_sextet_is_one_clear_line(shared: Path) -> None:
    with pytest.raises(InvalidEvent, match=r"colours 501 -502: a colour sextet.*; decay it in the generator"):
        list(lhe.read(shared / "cases" / "p-sextet-final.lhe")[1])


def test_tags_share_lines_and_attributes_go_over_several() -> None:
    text = file(event(), event()).replace("</event>\n<event>", '</event><event\n  npLO = "2"\n  npNLO="-1" >')
    assert len(read(text)[1]) == 2
    text = INIT.replace("</init>\n", "</init> ") + event() + "</LesHouchesEvents>"
    assert len(read(text)[1]) == 1


def test_comments_hide_what_is_in_them_in_header_init_and_events() -> None:
    hidden = "<!-- \n<init>\n<event>\n</LesHouchesEvents> -->\n"
    text = INIT.replace("<init>\n", "<init>\n" + hidden).replace("<header>", hidden + "<header>")
    inside = event(tail="<!-- <wgt id='a'> 1 </wgt>\n</event> -->\n# </event>")
    _, events, bad = read(text + hidden + inside + hidden + event() + "</LesHouchesEvents>\n")
    assert len(events) == 2 and bad == []


def test_a_comment_without_an_end_is_no_silent_end() -> None:
    with pytest.raises(InvalidEvent, match="the comment that begins in line 16 has no end"):
        read(file(event(), "<!-- \n", event()))


def test_an_event_without_its_end_costs_that_event_alone() -> None:
    _, events, bad = read(file(event(), event().replace("</event>\n", ""), event()))
    assert events.number.tolist() == [0, 2] and "event 1, line 22: '<event>' inside an event" in bad[0]


def test_a_further_document_is_part_of_the_run_or_refused() -> None:
    one, other = file(event()), file(event(), event())
    _, events, _ = read(one + "\n text between\n" + other)
    assert events.number.tolist() == [0, 1, 2]
    for old, new, what in (
        ("6500. 6500.", "6500. 4000.", "beam energies"),
        ("-4 1", "3 1", "IDWTUP"),
        (" 7\n", " 8\n", "process"),
    ):
        with pytest.raises(InvalidEvent, match=f"event 1, line .*a further document has .*{what}"):
            read(one + other.replace(old, new))


def test_numbers_that_nobody_uses_may_be_anything() -> None:
    odd = event((0, 4, "NaN"), (0, 5, "********"), (3, 11, "-1.#IND"), (4, 12, "nan"))
    _, events, bad = read(file(odd))
    assert len(events) == 1 and bad == []


def test_exponents_of_three_digits() -> None:
    _, events, _ = read(file(event((0, 2, "-1.25-100"), (0, 3, "9.1+001"))))
    assert events.weights[0, 0] == -1.25e-100 and events.scale[0] == 91.0


def test_all_weights_of_an_event_are_kept(shared: Path) -> None:
    run, events, _ = read(shared / "cases" / "rwgt-and-weights.lhe")
    assert run.weight_names == ("nominal", "1001", "1002", "weight_1", "weight_2", "weight_3")
    assert events.weights[0].tolist() == [125.0, 100.0, 150.0, 1.0, 2.0, 3.0]


def test_groups_repeat_ids_and_entities_are_resolved(shared: Path) -> None:
    rows = "<rwgt>\n<wgt id='1'> 2 </wgt>\n<wgt id='1'> 3 </wgt>\n<wgt> 4 </wgt>\n</rwgt>"
    run, events, _ = read(file(event(tail=rows)))
    assert run.weight_names == ("nominal", "1", "1_2", "weight_1") and events.weights[0].tolist() == [
        1.0,
        2.0,
        3.0,
        4.0,
    ]
    run, _, _ = read(shared / "cases" / "weight-odd-names.lhe")
    assert run.weight_names == ("nominal", "mur 0.5 <x> \\a", "rwgt,2 = A|B")
    run, _, _ = read(shared / "cases" / "weight-name-with-blank.lhe")
    assert run.weight_names == ("nominal", "muR=0.5 muF=1", "muR=2 muF=1")


def test_names_come_from_the_first_event_that_has_particles() -> None:
    rows = "<rwgt>\n<wgt id='a'> 2 </wgt>\n</rwgt>"
    empty = "<event>\n0 7 1.0 91.0 0.0078 0.118\n</event>\n"
    run, events, bad = read(file(empty, event(tail=rows), event(tail=rows)))
    assert run.weight_names == ("nominal", "a") and events.number.tolist() == [1, 2] and len(bad) == 1


def test_the_mean_weight_is_the_cross_section_where_the_file_says_so(shared: Path, tmp_path: Path) -> None:
    path = shared / "cases" / "xsec-minus1.lhe"
    run, _, _ = read(path)
    assert run.cross_section == (0.0, 0.0)
    assert lhe.with_mean_weights(run, path).cross_section == (125.0, 0.0)
    weighted = tmp_path / "two.lhe"
    init = INIT.replace("-4 1\n10.0 0.1 1.0 7", "-4 2\n-1. -1. 1.0 7\n-1. -1. 1.0 8")
    weights = [(7, 2.0), (7, 4.0), (8, -1.0), (7, 3.0)]
    events = [event((0, 1, str(process)), (0, 2, str(weight))) for process, weight in weights]
    weighted.write_text(init + "".join(events) + "</LesHouchesEvents>\n")
    processes = lhe.with_mean_weights(read(weighted)[0], weighted).processes
    assert [p[0] for p in processes] == [9 / 4, -1 / 4]
    assert processes[0][1] == pytest.approx(((4 + 16 + 9) / 4 - (9 / 4) ** 2) ** 0.5 / 2)


@pytest.mark.parametrize("name", ["a.h5", "a.lheh5"])
def test_lheh5_is_refused_with_the_command_that_helps(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A file that pylhe wrote, under each ending that it knows; the command in the message makes a file to read."""
    given = tmp_path / name
    pylhe.LHEFile.fromfile(shared / "lhe" / "whizard-3.1.4-eeWW.lhe").tofile(given)
    monkeypatch.chdir(tmp_path)
    uses: tuple[Callable[[], object], ...] = (
        lambda: fastsim.generate(given, "out.h5"),
        lambda: fastsim.generate(given, "out.h5", steps="calorimeter"),
        lambda: fastsim.reference(given, "out.h5", full=True),
        lambda: fastsim.reference(given, "out.h5", slice=(0, 2)),
    )
    for use in uses:
        with pytest.raises(FastsimError, match=r"LHEH5\) are not read; write them as text") as refused:
            use()
        assert "\n" not in str(refused.value) and not Path("out.h5").exists()
        assert "2.0 without the weights of variations and 2.1 with five digits of them" in str(refused.value)
    if name == "a.h5":
        with pytest.raises(FastsimError, match="LHEH5"):
            load(given)
    command = str(refused.value).partition('python -c "')[2].removesuffix('"')
    subprocess.run([sys.executable, "-c", command], check=True)
    assert lhe.count("a.lhe") == 10


def test_other_hdf5_files_are_no_lhe_text(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.lhe", "w") as made:
        made["x"] = np.zeros(3)
    with pytest.raises(FastsimError, match=r"a\.lhe: is an HDF5 file; Les Houches events are read as text"):
        lhe.read(tmp_path / "a.lhe")
