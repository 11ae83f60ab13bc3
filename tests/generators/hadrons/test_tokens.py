"""Tokens: what species hold, conjugation, and the gun that makes training data."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.event.species import charge
from generators.decays.data import particle_data
from generators.hadrons.gun import token_sample
from generators.hadrons.tokens import (
    CARRIER,
    CONJUGATE,
    CONTENT,
    IDS,
    MIN_MASS,
    NUM_GROUPS,
    TYPE,
    TYPE_SPECIES,
    TYPES,
    TokenSample,
    parton_content,
    species_index,
)
from generators.reference.pythia import PythiaGun
from tests.helpers.partons import spread

CHARGES = np.array([-1, 2, -1, 2, -1, -3, -3, -3]) / 3


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    flavour = np.array([1, 2, 3, 4, 5, 21] * 40)
    return token_sample(flavour, np.geomspace(6.0, 400.0, len(flavour)), seed=3)


def test_content_gives_the_charge_of_every_species() -> None:
    np.testing.assert_allclose(CONTENT @ CHARGES, [charge(int(pdg)) for pdg in IDS], atol=1e-12)
    assert (CONTENT[CONJUGATE] == -CONTENT).all()
    assert CONTENT[species_index(np.array([521, 4122, -3334]))].tolist() == [
        [0, 1, 0, 0, -1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0, 0],
        [0, 0, -3, 0, 0, 0, 0, 0],
    ]


def test_least_masses_are_the_lower_ends_of_pythias_line_shapes() -> None:
    data = particle_data()
    for pdg, least in zip(IDS.tolist(), MIN_MASS.tolist(), strict=True):
        if pdg == 22:
            assert least == 0
        elif data[pdg].width == 0:
            assert least == pytest.approx(data[pdg].mass, abs=2e-5)
        else:
            low = data[pdg].mass_range[0]
            assert least == pytest.approx(low, abs=2e-5) or (low == 0 and least < data[pdg].mass)


def test_every_species_has_a_type_and_common_ones_their_own() -> None:
    assert TYPES[CARRIER] == "carrier" and CARRIER not in TYPE
    for kind in range(1 + NUM_GROUPS, len(TYPES)):
        assert np.count_nonzero(np.equal(TYPE, kind)) == 1 and str(IDS[TYPE_SPECIES[kind]]) == TYPES[kind]
    with pytest.raises(KeyError, match="12345"):
        species_index(np.array([211, 12345]))


def test_the_gun_conserves_all_that_fragmentation_conserves(sample: TokenSample) -> None:
    content = sample.content().reshape(-1, 2, 8)
    flavour = sample.flavour[::2]
    # sets of antiquarks are conjugated; a gluon's are not
    total = content[:, 0] + np.where(flavour == 21, 1, -1)[:, None] * content[:, 1]
    assert (total == 0).all()
    p4 = np.add.reduceat(sample.p4, sample.offsets[:-1]).reshape(-1, 2, 4)
    pair = p4[:, 0] + p4[:, 1] * np.array([1.0, 1.0, -1.0, -1.0])
    np.testing.assert_allclose(pair[:, 1:], 0.0, atol=1e-6)
    assert (sample.p4[:, 3] > 0).all() and (sample.counts > 0).all()


def test_the_carrier_holds_the_partons_quark(sample: TokenSample) -> None:
    carriers = sample.carriers
    quarks = sample.flavour != 21
    assert (carriers[~quarks] == -1).all()
    assert 0.95 < (carriers[quarks] >= 0).mean() < 1
    heavy = np.flatnonzero((sample.flavour >= 4) & quarks & (carriers >= 0))
    wanted = parton_content(sample.flavour[heavy])
    held = (CONTENT[carriers[heavy]] * wanted).sum(1)
    onium = (CONTENT[carriers[heavy]] == 0).all(1)
    assert ((held == 1) | onium).all()


def test_the_guns_sets_come_with_their_decays() -> None:
    partons = spread([5, -5], [60.0, 80.0])
    sets = PythiaGun().sample(partons, rng=2)
    assert sets.history is not None
    made = np.abs(sets.history.decayed.pdg_id)
    assert ((made > 500) & (made < 600) | (made > 5000)).any(), "a b hadron is in the record"
    moved = np.linalg.norm(sets.history.vertex[:, 1:], axis=1)
    assert 0.1 < moved.max() < 100.0
