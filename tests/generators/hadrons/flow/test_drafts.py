"""Sampling that can be differentiated: against finite differences with the same noise, and against ordinary samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fastsim.event import Partons
from fastsim.event.frames import to_axis
from generators.hadrons.count_shapes import least_masses
from generators.hadrons.flow.drafts import Draft, total_momentum
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.latent import Latent
from generators.hadrons.latent import total_momentum as reference_total
from generators.hadrons.tokens import TokenSample, parton_energy

NAMES = ("pt", "rapidity", "phi", "features", "azimuth", "noise")
NUM = 6


@pytest.fixture(scope="module")
def partons(sample: TokenSample) -> Partons:
    angles = np.linspace(-1.0, 2.0, NUM)
    return Partons.from_pt_eta_phi(sample.flavour[:NUM], sample.pt[:NUM], angles, angles[::-1])


@pytest.fixture
def draft(model: PrimaryFlow, partons: Partons, sample: TokenSample) -> Draft:
    # latents of Pythia's sets: those of an untrained model leave no room for the masses
    return model.draft(partons, rng=1, latent=Latent.of(sample[:NUM]))


def test_hadrons_of_a_draft_have_the_total_that_parton_and_latent_say(
    model: PrimaryFlow, draft: Draft, partons: Partons, sample: TokenSample
) -> None:
    with torch.no_grad():
        p4 = model.momenta(draft).numpy()
    tokens = draft.tokens
    mass2 = p4[:, 0] ** 2 - (p4[:, 1:] ** 2).sum(1)
    np.testing.assert_allclose(mass2, tokens.mass**2, atol=1e-9 * p4[:, 0].max() ** 2)
    in_axis = to_axis(p4, tokens.offsets, partons)
    sums = np.add.reduceat(in_axis, tokens.offsets[:-1], axis=0)
    latent = Latent.of(sample[:NUM])
    np.testing.assert_allclose(sums, latent.total, rtol=1e-7, atol=1e-7 * sums[:, 0].max())
    assert draft.pdg_id.shape == (len(p4),) and (tokens.counts == latent.counts.sum(1)).all()


def test_derivatives_agree_with_finite_differences(model: PrimaryFlow, draft: Draft) -> None:
    weights = torch.randn(len(draft.pdg_id), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        weights /= model.momenta(draft)[:, 0].mean()

    def value(changed: Draft) -> Tensor:
        return (weights * model.momenta(changed)).sum()

    leaves = {name: getattr(draft, name).clone().requires_grad_() for name in NAMES}
    value(replace(draft, **leaves)).backward()  # type: ignore[no-untyped-call]
    rng = np.random.default_rng(3)
    for name, leaf in leaves.items():
        # along a random direction, so that one difference tests every entry
        direction = torch.from_numpy(rng.standard_normal(leaf.shape)) * (leaf.detach() if name == "pt" else 1.0)
        step, base = 1e-3, leaf.detach()
        with torch.no_grad():
            both = [value(replace(draft, **{name: base + sign * step * direction})) for sign in (1, -1)]
        difference = float((both[0] - both[1]) / (2 * step))
        assert leaf.grad is not None
        assert float((leaf.grad * direction).sum()) == pytest.approx(difference, rel=2e-2, abs=2e-3), name


def test_weights_have_derivatives_too(model: PrimaryFlow, draft: Draft) -> None:
    p4 = model.momenta(draft)
    value = (p4[:, 1] * p4[:, 2]).sum() / 1e3
    value.backward()  # type: ignore[no-untyped-call]
    weight = model.flow.network.leave.weight
    assert weight.grad is not None
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(4))
    expected = float((weight.grad * direction).sum())
    results = []
    with torch.no_grad():
        for sign in (1, -1):
            weight += sign * 1e-3 * direction
            p4 = model.momenta(draft)
            results.append(float((p4[:, 1] * p4[:, 2]).sum() / 1e3))
            weight -= sign * 1e-3 * direction
    assert expected == pytest.approx((results[0] - results[1]) / 2e-3, rel=2e-2, abs=1e-3)


def test_total_momentum_is_that_of_the_latent(sample: TokenSample) -> None:
    latent, energy = Latent.of(sample), parton_energy(sample.flavour, sample.pt)
    azimuth, zero = np.linspace(-3, 3, len(latent)), np.zeros(len(latent))
    least, none = least_masses(latent.counts), np.full(len(latent), np.nan)
    expected = reference_total(latent.features, least, none, energy, azimuth, zero, none)
    given = (torch.from_numpy(a) for a in (latent.features, least, none, energy, azimuth))
    np.testing.assert_allclose(total_momentum(*given).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_draft_draws_its_own_latents(model: PrimaryFlow, partons: Partons) -> None:
    draft = model.draft(partons, rng=4)
    latent = model.draw_latent(partons, np.random.default_rng(4))
    np.testing.assert_array_equal(draft.tokens.species_counts(), latent.counts)
    np.testing.assert_array_equal(draft.features.numpy(), latent.features)
    assert len(draft.pdg_id) == len(draft.noise) == draft.tokens.counts.sum()
