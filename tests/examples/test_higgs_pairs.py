"""The fat jets of X -> HH -> 4b: arrays of events made by hand, and events of the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from examples import higgs_pairs
from fastsim.event import ParticleSet
from fastsim.event.kinematics import mass, p4_from_pt_eta_phi_m


def _fat(eta: float, phi: float, *, pt: float = 300.0, apart: float = 0.4) -> NDArray[np.float64]:
    """Return two massless prongs of equal pT, and a soft particle beside the first: a mass of about pt * apart."""
    pts = np.array([pt, pt, 1.0])
    etas = eta + np.array([-0.5, 0.5, -0.4]) * apart
    return p4_from_pt_eta_phi_m(pts, etas, np.full(3, phi), np.zeros(3))


def _set(*events: NDArray[np.float64]) -> ParticleSet:
    p4 = np.concatenate(events)
    pdg_id = np.tile([211, -211, 22], len(p4) // 3)
    return ParticleSet(np.cumsum([0, *map(len, events)]), pdg_id, p4)


def test_arrays_of_two_fat_jets_by_hand() -> None:
    good = np.concatenate([_fat(0.3, 0.0), _fat(-0.5, np.pi, pt=280.0)])
    light = np.concatenate([_fat(0.3, 0.0), _fat(-0.5, np.pi, apart=0.1)])
    alone = _fat(0.3, 1.0)
    forward = np.concatenate([_fat(0.3, 0.0), _fat(2.8, np.pi)])
    assert mass(light[3:].sum(0)[None])[0] < 60 < mass(good[3:].sum(0)[None])[0] < 180
    found = higgs_pairs.fat_jets(_set(good, light, alone, forward))
    shapes = [found[name].shape for name in ("features", "mask", "p4", "subjets", "subjet_mask")]
    assert shapes == [(1, 40, 6), (1, 40), (1, 40, 4), (1, 8, 7), (1, 8)]
    assert np.flatnonzero(found["mask"]).tolist() == [0, 1, 2, 20, 21, 22]
    first = found["features"][0, :3]
    np.testing.assert_allclose(sorted(first[:2, 0]), [-0.2, 0.2], atol=0.01)
    np.testing.assert_allclose(first[:, 1], 0.0, atol=1e-6)
    np.testing.assert_allclose(first[:, 2], np.log([300.0, 300.0, 1.0]), atol=1e-5)
    assert sorted(first[:2, 4]) == [-1.0, 1.0] and first[2, 4] == 0.0 and (first[:, 5] == -1).all()
    assert (found["features"][0, 20:23, 5] == 1).all()
    np.testing.assert_allclose(np.exp(found["features"][0, 20:22, 2]), 280.0, rtol=1e-5)
    # each prong is a subjet; the soft particle belongs to the one that it lies beside
    assert np.flatnonzero(found["subjet_mask"]).tolist() == [0, 1, 4, 5]
    subjets = found["subjets"][0, :2]
    np.testing.assert_allclose(np.exp(subjets[:, 2]), [301.0, 300.0], rtol=1e-3)
    assert np.exp(subjets[:, 5]).round().tolist() == [2, 1] and subjets[0, 0] < 0 < subjets[1, 0]


def test_events_of_the_engine_have_a_pair_of_higgs_bosons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(higgs_pairs, "CHUNK", 40)
    splits = higgs_pairs.data(num=40, seed=1, folder=str(tmp_path))
    assert [len(splits[name]["is_signal"]) for name in ("train", "validation", "test")] == [24, 6, 10]
    made = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {path.name.split("-")[0] for path in made} == {"background", "signal"}
    again = higgs_pairs.data(num=40, seed=1, folder=str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == made
    arrays = {name: np.concatenate([again[split][name] for split in again]) for name in again["train"]}
    assert arrays["is_signal"].sum() == 20
    leading = [mass(arrays["p4"][:, k : k + 20].sum(1).astype(float)) for k in (0, 20)]
    signal = arrays["is_signal"] == 1
    # the twenty hardest particles carry most of the mass of 125 GeV
    for values in leading:
        assert 75 < np.median(values[signal]) < 125
    assert np.std(leading[0][signal]) < np.std(leading[0][~signal])
