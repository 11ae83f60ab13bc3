"""Latents as a function of the parton."""

from __future__ import annotations

import numpy as np
import torch

from fastsim.event import Partons
from fastsim.registry import load_model
from generators.hadrons.derivative import condition_of, latent_of
from generators.hadrons.source import PrimaryModel


def test_conditions_and_totals_are_those_that_the_model_draws_with() -> None:
    model = load_model("hadron-tree-small")
    assert isinstance(model, PrimaryModel)
    pt = np.array([20.0, 55.0, 300.0])
    flavour = np.array([21, 5, 1])
    found = condition_of(flavour, torch.from_numpy(pt))
    torch.testing.assert_close(found, model.latent_model.condition(flavour, pt, pt), rtol=1e-6, atol=1e-6)
    latent = model.latent(Partons.from_pt_eta_phi(flavour, pt, np.zeros(3), np.zeros(3)), rng=4)
    total, features, log_prob = latent_of(model.latent_model, flavour, torch.from_numpy(pt), latent)
    np.testing.assert_allclose(total.detach().numpy(), latent.total, rtol=1e-6, atol=1e-6)
    assert np.array_equal(features.detach().numpy(), latent.features)
    assert log_prob.shape == (3,) and (log_prob < 0).all()
