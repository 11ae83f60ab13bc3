"""A model of tunes for tests: the small tree model that ships, with effects of parameters drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch

import fastsim
from generators.hadrons.tree.model import PrimaryTree


def tilted(
    names: Sequence[str],
    *,
    seed: int = 1,
    size: float = 0.15,
    model: str = "hadron-tree-small",
    without_effect: Sequence[str] = (),
) -> PrimaryTree:
    """Return a model of tunes that is ``model`` at Monash and something else, though no Pythia, at other tunes.

    Args:
        names: of its parameters.
        seed: of its random weights.
        size: of these.
        model: what it is at Monash.
        without_effect: those of the parameters that change nothing.
    """
    base = fastsim.load_model(model)
    assert isinstance(base, PrimaryTree)
    result = PrimaryTree.build("tilted", base.domain, {**base.config(), "tune": list(names)})
    result.take_weights(base)
    rng, theirs = torch.Generator().manual_seed(seed), base.state_dict()
    for key, own in result.state_dict().items():
        wider = [axis for axis in range(own.dim()) if own.shape[axis] != theirs[key].shape[axis]]
        if wider and own.dim() > 1:
            first = result.tune_columns[key.split(".")[0]]
            columns = own.narrow(wider[0], first, len(names))
            columns.add_(size * torch.randn(columns.shape, generator=rng))
            for name in without_effect:
                columns.narrow(wider[0], list(names).index(name), 1).zero_()
    return result.eval()
