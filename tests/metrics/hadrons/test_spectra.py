"""Distances of mean spectra against counts by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastsim.event import ParticleSet, Partons
from metrics.hadrons.jets import Jets, relative
from metrics.hadrons.spectra import spectrum_distances
from tests.helpers.jets import toy_sets


def test_equal_samples_have_none_and_a_change_is_seen_where_it_is(rng: np.random.Generator) -> None:
    real, equal = (relative(*toy_sets(1500, 12.0, rng)) for _ in range(2))
    wide = relative(*toy_sets(1500, 12.0, rng, width=0.5))
    same, other = (spectrum_distances(real, jets, num_permutations=60) for jets in (equal, wide))
    assert {"spectrum D(z) all", "spectrum D(z) photon", "spectrum energy flow", "spectrum EEC"} <= set(same)
    for result in same.values():
        assert abs(result.sigmas) < 4.5, result
        assert 0.3 < result.error / max(result.null_error, 1e-9) < 4
    assert other["spectrum energy flow"].sigmas > 10
    assert other["spectrum EEC"].sigmas > 10
    assert abs(other["spectrum D(z) all"].sigmas) < 4.5


def pions(num: int, each: int) -> Jets:
    """Make sets of ``each`` equal pions along their partons of 100 GeV."""
    p4 = np.tile([100.0 / each, 100.0 / each, 0.0, 0.0], (num * each, 1))
    sets = ParticleSet(np.arange(num + 1) * each, np.full(num * each, 211), p4)
    return relative(sets, Partons(np.full(num, 2), np.tile([100.0, 100.0, 0.0, 0.0], (num, 1))))


def test_the_distance_counts_particles() -> None:
    # one pion of z = 1/2 more than two; and all of them elsewhere: 2 taken away, 3 put there
    found = spectrum_distances(pions(40, 2), pions(40, 2))
    assert found["spectrum D(z) all"].value == 0.0
    assert "spectrum D(z) photon" not in found
    assert spectrum_distances(pions(40, 2), pions(60, 3))["spectrum D(z) pi"].value == pytest.approx(2.5)


def test_weights_take_events_away(rng: np.random.Generator) -> None:
    real, wide = relative(*toy_sets(600, 12.0, rng)), relative(*toy_sets(300, 12.0, rng, width=0.6))
    mixed = Jets(
        np.concatenate(
            [real.offsets, real.offsets[-1] + wide.offsets[1:], real.offsets[-1] + wide.offsets[-1] + wide.offsets[1:]]
        ),
        *(
            np.concatenate([getattr(real, k), getattr(wide, k), getattr(wide, k)])
            for k in ("pdg_id", "pt_rel", "eta_rel", "phi_rel", "pz_rel", "m_rel", "parton_id", "parton_pt")
        ),
    )
    weights = np.repeat([1.0, 1.0, -1.0], [600, 300, 300])
    found = spectrum_distances(real, mixed, generated_weights=weights, num_permutations=10)
    assert found["spectrum energy flow"].value == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(ValueError, match="positive sum"):
        spectrum_distances(real, wide, generated_weights=-np.ones(300))


@pytest.mark.parametrize("species", [321, 3122, 12, 111, 9000211])
def test_a_species_that_only_one_sample_has_is_seen(species: int, rng: np.random.Generator) -> None:
    (sets, partons), (others, beside) = (toy_sets(800, 12.0, rng) for _ in range(2))
    usual = np.where(np.isin(np.abs(sets.pdg_id), (321, 12)), 211, sets.pdg_id)
    odd = np.where(np.isin(np.abs(others.pdg_id), (321, 12)), 211, others.pdg_id)
    odd[rng.random(len(odd)) < 0.02] = species
    without, having = relative(replace(sets, pdg_id=usual), partons), relative(replace(others, pdg_id=odd), beside)
    names = {321: "K", 3122: "hyperon", 12: "neutrino"}
    name = f"spectrum D(z) {names.get(species, 'other')}"
    invented = spectrum_distances(without, having, num_permutations=60)[name]
    assert invented.value == pytest.approx(2.0)
    assert invented.sigmas > 10
    assert spectrum_distances(having, without, num_permutations=60)[name].value == pytest.approx(1.0)
    assert name not in spectrum_distances(without, without[:400], num_permutations=10)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float, rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(30, 5.0, rng))
    broken = replace(jets, pt_rel=np.where(np.arange(len(jets.pt_rel)) == 3, value, jets.pt_rel))
    with pytest.raises(ValueError, match="the generated sets hold NaN or infinity"):
        spectrum_distances(jets, broken)
    with pytest.raises(ValueError, match="the real sets hold NaN or infinity"):
        spectrum_distances(broken, jets)
