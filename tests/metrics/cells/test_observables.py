"""Observables of cells: hand-made events with known answers, empty ones, jets of towers, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from fastsim.detector.towers import Towers
from fastsim.errors import InvalidValue
from fastsim.event import Cells
from metrics.cells.jets import tower_particles
from metrics.cells.observables import CELL_OBSERVABLES, LAYER, cell_observables, cell_sample
from metrics.report.meanings import observable_meaning

TOWERS = Towers("toy", depths_mm=(10.0, 10.0, 20.0), segments=(2, 1))
"""60 x 64 towers in two layers."""


def cells_of(offsets: ArrayLike, ids: ArrayLike, energy: ArrayLike) -> Cells:
    return Cells(np.asarray(offsets), np.asarray(ids), np.asarray(energy, np.float32))


def event(*deposits: tuple[float, float, int, float]) -> Cells:
    """One event with deposits (eta, phi, layer, MeV)."""
    eta, phi, layer, energy = (np.array(column) for column in zip(*deposits, strict=True))
    ids = TOWERS.cell(eta, phi, layer.astype(np.int64))
    order = np.argsort(ids)
    return cells_of([0, len(ids)], ids[order], energy[order])


def of(cells: Cells, **options: float | None) -> dict[str, float]:
    return {name: float(values[0]) for name, values in cell_observables(cells, TOWERS, **options).items()}  # type: ignore[arg-type]


def test_two_back_to_back_deposits() -> None:
    found = of(event((0.05, 0.05, 0, 3000.0), (0.05, 0.05, 1, 1000.0), (0.05, 0.05 - np.pi, 0, 4000.0)))
    transverse = 8.0 / np.cosh(0.05)
    assert found["visible energy / GeV"] == pytest.approx(8.0)
    assert found["transverse energy / GeV"] == pytest.approx(transverse)
    assert found[LAYER.format(0)] == pytest.approx(7.0) and found[LAYER.format(1)] == pytest.approx(1.0)
    assert found["cells"] == 3 and found["hottest cell / GeV"] == pytest.approx(4.0)
    assert found["mean layer"] == pytest.approx(1 / 8)
    assert found["mean eta"] == pytest.approx(0.05) and found["eta spread"] == pytest.approx(0.0, abs=1e-7)
    assert found["imbalance"] == pytest.approx(0.0, abs=1e-12)
    # layer 0 leans to the second deposit by 1 GeV, layer 1 to the first
    assert found["sides of layers"] == pytest.approx(-1.0)
    assert found["tower jets"] == 2
    assert found["tower jet 1 pT / GeV"] == pytest.approx(transverse / 2) == found["tower jet 2 pT / GeV"]
    assert found["tower jets delta phi"] == pytest.approx(np.pi)
    assert found["tower jet 1 towers"] == 1 and found["tower jet 1 width"] == pytest.approx(0.0, abs=1e-9)


def test_a_jet_of_two_towers() -> None:
    """Massless towers a quarter of a radian apart in phi: mass and width by hand."""
    step = TOWERS.steps[1]
    cells = event((0.05, 0.5 * step, 0, 2000.0), (0.05, 2.5 * step, 1, 2000.0), (2.05, -3.0, 0, 150.0))
    found = of(cells)
    angle = 2 * step
    pt = 2 * 2.0 / np.cosh(0.05) * np.cos(angle / 2)
    mass = 2 * 2.0 / np.cosh(0.05) * np.sin(angle / 2)
    assert found["tower jet 1 pT / GeV"] == pytest.approx(pt)
    assert found["tower jet 1 mass / pT"] == pytest.approx(mass / pt)
    assert found["tower jet 1 width"] == pytest.approx(angle / 2, rel=1e-3)
    assert found["tower jet 1 towers"] == 2
    # the third is a jet too, but has less than 5% of the transverse energy
    assert found["tower jets"] == 1 and found["tower jet 2 pT / GeV"] == pytest.approx(0.15 / np.cosh(2.05))
    assert "tower jets" not in of(cells, radius=None)


def test_layers_of_a_tower_are_one_particle() -> None:
    cells = Cells.concatenate([event((0.05, 0.05, 0, 300.0), (0.05, 0.05, 1, 700.0)), Cells.empty(1)])
    particles = tower_particles(cells, TOWERS)
    assert particles.counts.tolist() == [1, 0] and particles.p4[0, 0] == pytest.approx(1.0)


def test_threshold_and_empty_events() -> None:
    cells = Cells.concatenate([event((0.0, 0.0, 0, 0.5), (1.0, 1.0, 0, 1.5)), Cells.empty(2)])
    found = cell_observables(cells, TOWERS)
    assert found["cells"].tolist() == [2, 0, 0] and found["cells above threshold"].tolist() == [1, 0, 0]
    assert cell_observables(cells, TOWERS, threshold=0.1)["cells above threshold"].tolist() == [2, 0, 0]
    assert all((values[1:] == 0).all() for values in found.values())


def test_every_observable_has_a_meaning_and_is_in_the_sample() -> None:
    sample = cell_sample(Cells.concatenate([event((0.0, 0.0, 1, 5.0))] * 3), TOWERS, weights=np.array([1.0, 2.0, 1.0]))
    assert set(CELL_OBSERVABLES) < set(sample.observables) and len(sample.observables) == len(CELL_OBSERVABLES) + 2
    assert all(observable_meaning(name) for name in sample.observables)
    assert sample.kind == "cells" and sample.embedding.shape == (3, len(sample.observables))
    assert sample.embedding[0, 0] == pytest.approx(np.log1p(5e-3))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (cells_of([0, 0, 1], [7680], [1.0]), "event 1: a cell has the id 7680; must be 0 to 7,679"),
        (cells_of([0, 1], [3], [-2.0]), "event 0: a cell has the energy -2.0; must be finite and not negative"),
        (cells_of([0, 1], [3], [np.nan]), "event 0: a cell has the energy nan"),
        (Cells.empty(), "there are no events with cells"),
    ],
)
def test_bad_cells_are_refused(cells: Cells, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        cell_sample(cells, TOWERS)
