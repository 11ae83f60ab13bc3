"""Losses, their weightings, and problems: right values, and what they say of bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from fastsim.blocks.block import Block
from fastsim.blocks.chain import Chain
from fastsim.blocks.losses import Loss, auc, auc_error
from fastsim.blocks.problem import SPLITS, Joint, Problem, tensors
from fastsim.blocks.weighting import (
    NEED_A_GOAL,
    WEIGHTINGS,
    DynamicAverage,
    GradientCosine,
    GradNorm,
    Uncertainty,
    Weighting,
    weighting,
)
from fastsim.errors import PipelineError


class Scale(nn.Module):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.log()


def problem(**changes: Any) -> Problem:
    x = torch.linspace(-1.0, 1.0, 40)
    data = {
        name: tensors({"x": x.numpy(), "two_x": 2 * x.numpy(), "up": (x > 0).numpy()}, name)
        for name in ("train", "validation", "test")
    }
    chain = Chain(
        [Block(Scale(), {"x": ()}, {"y": ()}, name="first"), Block(Scale(3.0), {"y": ()}, {"z": ()}, name="second")]
    )
    losses = (Loss("y", "mean-square", "y", "two_x"), Loss("z", "binary-cross-entropy", "z", "up", weight=0.5))
    values = {"chain": chain, "data": data, "losses": losses, "figure": Loss("f", "auc", "z", "up"), "batch_size": 8}
    return Problem(**{**values, **changes})


def test_joint_loss_is_the_weighted_sum() -> None:
    made = problem()
    batch = made.batch(0)
    parts = Joint(made).loss(batch)
    y = batch["x"]
    expected = (y - 2 * y).square().mean() + 0.5 * nn.functional.binary_cross_entropy_with_logits(
        3 * y, batch["up"].float()
    )
    torch.testing.assert_close(parts["loss"].detach(), expected)
    assert parts["weight/y"] == 1.0 and set(batch.keys()) == {"x", "two_x", "up"}


def test_batches_show_each_event_once_an_epoch_and_depend_on_the_step_alone() -> None:
    made = problem()
    epoch = torch.cat([made.batch(step)["x"] for step in range(5)])
    torch.testing.assert_close(epoch.sort().values, made.data["train"]["x"])
    assert torch.equal(made.batch(7)["x"], problem().batch(7)["x"])
    assert not torch.equal(made.batch(5)["x"], made.batch(0)["x"])
    assert not torch.equal(problem(seed=1).batch(0)["x"], made.batch(0)["x"])


def test_auc_and_its_error_against_resampling() -> None:
    rng = torch.Generator().manual_seed(1)
    signal, background = torch.randn(400, generator=rng) + 1.0, torch.randn(500, generator=rng)
    output = torch.cat([signal, background])
    target = torch.cat([torch.ones(400), torch.zeros(500)])
    direct = (signal[:, None] > background).double().mean()
    torch.testing.assert_close(auc(output, target), direct)
    assert abs(float(direct) - 0.5 * (1 + math.erf(0.5))) < 4 * auc_error(output, target)
    draws = []
    for _ in range(300):
        one, two = torch.randint(400, (400,), generator=rng), torch.randint(500, (500,), generator=rng)
        draws.append((signal[one][:, None] > background[two]).double().mean())
    assert auc_error(output, target) == pytest.approx(float(torch.stack(draws).std()), rel=0.15)
    assert float(auc(torch.ones(4), torch.tensor([0, 1, 0, 1]))) == 0.5


def test_uncertainty_weights_settle_at_the_losses() -> None:
    """For constant losses the minimum over s_i is at exp(s_i) = L_i."""
    module = Uncertainty(2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.2)
    losses = torch.tensor([0.25, 4.0])
    for _ in range(300):
        optimizer.zero_grad()
        module(losses, []).backward()
        optimizer.step()
    torch.testing.assert_close(module.log_variance.exp().detach(), losses, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(module.weights(), 0.5 / losses, rtol=1e-3, atol=1e-3)


def test_gradnorm_makes_gradients_alike() -> None:
    """Losses 10 w and w fall alike: the weights settle where 10 w_1 = w_2, with w_1 + w_2 = 2."""
    module = GradNorm(2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02)
    shared = nn.Parameter(torch.ones(()))
    for _ in range(500):
        optimizer.zero_grad()
        total = module(torch.stack([10.0 * shared, shared]), [shared])
        total.backward()
        optimizer.step()
    weights = module.weights()
    assert weights.sum().item() == pytest.approx(2.0)
    assert (10 * weights[0] / weights[1]).item() == pytest.approx(1.0, abs=0.1)
    assert shared.grad is not None  # the sum of losses still reaches what they share


def test_dynamic_average_raises_what_falls_slowly() -> None:
    module = DynamicAverage(2, window=2, temperature=2.0)
    for value in (1.0, 1.0, 0.5, 0.5):
        module(torch.tensor([1.0, value]), [])
    rates = torch.tensor([1.0, 0.5])
    torch.testing.assert_close(module.weights(), 2 * (rates / 2).softmax(0))


def test_gradient_cosine_of_known_gradients() -> None:
    """Losses w.(3, 4), w.(0, 2) and w.(-1, 0): the second lies at a cosine of 4 / 5, the third points away."""
    shared, frozen = nn.Parameter(torch.ones(2)), torch.ones(())
    slopes = torch.tensor([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]])
    module = GradientCosine(3, goal=[0])
    total = module(slopes @ shared, [shared])
    torch.testing.assert_close(module.weights(), torch.tensor([1.0, 0.8, 0.0]))
    total.backward()
    torch.testing.assert_close(shared.grad, slopes[0] + 0.8 * slopes[1])
    # two losses of the goal count as their sum, (3, 6); what is not trained has no direction
    module = GradientCosine(3, goal=[0, 1])
    module(torch.stack([slopes[0] @ shared, slopes[1] @ shared, frozen]), [shared])
    assert module.weights().tolist() == [1.0, 1.0, 0.0]
    module = GradientCosine(2)
    module(slopes[:2] @ shared, [shared])
    assert module.weights().tolist() == [1.0, 1.0]


def descended(module: Weighting, auxiliary: Callable[[Tensor], Tensor]) -> list[float]:
    """Return where 200 steps from 0 lead of two numbers, whose goal is 1 and is steep in the first alone."""
    shared = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([shared], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        goal = (torch.tensor([0.5, 5e-4]) * (shared - 1).square()).sum()
        module(torch.stack([auxiliary(shared), goal]), [shared]).backward()
        optimizer.step()
    return [float(value) for value in shared.detach()]


def test_gradient_cosine_takes_what_helps_and_leaves_what_hurts() -> None:
    def helps(x: Tensor) -> Tensor:
        return 0.5 * (x[1] - 1).square()

    def hurts(x: Tensor) -> Tensor:
        return 2.0 * (x[0] + 1).square()

    def nothing(x: Tensor) -> Tensor:
        return 0.0 * x.sum()

    alone = descended(Weighting(2), nothing)
    assert alone == pytest.approx([1.0, 0.02], abs=0.002)  # 1 - 0.9999^200 in the flat direction
    assert descended(Weighting(2), hurts)[0] == pytest.approx(-0.6)  # where 0.5 (x - 1)^2 + 2 (x + 1)^2 is least
    assert descended(GradientCosine(2, goal=[1]), hurts) == pytest.approx(alone, abs=1e-3)
    assert descended(GradientCosine(2, goal=[1]), helps) == pytest.approx([1.0, 1.0], abs=0.01)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_weighting_trains_a_chain_to_its_answer(name: str) -> None:
    made = problem(weighting=name)
    joint = Joint(made)
    optimizer = torch.optim.Adam(joint.parameters(), lr=0.03)
    for step in range(300):
        optimizer.zero_grad()
        joint.loss(made.batch(step))["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    first = next(made.chain.parameters())
    # the second loss would have it larger: how much it gets is what the weightings differ in
    if name in NEED_A_GOAL:
        assert first.item() > 2.5
    else:
        assert first.item() == pytest.approx(2.0, abs=0.5)
    assert made.value("test")[0] == 1.0


def test_a_loss_that_is_not_finite_names_the_block() -> None:
    chain = Chain(
        [Block(Scale(), {"x": ()}, {"y": ()}, name="scale"), Block(Logarithm(), {"y": ()}, {"z": ()}, name="log")]
    )
    made = problem(chain=chain)
    with pytest.raises(PipelineError, match="loss 'z' is nan: block 'log' is the first to give what is not finite"):
        Joint(made).loss(made.batch(0))
    far = problem(chain=Chain([Block(Scale(1e30), {"x": ()}, {"y": ()}, name="scale"), *list(problem().chain)[1:]]))
    with pytest.raises(PipelineError, match=r"loss 'y' is inf: 'y' of block 'scale' is as large as .*; lower"):
        Joint(far).loss(far.batch(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": ()}, "there are no losses"),
        ({"losses": (Loss("l", "mean-square", "nothing", "x"),)}, "no block of 'chain' gives 'nothing'"),
        ({"losses": (Loss("l", "auc", "z", "up"),)}, "loss 'l': auc is a figure of merit, not a loss"),
        ({"weighting": "fair"}, "unknown weighting 'fair': there are fixed, uncertainty, gradnorm, dynamic-average"),
        (
            {"weighting": "gradient-cosine", "losses": (Loss("l", "mean-square", "y", "x"),)},
            "weighting 'gradient-cosine': no loss is of 'z', which the figure of merit is of, so there is none",
        ),
        ({"losses": (Loss("l", "mean-square", "y", "x", weight=0.0),)}, "the weights of all losses are 0: nothing"),
        ({"data": {"train": TensorDict({"x": torch.ones(3)}, [3])}}, "the data has no 'validation'"),
    ],
)
def test_bad_problems_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError) as error:
        problem(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("split", "name", "values", "message"),
    [
        ("train", "x", [1.0, math.nan, math.inf, 0.0], "data 'train': 'x' is not finite in 2 events"),
        ("test", "two_x", [1.0, 2.0, math.nan, 0.0], "data 'test': 'two_x' is not finite in 1 events"),
        ("validation", "x", None, "data 'validation': block 'first' needs 'x', which neither the data nor a block"),
        ("test", "up", None, "data 'test': no block of 'chain' gives 'up': there are y, z"),
        ("validation", "x", [[1.0], [2.0], [3.0], [4.0]], "data 'validation': block 'first' takes 'x' of shape ()"),
    ],
)
def test_bad_events_of_any_split_are_one_line(split: str, name: str, values: Any, message: str) -> None:
    data = {key: part[:4].clone() for key, part in problem().data.items()}
    if values is None:
        del data[split][name]
    else:
        data[split][name] = torch.tensor(values)
    with pytest.raises(PipelineError) as error:
        problem(data=data)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_bad_losses_and_data_are_one_line() -> None:
    with pytest.raises(PipelineError, match="loss 'l': unknown kind 'square'"):
        Loss("l", "square", "a", "b")
    with pytest.raises(PipelineError, match=r"loss 'l': 'a' has shape \(3, 2\), 'b' \(3,\)"):
        Loss("l", "mean-square", "a", "b")({"a": torch.ones(3, 2), "b": torch.ones(3)})
    with pytest.raises(PipelineError, match="data 'train': arrays of one length"):
        tensors({"a": [1.0, 2.0], "b": [1.0]}, "data 'train'")
    with pytest.raises(PipelineError, match="data 'train': 'a' is no array of numbers: can't convert"):
        tensors({"a": ["one", "two"]}, "data 'train'")
    with pytest.raises(PipelineError, match="data 'train': is a list: give arrays by name"):
        tensors([1.0], "data 'train'")  # type: ignore[arg-type]
    one_kind = {split: part.clone() for split, part in problem().data.items()}
    one_kind["test"]["up"][:] = True
    with pytest.raises(PipelineError, match="data 'test': the area under a curve needs events of both kinds"):
        problem(data=one_kind).value("test")
    with pytest.raises(PipelineError, match="needs events of both kinds"):
        auc(torch.ones(3), torch.ones(3))
    assert weighting("fixed", 2).weights().tolist() == [1.0, 1.0]


class Gaussian(nn.Module):
    """The log-density of x about a mean that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        return -0.5 * (x - self.mean) ** 2 - 0.5 * math.log(2 * math.pi)


def test_a_likelihood_is_a_loss_and_a_figure() -> None:
    chain = Chain([Block(Gaussian(), {"x": ()}, {"log_prob_x": ()}, name="density")])
    likelihood = Loss("nll", "negative-log-likelihood", "log_prob_x")
    made = problem(chain=chain, losses=(likelihood,), figure=likelihood)
    joint, optimizer = Joint(made), torch.optim.Adam(chain.parameters(), lr=0.05)
    for step in range(100):
        optimizer.zero_grad()
        joint.loss(made.batch(step))["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert next(chain.parameters()).item() == pytest.approx(0.0, abs=0.1)
    x = made.data["test"]["x"]
    value, error = made.value("test")
    assert value == pytest.approx(0.5 * float((x**2).mean()) + 0.5 * math.log(2 * math.pi), abs=0.01)
    assert math.isnan(error) and made.score("test") == -value
    with pytest.raises(PipelineError, match="loss 'l': a likelihood is against nothing"):
        Loss("l", "negative-log-likelihood", "log_prob_x", "x")
    with pytest.raises(PipelineError, match="loss 'l': missing key 'against'"):
        Loss("l", "mean-square", "x")


def test_the_frechet_distance_is_a_figure_with_its_error() -> None:
    rng = np.random.default_rng(1)
    data = {name: tensors({"x": rng.normal(size=(600, 2)), "true": rng.normal(size=(600, 2))}, name) for name in SPLITS}
    figure = Loss("f", "fpd", "y", "true")
    values = {}
    for factor in (1.0, 1.5):
        chain = Chain([Block(Scale(factor), {"x": (2,)}, {"y": (2,)}, name="scale")])
        made = Problem(chain, data, (Loss("y", "mean-square", "y", "true"),), figure)
        values[factor] = made.value("test")
    assert abs(values[1.0][0]) < 4 * values[1.0][1] < 0.02
    # standard deviations 1 and 1.5 of two features, in units of the largest absolute value of each
    scale = data["test"]["true"].abs().amax(0)
    assert values[1.5][0] == pytest.approx(float((0.5 / scale).square().sum()), rel=0.3)
    assert made.score("test") == -values[1.5][0]
    with pytest.raises(PipelineError, match="loss 'f': fpd is a figure of merit, not a loss"):
        Problem(made.chain, data, (figure,), figure)
    few = {name: part[:50] for name, part in data.items()}
    with pytest.raises(PipelineError, match="figure fpd: FPD needs at least 240 events a sample, got 50 and 50"):
        Problem(made.chain, few, made.losses, figure).value("test")


def energy_distance(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compare the particles of generated and of true sets, each with what sums over its set, as two samples."""

    def described(values: torch.Tensor) -> torch.Tensor:
        some = (values != 0).any(2, keepdim=True).float()
        return torch.cat([values.sum(1), values.square().sum(1), some.sum(1)], dim=1)

    one, two = described(output), described(target)
    between = torch.cdist(one, two).mean()
    return 2 * between - torch.cdist(one, one).mean() - torch.cdist(two, two).mean()


@pytest.mark.parametrize(
    "kind",
    ["deep-sets", "mixer", "self-attention", "edge-convolution", "particle-transformer", "cross-attention", "lorentz"],
)
def test_a_network_of_sets_is_a_generator(kind: str) -> None:
    """Noise of as many particles as the mask says becomes sets like the true ones: shifted by a width of their own."""
    rng = np.random.default_rng(1)

    def split(size: int) -> TensorDict:
        mask = np.arange(6) < rng.integers(2, 7, size)[:, None]
        true = np.where(mask[..., None], rng.normal([2.0, -1.0], [0.3, 1.0], (size, 6, 2)), 0.0)
        return tensors({"mask": mask, "true": true}, "data")

    shapes: dict[str, Any] = {"noise_particles": ("particles", 2), "mask": ("particles",)}
    if kind not in ("deep-sets", "mixer", "self-attention"):
        shapes["noise_p4"] = ("particles", 4)  # they need four-momenta, which are noise too
    torch.manual_seed(0)
    chain = Chain([Block(kind, shapes, {"made": ("particles", 2)}, name="generator", options={"width": 16})])
    distance = Loss("distance", f"{__name__}:energy_distance", "made", "true")
    data = {name: split(512) for name in ("train", "validation", "test")}
    made = Problem(chain, data, (distance,), distance, batch_size=128)
    joint, optimizer = Joint(made), torch.optim.AdamW(chain.parameters(), lr=1e-2)
    before = made.value("test")[0]
    for step in range(250):
        optimizer.zero_grad()
        joint.loss(made.batch(step))["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert made.value("test")[0] < 0.03 * before
    (part,) = made.parts("test")
    drawn = chain(part)["made"][part["mask"]]
    assert drawn.mean(0).tolist() == pytest.approx([2.0, -1.0], abs=0.25)
    assert drawn.std(0)[1] > 1.5 * drawn.std(0)[0]
    # other noise, other sets
    others = {name: torch.randn_like(part[name]) for name in shapes if name.startswith("noise")}
    other = chain(part.clone().update(others))["made"]
    assert (other[part["mask"]] - drawn).abs().mean() > 0.1
