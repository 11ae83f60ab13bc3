"""The dijets of the search for a resonance: observables of events made by hand, and events of Pythia."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from examples import dijets, find_resonance
from fastsim.event import ParticleSet
from fastsim.event.kinematics import mass, p4_from_pt_eta_phi_m
from metrics.classifiers.significance import significance_improvement


def _event(*prongs: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return massless particles of given pT, eta and phi."""
    pt, eta, phi = np.array(prongs).T
    return p4_from_pt_eta_phi_m(pt, eta, phi, np.zeros(len(pt)))


def test_observables_of_two_jets_by_hand() -> None:
    wide = [(800.0, 0.3, 0.0), (700.0, -0.3, 0.0)]
    narrow = [(900.0, 0.1, np.pi), (600.0, -0.1, np.pi), (10.0, 0.1, np.pi - 0.2)]
    good = _event(*wide, *narrow)
    soft = _event((500.0, 0.0, 0.0), (500.0, 0.0, np.pi))
    forward = _event((2000.0, 2.6, 0.0), (2000.0, 0.0, np.pi))
    alone = _event((1500.0, 0.0, 1.0))
    events = [good, soft, forward, alone]
    offsets = np.cumsum([0, *map(len, events)])
    p4 = np.concatenate(events)
    found, features = dijets.observables(ParticleSet(offsets, np.full(len(p4), 22), p4))
    heavy, light = (mass(rows.sum(axis=0)[None])[0] / 1e3 for rows in (good[:2], good[2:]))
    assert light < heavy
    np.testing.assert_allclose(found, mass(good.sum(axis=0)[None]) / 1e3)
    np.testing.assert_allclose(features[0, :2], [light, heavy - light], rtol=1e-6)
    # two particles lie on two axes; the third one of the narrow jet lies beside them
    assert features[0, 3] == pytest.approx(0.0, abs=1e-6) and 0.0 < features[0, 2] < 0.1


def test_signal_of_pythia_has_the_masses_asked_for_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dijets, "CHUNK", 30)
    assert "signal-0.npz" in dijets.write(tmp_path, "signal", False, 0)
    assert dijets.write(tmp_path, "signal", False, 0) == ""
    found, features = dijets.data(tmp_path, "signal")
    assert 10 < len(found) <= 30 and features.shape == (len(found), 4)
    assert np.median(found) == pytest.approx(3.5, abs=0.2)
    assert np.median(features[:, 0]) == pytest.approx(0.1, abs=0.03)
    assert np.median(features[:, 1]) == pytest.approx(0.4, abs=0.06)
    with pytest.raises(FileNotFoundError, match="no background events; python -m examples"):
        dijets.data(tmp_path, "background")


def test_the_table_has_means_and_both_errors() -> None:
    rng = np.random.default_rng(1)
    curves = [significance_improvement(rng.normal(2, 1, 500), rng.normal(size=2000), find_resonance.CUTS) for _ in "ab"]
    head, line, note = find_resonance.table({"a way": curves})
    assert "eps_B = 0.01" in head and "spread of the seeds" in note
    mean, spread, error = _cell(line)
    values = [curve.value[0] for curve in curves]
    assert mean == pytest.approx(np.mean(values), abs=0.006)
    assert spread == pytest.approx(np.std(values, ddof=1), abs=0.006)
    assert error == pytest.approx(np.mean([curve.error[0] for curve in curves]), abs=0.006)


def _cell(line: str) -> tuple[float, float, float]:
    """Return the numbers of the first cell of a line."""
    words = [word for word in line.removeprefix("a way").split() if word != "+-"]
    return float(words[0]), float(words[1]), float(words[2])
