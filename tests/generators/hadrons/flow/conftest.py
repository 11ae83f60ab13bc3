"""A small flow with weights that are not zero, and token sets to condition it on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.flow.network import SetFlow, coordinates
from generators.hadrons.flow.train import given_of
from generators.hadrons.gun import token_sample
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.tokens import TokenSample
from tests.helpers.flow import CONFIG, DOMAIN, LATENT


@pytest.fixture(scope="session")
def sample() -> TokenSample:
    rng = np.random.default_rng(1)
    return token_sample(rng.choice([1, 4, 5, 21], 90), np.exp(rng.uniform(1.7, 7.3, 90)), seed=2)


@pytest.fixture
def flow(sample: TokenSample) -> SetFlow:
    """Make a flow whose weights are not zero."""
    torch.manual_seed(1)
    result, given = SetFlow(CONFIG), given_of(sample)
    result.set_scales(given, coordinates(sample, given))
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return result.eval()


@pytest.fixture
def model(flow: SetFlow) -> PrimaryFlow:
    torch.manual_seed(9)
    latent = LatentModel(**LATENT)
    return PrimaryFlow("tiny", DOMAIN, latent, flow, latent_config=LATENT).eval()
