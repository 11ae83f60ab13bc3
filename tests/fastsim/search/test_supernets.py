"""One-shot searches on a problem whose best path is known exactly: no weights can make up for a wrong candidate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastsim.blocks.block import Block
from fastsim.blocks.chain import Chain
from fastsim.blocks.choice import Choice
from fastsim.blocks.losses import Loss
from fastsim.blocks.problem import Problem, tensors
from fastsim.search.asng import ASNG
from fastsim.search.darts import DARTS
from fastsim.search.spos import SPOS
from fastsim.search.supernet import Supernet, ranked_by


class Fixed(nn.Module):
    """A function and an offset that is to be learned to be 0."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.offset = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(x) + self.offset
        return result


def choice(name: str, source: str, target: str, **functions: Any) -> Choice:
    return Choice(
        {label: Block(Fixed(f), {source: ()}, {target: ()}, name=f"{name}-{label}") for label, f in functions.items()},
        name=name,
    )


def problem(seed: int) -> Problem:
    """y = (2 x)^2 in two steps."""
    chain = Chain(
        [
            choice("scale", "x", "h", half=lambda x: 0.5 * x, one=lambda x: x, double=lambda x: 2 * x),
            choice("form", "h", "y", same=lambda h: h, magnitude=torch.abs, square=torch.square),
        ]
    )

    def split(number: int) -> Any:
        x = torch.rand(256, generator=torch.Generator().manual_seed(number)) * 2 - 1
        return tensors({"x": x.numpy(), "true_h": (2 * x).numpy(), "true_y": (4 * x**2).numpy()}, "data")

    losses = (Loss("h", "mean-square", "h", "true_h"), Loss("y", "mean-square", "y", "true_y"))
    data = {"train": split(1), "validation": split(2), "test": split(3)}
    return Problem(chain, data, losses, losses[1], batch_size=64, seed=seed)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        (SPOS, {"num_steps": 200}),
        (ASNG, {"num_steps": 200}),
        (DARTS, {"num_steps": 150, "alpha_rate": 0.05}),
        (DARTS, {"num_steps": 100, "alpha_rate": 0.05, "order": 2}),
    ],
    ids=["spos", "asng", "darts-1", "darts-2"],
)
def test_the_known_path_is_found(method: type[Supernet], options: dict[str, Any], seed: int) -> None:
    search = method(problem(seed), learning_rate=0.02, **options)
    found = search.run()
    assert found[0] == {"scale": "double", "form": "square"}
    assert len({tuple(combination.values()) for combination in found}) == len(found) > 2
    assert search.seconds > 0


def test_combinations_are_ranked_by_their_weights() -> None:
    ranked = ranked_by(problem(0), [[0.1, 0.6, 0.3], [0.45, 0.5, 0.05]])
    labels = [tuple(combination.values()) for combination in ranked]
    assert labels[:3] == [("one", "magnitude"), ("one", "same"), ("double", "magnitude")] and len(labels) == 5


def test_a_path_is_scored_with_statistics_of_its_own_inputs() -> None:
    """What standardises h has seen it of both candidates, 1 and 5: for a path it is told that of the path."""
    standardised = Block("mlp", {"h": ()}, {"y": ()}, name="form", options={"num_layers": 0})
    made = problem(0)
    shifts = choice("scale", "x", "h", one=lambda x: 0 * x + 1, five=lambda x: 0 * x + 5)
    losses = (Loss("y", "mean-square", "y", "true_y"),)
    search = SPOS(Problem(Chain([shifts, standardised]), made.data, losses, losses[0], batch_size=64), num_steps=300)
    norm: Any = standardised.module.standardise
    for step in range(300):
        search.update(step)
    assert 2.0 < norm.running_mean.item() < 4.6
    modules: dict[str, Any] = {label: shifts[label].module for label in shifts.labels}
    for label, mean in (("one", 1.0), ("five", 5.0)):
        search.calibrated({"scale": label})
        assert norm.running_mean.item() == pytest.approx(mean + modules[label].offset.item(), abs=1e-3)
