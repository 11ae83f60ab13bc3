"""Colour singlets of several partons by Pythia: exact four-momentum and quantum numbers, showers, light ones."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.errors import LightSinglet
from fastsim.event import Floats, kinematics
from fastsim.event.kinematics import boost_from
from fastsim.sources.hadrons import ColourChains, PartonPairs
from generators.hadrons.tokens import CONTENT, parton_content, species_index
from generators.reference.chains import chains_of, draw_chains, least_mass
from generators.reference.pythia import PythiaGun


def chains(ids: list[int], mass: float, num: int, *, scale: float | None = None, seed: int = 1) -> ColourChains:
    """Massless partons in random directions, at rest together and of a mass."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(num * len(ids), 3))
    p4 = np.concatenate([np.linalg.norm(vectors, axis=1, keepdims=True), vectors], axis=1)
    index = np.repeat(np.arange(num), len(ids))
    total: Floats = np.stack([np.bincount(index, column) for column in p4.T], axis=-1)
    p4 = boost_from(p4, total[index]) * (mass / kinematics.mass(total))[index, None]
    return ColourChains(
        len(ids) * np.arange(num + 1), np.tile(ids, num), p4, np.full(num, mass if scale is None else scale)
    )


@pytest.mark.parametrize(
    ("ids", "mass"),
    [([2, 21, -2], 91.2), ([5, 21, 21, -5], 91.2), ([21, 21, 21], 125.0), ([3, 21, -4], 12.0), ([1, -2], 1.0)],
)
def test_four_momentum_and_quantum_numbers_are_exact(ids: list[int], mass: float) -> None:
    given = chains(ids, mass, 40)
    np.testing.assert_allclose(given.mass, mass, rtol=1e-12)
    hadrons = draw_chains(given, np.random.default_rng(2))
    np.testing.assert_allclose(hadrons.sums(), [[mass, 0, 0, 0]] * 40, atol=1e-11 * mass)
    species = species_index(hadrons.pdg_id)
    content = np.stack([np.bincount(hadrons.index, CONTENT[species, k], 40) for k in range(8)], axis=-1)
    assert (content == parton_content(np.array(ids)).sum(axis=0)).all()
    again = draw_chains(given, np.random.default_rng(2))
    assert np.array_equal(again.p4, hadrons.p4)


def test_hadrons_fly_along_the_partons_and_a_shower_makes_more_of_them() -> None:
    given = chains([2, 21, -2], 91.2, 150)
    full, bare = (
        draw_chains(given, np.random.default_rng(1)),
        draw_chains(chains([2, 21, -2], 91.2, 150, scale=1.0), np.random.default_rng(1)),
    )
    assert full.counts.mean() > bare.counts.mean() + 1
    unit = given.p4[:, 1:] / given.p4[:, :1]
    weights, nearest = bare.p4[:, 0], np.full(len(bare.p4), -1.0)
    flight = bare.p4[:, 1:] / np.linalg.norm(bare.p4[:, 1:], axis=1, keepdims=True)
    for k in range(3):
        nearest = np.maximum(nearest, np.sum(flight * unit[k::3][bare.index], axis=1))
    assert np.average(nearest, weights=weights) > 0.9


def test_pairs_are_chains_of_two_with_the_first_along_z() -> None:
    pairs = PartonPairs(np.array([[-4, 4]] * 60), np.full(60, 91.2))
    given = chains_of(pairs)
    np.testing.assert_allclose(given.mass, 91.2)
    assert np.array_equal(given.scale, pairs.momenta)
    hadrons = PythiaGun().draw_pairs(pairs, np.random.default_rng(1))
    charm = CONTENT[species_index(hadrons.pdg_id), 3]
    assert hadrons.p4[charm < 0, 3].mean() > 5 and hadrons.p4[charm > 0, 3].mean() < -5
    low = PartonPairs(pairs.pdg_id, pairs.mass, np.full(60, 2.0))
    assert low.starting_scale.tolist() == [2.0] * 60 and low[np.arange(2)].starting_scale.tolist() == [2.0] * 2


@pytest.mark.parametrize(("ids", "mass"), [([5, -4], 7.0), ([2, 21, -1], 0.2), ([21, 21], 0.25)])
def test_a_singlet_too_light_for_its_flavours_is_named(ids: list[int], mass: float) -> None:
    good = chains([2, -2], 30.0, 1)
    light = chains(ids, mass, 1)
    given = ColourChains(
        np.array([0, 2, 2 + len(ids)]),
        np.concatenate([good.pdg_id, light.pdg_id]),
        np.concatenate([good.p4, light.p4]),
        np.array([30.0, mass]),
    )
    assert least_mass(np.array(ids)) > mass
    with pytest.raises(
        LightSinglet, match=rf"partons {', '.join(map(str, ids))} has a mass of {mass:g} GeV, too"
    ) as it:
        draw_chains(given, np.random.default_rng(1))
    assert it.value.row == 1


def test_no_chains_no_hadrons() -> None:
    assert len(draw_chains(chains([2, -2], 30.0, 1)[:0], np.random.default_rng(1))) == 0
