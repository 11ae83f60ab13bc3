"""The models that ship: small files, full species, right means, results that depend on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fastsim
from fastsim.event import Partons
from fastsim.event.kinematics import mass
from fastsim.event.species import STABLE, masses
from fastsim.shipped import data_folder
from fastsim.sources import cards
from generators.reference.pythia import PythiaGun

NUM = 1500


def partons(num: int, flavour: int, pt: float) -> Partons:
    zero = np.zeros(num)
    return Partons.from_pt_eta_phi(np.full(num, flavour), np.full(num, pt), zero, zero)


@pytest.fixture(scope="module", params=cards.available(cards.HADRONS))
def model(request: pytest.FixtureRequest) -> fastsim.HadronSource:
    loaded: fastsim.HadronSource = fastsim.load_model(request.param)
    return loaded


def test_the_default_model_ships() -> None:
    assert cards.DEFAULT_MODEL in cards.available()


@pytest.mark.parametrize("name", cards.available(cards.HADRONS))
def test_weights_are_small_and_the_card_says_how_they_were_made(name: str) -> None:
    card, weights = cards.load(name)
    assert weights.stat().st_size <= 4_000_000
    assert card.training["command"].startswith("fastsim train ")
    config = data_folder() / "configs" / card.training["command"].split()[2]
    assert config.is_file()


@pytest.mark.parametrize(("flavour", "pt"), [(2, 40.0), (-5, 150.0), (21, 600.0)])
def test_means_are_pythias(model: fastsim.HadronSource, flavour: int, pt: float) -> None:
    num = NUM // 4 if model.kind == "primary-flow" else NUM  # a fifth of a minute for gluons as it is
    real = PythiaGun().sample(partons(num, flavour, pt), rng=np.random.default_rng(11))
    generated = model.sample(partons(num, flavour, pt), rng=12)
    for a, b in (
        (real.counts.astype(float), generated.counts.astype(float)),
        (mass(real.sums()), mass(generated.sums())),
        (real.sums()[:, 1], generated.sums()[:, 1]),
    ):
        error = np.sqrt((a.var() + b.var()) / num)
        # five standard errors and the 2% that a good model may be off
        assert abs(a.mean() - b.mean()) < 5 * error + 0.02 * abs(a.mean())


def test_particles_are_stable_species_on_their_mass_shells(model: fastsim.HadronSource) -> None:
    found = model.sample(partons(100 if model.kind == "primary-flow" else 400, 21, 500.0), rng=3)
    assert set(np.abs(found.pdg_id).tolist()) <= set(STABLE)
    scale = found.p4[:, 0] * 1e-7 + 1e-9
    assert (np.abs(mass(found.p4) ** 2 - masses(found.pdg_id) ** 2) < 1e-6 * found.p4[:, 0] ** 2 + scale).all()


def test_threads_do_not_change_a_bit(model: fastsim.HadronSource) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(model.sample(partons(64, 4, 90.0), rng=5))
    finally:
        torch.set_num_threads(before)
    assert (results[0].p4 == results[1].p4).all() and (results[0].pdg_id == results[1].pdg_id).all()
