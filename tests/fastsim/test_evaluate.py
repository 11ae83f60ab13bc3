"""``fastsim evaluate``: tables, JSON, gates, bad input."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim.cli import main
from fastsim.cli.evaluate import parse_bins
from fastsim.formats import hdf5
from metrics.files import sample_names
from tests.helpers.jets import toy_sets


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Three files of 300 sets: real, equal, and wider ones."""
    rng = np.random.default_rng(5)
    paths = {}
    for name, width in (("real", 0.3), ("equal", 0.3), ("wide", 0.6)):
        particles, partons = toy_sets(300, 10.0, rng, width=width)
        paths[name] = str(tmp_path / f"{name}.h5")
        with hdf5.Writer(paths[name]) as file:
            file.write(partons, particles)
    return paths


def test_json_table_and_report(files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", files["real"], files["equal"], files["wide"], "--metrics", "fpd,w1,auc", "--bins", "flavour"]
    assert main([*words, "-o", str(tmp_path / "r.json"), "--report", str(tmp_path / "page")]) == 0
    out, err = capsys.readouterr()
    assert "wide.h5" in out and "w1 girth" in out
    assert "index.html" in err
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["schema"] == "fastsim-evaluation"
    assert found["results"]["wide.h5"]["w1 girth"]["value"] > found["results"]["equal.h5"]["w1 girth"]["value"]
    assert set(found["bins"]) == {"flavour 1", "flavour 2", "flavour 3"}
    assert (tmp_path / "page" / "index.html").stat().st_size > 10_000


def test_standard_output_is_only_json(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for _ in range(2):
        assert main(["evaluate", files["real"], files["wide"], "--metrics", "w1", "--seed", "3", "-o", "-"]) == 0
        found.append(json.loads(capsys.readouterr().out))
        del found[-1]["seconds"]
    assert found[0] == found[1]


def test_gates(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", files["real"], files["equal"], files["wide"], "--metrics", "w1,auc"]
    assert main([*words, "--fail-above", "w1 girth=0.05"]) == 3
    assert "wide.h5: w1 girth = " in capsys.readouterr().err
    assert main([*words, "--fail-above", "w1 girth=9", "--fail-below", "auc=0.3"]) == 0
    assert main([*words, "--fail-above", "girth=9"]) == 1
    assert "no result 'girth' to hold against 9" in capsys.readouterr().err
    assert main([*words, "--fail-above", "auc"]) == 2


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--metrics", "fid"], 2, "no metric 'fid'; there are fpd, fpd_clipped, kpd"),
        (["--bins", "mass"], 1, "no condition 'mass'; these events have flavour, pt"),
        (["--bins", "pt=1:x"], 2, "expected NAME or NAME=EDGE:EDGE"),
        (["--protocol", "other"], 2, "other"),
        (["--radius", "-1"], 2, "--radius"),
        (["--threshold", "1"], 2, "--threshold is of showers and of cells, which these files have not"),
        (["--max-events", "100", "--metrics", "fpd"], 1, "nothing could be computed: FPD needs at least 240 events"),
    ],
)
def test_bad_options_are_one_line(
    words: list[str], status: int, message: str, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", files["real"], files["wide"], *words]) == status
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_an_output_that_exists_is_kept(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.json").write_text("mine")
    assert main(["evaluate", files["real"], files["wide"], "-o", str(tmp_path / "r.json")]) == 1
    assert (tmp_path / "r.json").read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert main(["evaluate", files["real"], files["wide"], "--metrics", "x", "-o", str(tmp_path / "new.json")]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["equal.h5", "r.json", "real.h5", "wide.h5"]


def test_files_of_different_kinds_are_refused(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fastsim.formats.calochallenge import write_showers
    from tests.helpers.showers import mixed_binning, toy_showers

    binning = mixed_binning()
    write_showers(tmp_path / "s.h5", toy_showers(20, binning, np.random.default_rng(1)))
    (tmp_path / "s.xml").write_text(binning.to_xml())
    assert main(["evaluate", files["real"], str(tmp_path / "s.h5")]) == 1
    assert "the samples differ in kind: real.h5 holds jets, s.h5 holds calorimeter showers" in capsys.readouterr().err


def test_the_same_file_twice_and_inputs_as_outputs(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link.h5").symlink_to(files["real"])
    shutil.copy(files["real"], tmp_path / "copy.h5")
    same = [[files["real"], str(tmp_path / name)] for name in ("link.h5", "copy.h5")]
    for words in (*same, [files["real"], files["wide"], "--null", files["wide"]]):
        assert main(["evaluate", *words]) == 2
        assert "given twice" in capsys.readouterr().err
    assert main(["evaluate", files["real"], files["wide"], "-o", files["wide"], "--force"]) == 2
    assert "is an input" in capsys.readouterr().err


def test_a_gate_on_what_could_not_be_computed_fails_with_the_reason(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", files["real"], files["wide"], "--max-events", "100", "--metrics", "fpd,w1"]
    assert main([*words, "--fail-above", "fpd=1"]) == 3
    assert "fpd was not computed: FPD needs at least 240 events" in capsys.readouterr().err


def test_names_and_bins() -> None:
    assert sample_names(("a/x.h5", "b/y.h5")) == {"a/x.h5": "x.h5", "b/y.h5": "y.h5"}
    assert sample_names(("a/x.h5", "b/x.h5")) == {"a/x.h5": "a/x.h5", "b/x.h5": "b/x.h5"}
    assert parse_bins("flavour pt=20:60:200") == {"flavour": None, "pt": [20.0, 60.0, 200.0]}
    assert parse_bins(None) == {}


def test_a_name_that_is_no_metric_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.h5", "b.h5"):
        (tmp_path / name).write_bytes(name.encode())
    assert main(["evaluate", str(tmp_path / "a.h5"), str(tmp_path / "b.h5"), "--metrics", "w2"]) == 2
    assert "no metric 'w2'" in capsys.readouterr().err


def test_the_plain_install_evaluates_without_fastjet(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastjet", None)
    assert main(["evaluate", files["real"], files["wide"], "--metrics", "fpd,kpd,w1"]) == 0
    out, err = capsys.readouterr()
    assert "kpd" in out and "groomed_mass" not in out
    assert "soft-drop observables are left out: fastjet is not installed; the extra evaluate has it" in err


def test_event_files_without_fastjet_name_the_extra(
    examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(tmp_path / name) for name in ("a.hepmc3", "b.hepmc3")]
    for seed, path in enumerate(paths):
        words = ["reference", str(examples / "pp_dijet.lhe.gz"), "--num-events", "2", "--seed", str(seed), "-o", path]
        assert main(words) == 0
    monkeypatch.setitem(sys.modules, "fastjet", None)
    capsys.readouterr()
    assert main(["evaluate", *paths]) == 1
    assert "pip install 'fastsim-hep[evaluate]'" in capsys.readouterr().err


def test_the_page_names_files_command_and_date(files: dict[str, str], tmp_path: Path) -> None:
    words = ["evaluate", files["real"], files["wide"], "--metrics", "w1", "--report", str(tmp_path / "page")]
    assert main(words) == 0
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    for text in (files["wide"], "SHA-256", f"fastsim evaluate {files['real']}", "UTC"):
        assert text in page
    assert page.index("w1 girth") < page.index("w1 multiplicity"), "the most significant comes first"
    assert "invariant mass / pT of the parton" in page


def test_the_function_takes_what_the_command_takes(files: dict[str, str]) -> None:
    evaluation = fastsim.evaluate(files["real"], [files["equal"], files["wide"]], metrics="w1", bins=["flavour"])
    assert evaluation.real == "real.h5" and list(evaluation.results) == ["equal.h5", "wide.h5"]
    assert "wide.h5 is closest" not in str(evaluation) and "w1 girth" in str(evaluation)
    assert repr(evaluation).startswith("<Evaluation: jets (real.h5 300, equal.h5 300, wide.h5 300)")
    events = fastsim.read(files["wide"])
    again = fastsim.evaluate(files["real"], events, metrics="w1p")
    named = fastsim.evaluate(fastsim.read(files["real"]), {"wide": files["wide"]}, metrics="w1p")
    assert again.results["generated"] == named.results["wide"]
    with pytest.raises(fastsim.FastsimError, match="given twice"):
        fastsim.evaluate(files["real"], files["real"])
