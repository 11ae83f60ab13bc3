"""Which parts of event files are judged: hadrons, cells or both, and one clear line where a file has none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import fastsim
from fastsim.cli import main
from fastsim.errors import FastsimError, InvalidValue
from fastsim.event import Cells, RunInfo
from fastsim.formats.output import open_writer
from metrics.cells.files import has_cells, load_cells
from metrics.levels import plan
from tests.helpers.calorimeter import TOWERS, events_of


def write(path: Path, seed: int, *, scale: float = 1.0, cells: bool = True, num: int = 300) -> str:
    """Events of two bunches of photons; each leaves some cells around it, whose visible energy fluctuates."""
    rng = np.random.default_rng(seed)
    eta, phi = rng.uniform(-1, 1, (num, 2)), rng.uniform(-3, 3, (num, 1)) + np.array([0.0, 3.0])
    energy = rng.uniform(40, 60, (num, 2))
    share, off = rng.dirichlet(np.ones(4), (num, 2)), rng.normal(0.0, 0.05, (num, 2, 4, 2))
    events = events_of(
        [
            [
                (22, share[i, k, j] * energy[i, k], eta[i, k] + off[i, k, j, 0], phi[i, k] + off[i, k, j, 1])
                for k in (0, 1)
                for j in range(4)
            ]
            for i in range(num)
        ]
    )
    if cells:
        batches = []
        for i in range(num):
            spread = rng.normal(0.0, 0.08, (2, 8, 2))
            layer = rng.integers(0, 2, 16)
            ids = TOWERS.cell(
                (eta[i, :, None] + spread[:, :, 0]).ravel(), (phi[i, :, None] + spread[:, :, 1]).ravel(), layer
            )
            deposits = scale * 25 * np.repeat(energy[i], 8) * rng.gamma(2.0, 0.5, 16)
            found, place = np.unique(ids, return_inverse=True)
            batches.append(
                Cells(np.array([0, len(found)]), found, np.bincount(place.reshape(-1), deposits).astype(np.float32))
            )
        events = replace(events, cells=Cells.concatenate(batches))
    run = RunInfo(provenance={"calorimeter": TOWERS.to_json()} if cells else {})
    with open_writer(path, run) as file:
        file.write(events)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("levels")
    return {
        "real": write(folder / "real.h5", 1),
        "equal": write(folder / "equal.root", 2),
        "bright": write(folder / "bright.h5", 3, scale=1.4),
        "plain": write(folder / "plain.h5", 4, cells=False),
    }


def test_cells_are_judged_beside_the_hadrons(files: dict[str, str], tmp_path: Path) -> None:
    """The hadrons agree, the cells of one sample are too bright: only cells tell."""
    words = ["evaluate", files["real"], files["equal"], files["bright"], "--metrics", "w1,auc"]
    assert main([*words, "-o", str(tmp_path / "r.json")]) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    bright, equal = found["results"]["bright.h5"], found["results"]["equal.root"]
    for name in ("cells w1 visible energy / GeV", "cells w1 tower jet 1 pT / GeV", "cells auc"):
        assert bright[name]["value"] - bright[name]["null_value"] > 5 * bright[name]["null_error"], name
        assert abs(equal[name]["value"] - equal[name]["null_value"]) < 4 * equal[name]["null_error"], name
    assert bright["auc"]["value"] < 0.65 and "w1 girth" in bright
    assert {i["name"] for i in found["importance"]["bright.h5: cells auc"]} & {
        "visible energy / GeV",
        "transverse energy / GeV",
    }


def test_cells_alone_hadrons_alone(files: dict[str, str]) -> None:
    cells = fastsim.evaluate(files["real"], files["bright"], judged="cells", metrics="w1")
    assert cells.kind == "cells" and cells.results["bright.h5"]["w1 visible energy / GeV"].sigmas > 5
    hadrons = fastsim.evaluate(files["real"], files["bright"], judged="hadrons", metrics="w1")
    assert hadrons.kind == "jets" and not any(name.startswith("cells") for name in hadrons.results["bright.h5"])
    both = fastsim.evaluate(files["real"], files["bright"], judged="both", metrics="w1", null=files["equal"])
    assert both.results["bright.h5"]["cells w1 imbalance"].p_value is None
    # a metric that one part has not is computed of the other
    mixed = fastsim.evaluate(files["real"], files["bright"], metrics="w1,w1p")
    assert {"w1p pt_rel", "cells w1 imbalance"} <= set(mixed.results["bright.h5"])
    assert not any(name.startswith("cells w1p") for name in mixed.results["bright.h5"])


def test_one_line_where_a_file_has_no_cells(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", files["real"], files["plain"], "--metrics", "w1"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "real.h5 has some, " in err and "plain.h5 has none" in err and err.count("\n") == 1
    assert "(jets, fastsim" in out and "cells w1" not in out
    for judged in ("cells", "both"):
        assert main([*words, "--judge", judged]) == 1
        err = capsys.readouterr().err
        assert "plain.h5: has no calorimeter cells to judge" in err and err.count("\n") == 1
    assert plan([files["real"], files["plain"]], "hadrons").notes == ()
    assert main([*words[:-1], "separation", "--judge", "hadrons"]) == 1
    assert "no metric 'separation' for jets" in capsys.readouterr().err
    with pytest.raises(InvalidValue, match="no metric of separation is defined for hadrons or cells"):
        fastsim.evaluate(files["real"], files["bright"], metrics="separation")
    with pytest.raises(InvalidValue, match="cells are judged of files"):
        fastsim.evaluate(np.zeros((9, 2)), np.ones((9, 2)), judged="cells")


def test_reading_cells(files: dict[str, str], tmp_path: Path) -> None:
    assert has_cells(files["real"]) and has_cells(files["equal"])
    assert not has_cells(files["plain"]) and not has_cells(str(tmp_path / "none.h5"))
    assert len(load_cells(files["real"], max_events=7, radius=None)) == 7
    few = load_cells(files["real"], threshold=500.0, radius=None).observables
    every = load_cells(files["real"], radius=None).observables
    assert (few["cells"] == few["cells above threshold"]).all() and few["cells"].sum() < every["cells"].sum()
    with pytest.raises(FastsimError, match=r"plain\.h5: its events have no calorimeter cells"):
        load_cells(files["plain"])
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(Path(files["real"]).read_bytes())
    with h5py.File(damaged, "a") as file:
        del file.attrs["calorimeter"]
        run = json.loads(file.attrs["run"])
        run["provenance"].pop("calorimeter")
        file.attrs["run"] = json.dumps(run)
    with pytest.raises(FastsimError, match=r"damaged\.h5: the attribute 'calorimeter' is missing"):
        load_cells(str(damaged))
    with h5py.File(damaged, "a") as file:
        file["cell/energy"][5] = np.nan
        run["provenance"]["calorimeter"] = TOWERS.to_json()
        file.attrs["run"] = json.dumps(run)
    with pytest.raises(FastsimError, match=r"damaged\.h5: event 0: a cell has the energy nan"):
        load_cells(str(damaged))
