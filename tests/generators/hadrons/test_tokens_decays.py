"""Token frames and decays: exact kinematics, right branching, nothing across the hemisphere's edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsim.event import Floats, Partons
from fastsim.event.frames import to_axis, to_lab
from fastsim.event.kinematics import boost, mass
from fastsim.event.species import MASSES
from generators.hadrons.decays import CHANNELS, decay, decay_tree
from generators.hadrons.tokens import SPECIES, canonical_partons, species_index


@settings(max_examples=40, deadline=None)
@given(
    pt=st.floats(20, 2000), eta=st.floats(-4, 4), phi=st.floats(-3.14, 3.14), flavour=st.sampled_from([1, -4, 5, 21])
)
def test_frames_are_inverse_and_send_the_parton_to_the_axis(pt: float, eta: float, phi: float, flavour: int) -> None:
    partons = Partons.from_pt_eta_phi(np.array([flavour]), np.array([pt]), np.array([eta]), np.array([phi]))
    axis = to_axis(partons.p4, np.array([0, 1]), partons)
    assert np.abs(axis[0, 1:3]).max() < 1e-9 * partons.p4[0, 0] and axis[0, 3] == pytest.approx(pt, rel=1e-9)
    np.testing.assert_allclose(to_lab(axis, np.array([0, 1]), partons), partons.p4, rtol=1e-9, atol=1e-9 * pt)


def test_frame_keeps_angles_about_a_central_parton() -> None:
    partons = canonical_partons(np.array([2]), np.array([100.0]))
    p4 = np.random.default_rng(1).normal(size=(5, 4))
    offsets = np.array([0, 5])
    back = to_axis(p4, offsets, partons)
    np.testing.assert_allclose(back[:, 1:] @ back[:, 1:].T, p4[:, 1:] @ p4[:, 1:].T, atol=1e-12)
    # right-handed: the triple product keeps its sign
    assert np.linalg.det(back[:3, 1:]) == pytest.approx(np.linalg.det(p4[:3, 1:]))


@pytest.mark.parametrize("parent", sorted(CHANNELS))
def test_decays_conserve_momentum_and_masses(parent: int) -> None:
    rng = np.random.default_rng(2)
    momentum = rng.normal(size=(2000, 3)) * 5
    energy = np.sqrt((momentum**2).sum(1) + MASSES[parent] ** 2)
    p4 = np.concatenate([energy[:, None], momentum], 1)
    rows, ids, products = decay_tree(parent, p4, rng)
    total = np.stack([np.bincount(rows, products[:, k], len(p4)) for k in range(4)], -1)
    np.testing.assert_allclose(total, p4, atol=1e-9)
    np.testing.assert_allclose(mass(products), [MASSES[abs(i)] for i in ids], atol=1e-5)


def test_branching_ratios_and_shapes_match_pythia() -> None:
    from generators.reference.pythia import make_pythia

    pythia = make_pythia(settings=("HadronLevel:Hadronize = off",))
    num = 4000
    photons, energies = [], []
    for seed in range(1, num + 1):
        pythia.rndm.init(seed)
        pythia.event.reset()
        pythia.event.append(221, 1, 0, 0, 0.0, 0.0, 0.0, MASSES[221], MASSES[221])
        assert pythia.moreDecays() or pythia.next()
        final = [p for p in pythia.event if p.isFinal()]
        photons.append(sum(p.id() == 22 for p in final))
        energies += [p.e() for p in final if p.id() == 22]
    rows, ids, p4 = decay_tree(221, np.tile([MASSES[221], 0, 0, 0], (num, 1)).astype(float), np.random.default_rng(3))
    ours = np.bincount(rows[ids == 22], minlength=num)
    for count in (0, 2, 6):
        a, b = np.mean(np.array(photons) == count), np.mean(ours == count)
        assert abs(a - b) < 5 * np.sqrt((a * (1 - a) + b * (1 - b)) / num + 1e-8)
    from scipy.stats import ks_2samp

    assert ks_2samp(energies, p4[ids == 22, 0]).pvalue > 1e-4


def test_dalitz_pair_mass_is_kroll_wada() -> None:
    """<m_ee> of pi0 -> gamma e e without form factor, by direct integration."""
    rng = np.random.default_rng(4)
    num = 400_000
    rows, ids, p4 = decay_tree(111, np.tile([MASSES[111], 0, 0, 0], (num, 1)).astype(float), rng)
    pairs = np.flatnonzero(np.bincount(rows[np.abs(ids) == 11], minlength=num) == 2)
    assert len(pairs) / num == pytest.approx(0.01198, rel=0.05)
    total: Floats = np.stack(
        [np.bincount(rows[np.abs(ids) == 11], p4[np.abs(ids) == 11, k], num) for k in range(4)], -1
    )
    q = np.exp(np.linspace(np.log(2 * MASSES[11]), np.log(MASSES[111]), 4000))
    velocity = np.sqrt(np.maximum(1 - (2 * MASSES[11] / q) ** 2, 0))
    density = (1 - q**2 / MASSES[111] ** 2) ** 3 * velocity * (1 + 2 * MASSES[11] ** 2 / q**2)
    expected = (density * q).sum() / density.sum()
    masses = mass(total[pairs])
    assert abs(masses.mean() - expected) < 5 * masses.std() / np.sqrt(len(masses))


def test_products_stay_inside_and_follow_their_tokens() -> None:
    rng = np.random.default_rng(5)
    species = species_index(np.array([111, 211, 221, -3212, 111, 22]))
    p3 = np.abs(rng.normal(size=(6, 3))) * 0.2 + 0.01
    m = np.array([MASSES[abs(SPECIES[i])] for i in species])
    p4 = np.concatenate([np.sqrt((p3**2).sum(1) + m**2)[:, None], p3], 1)
    offsets, out, momenta = decay(np.array([0, 4, 6]), species, p4, rng)
    assert len(offsets) == 3 and (momenta[:, 3] > 0).all()
    for row in range(2):
        a, b = slice(offsets[row], offsets[row + 1]), slice([0, 4][row], [4, 6][row])
        np.testing.assert_allclose(momenta[a].sum(0), p4[b].sum(0), atol=1e-9)
    assert species_index(np.array([-3122]))[0] in out and species_index(np.array([3122]))[0] not in out


def test_boost_of_a_decay_is_the_decay_of_the_boost() -> None:
    beta = np.array([[0.3, -0.2, 0.5]])
    rest = np.array([[MASSES[111], 0.0, 0.0, 0.0]])
    flying = boost(rest, beta)
    _, ids, products = decay_tree(111, flying, np.random.default_rng(6))
    _, ids_rest, products_rest = decay_tree(111, rest, np.random.default_rng(6))
    assert (ids == ids_rest).all()
    np.testing.assert_allclose(products, boost(products_rest, beta), atol=1e-12)
