"""The distortions of the sensitivity table do what their names say, and the table is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from bench import sensitivity
from fastsim.event import ParticleSet, Partons
from metrics.evaluation import evaluate
from metrics.hadrons.sample import jet_sample
from tests.helpers.jets import toy_sets


@pytest.fixture
def sets() -> tuple[ParticleSet, Partons]:
    return toy_sets(400, 15.0, np.random.default_rng(3))


def test_a_split_photon_changes_nothing_but_the_number(sets: tuple[ParticleSet, Partons]) -> None:
    particles, source = sets
    found = sensitivity.one_more(particles, source, np.random.default_rng(0))
    np.testing.assert_allclose(found.sums(), particles.sums(), rtol=1e-12, atol=1e-9)
    more = found.counts - particles.counts
    assert set(more) == {0, 1}
    assert more.mean() == pytest.approx(0.33, abs=0.08)


def test_the_softest_particle_is_dropped(sets: tuple[ParticleSet, Partons]) -> None:
    particles, source = sets
    found = sensitivity.softest_dropped(particles, source, np.random.default_rng(0))
    lost = particles.counts - found.counts
    assert set(lost) == {0, 1}
    pt = np.hypot(particles.p4[:, 1], particles.p4[:, 2])
    row = int(np.flatnonzero(lost)[0])
    kept = np.hypot(found[row : row + 1].p4[:, 1], found[row : row + 1].p4[:, 2])
    before = pt[particles.offsets[row] : particles.offsets[row + 1]]
    np.testing.assert_allclose(np.sort(kept), np.sort(before)[1:])


def test_a_collapsed_sample_repeats_itself_and_keeps_its_partons(sets: tuple[ParticleSet, Partons]) -> None:
    particles, source = sets
    same = sensitivity.moved(particles, source, np.arange(len(particles)))
    np.testing.assert_allclose(same.p4, particles.p4, rtol=1e-9, atol=1e-9)
    chosen = np.zeros(len(particles), dtype=np.int64)
    jets = jet_sample(sensitivity.moved(particles, source, chosen), source)
    for name in ("multiplicity", "girth", "z1"):
        np.testing.assert_allclose(jets.observables[name], jets.observables[name][0])


def test_only_the_wrong_bin_changes(sets: tuple[ParticleSet, Partons]) -> None:
    particles, source = sets
    low = Partons(source.pdg_id, source.p4 * np.where(np.arange(400) < 50, 0.3, 1.0)[:, None])
    found = sensitivity.wrong_bin(particles, low, np.random.default_rng(0))
    changed = np.abs(found.sums() - particles.sums()).max(axis=1) > 1e-6
    pt = np.hypot(low.p4[:, 1], low.p4[:, 2])
    np.testing.assert_array_equal(changed, (pt < sensitivity.WRONG_BIN[1]) & (particles.counts > 0))


def test_a_row_has_a_cell_for_every_column(sets: tuple[ParticleSet, Partons]) -> None:
    real = jet_sample(*sets)
    found, _ = evaluate(
        real, {"wide": jet_sample(*toy_sets(400, 15.0, np.random.default_rng(4), width=0.6))}, metrics=["fpd", "w1"]
    )
    row = sensitivity.row(found, "wide")
    assert len(row) == 2 + len(sensitivity.COLUMNS)
    assert row[0] == "wide"
    assert row[1 + sensitivity.COLUMNS.index("w1 mass")].startswith("**+")
    assert row[1 + sensitivity.COLUMNS.index("auc")] == ""
