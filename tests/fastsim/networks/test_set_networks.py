"""What holds for every network of sets: order, padding, gradients, invariances."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastsim.blocks.block import Block
from fastsim.errors import PipelineError
from fastsim.named import load_object
from fastsim.networks import CATALOGUE
from fastsim.networks.layers import Outputs, Standardise
from fastsim.networks.lorentz import products
from fastsim.networks.pairs import pair_features, wrapped

SETS = tuple(kind for kind in CATALOGUE if kind != "mlp")
INPUTS: dict[str, Any] = {"features": ("particles", 3), "mask": ("particles",), "p4": ("particles", 4)}
OUTPUTS: dict[str, Any] = {"logit": (), "shift": ("particles", 2), "jet": (4,)}


def network(kind: str, **options: Any) -> Any:
    torch.manual_seed(5)
    return load_object(CATALOGUE[kind], kind).of_shapes(INPUTS, OUTPUTS, width=16, **options).double().eval()


def sets(num: int = 6, size: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Return features of charges and the like, masks of 1 to 9 particles, and massive four-momenta."""
    rng = torch.Generator().manual_seed(2)
    momenta = 20.0 * torch.randn(num, size, 3, generator=rng, dtype=torch.float64)
    masses = 0.1 + torch.rand(num, size, generator=rng, dtype=torch.float64)
    energy = (momenta.square().sum(-1) + masses**2).sqrt()
    features = torch.randn(num, size, 3, generator=rng, dtype=torch.float64)
    counts = torch.arange(num) + 1
    counts[-1] = size
    return features, torch.arange(size) < counts[:, None], torch.cat([energy[..., None], momenta], dim=-1)


def boosted(p4: Tensor) -> Tensor:
    """Boost along z with beta = 0.6, then turn about x."""
    e, x, y, z = p4.unbind(-1)
    e, z = 1.25 * (e - 0.6 * z), 1.25 * (z - 0.6 * e)
    return torch.stack([e, x, 0.8 * y - 0.6 * z, 0.6 * y + 0.8 * z], dim=-1)


@pytest.mark.parametrize("kind", SETS)
def test_order_does_not_matter(kind: str) -> None:
    features, mask, p4 = sets()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    model = network(kind)
    logit, shift, jet = model(features, mask, p4)
    logit_2, shift_2, jet_2 = model(features[:, order], mask[:, order], p4[:, order])
    assert logit.shape == (6,) and jet.shape == (6, 4) and shift.shape == (6, 9, 2)
    torch.testing.assert_close(logit_2, logit)
    torch.testing.assert_close(jet_2, jet)
    torch.testing.assert_close(shift_2, shift[:, order])
    assert logit.std() > 1e-4 and shift[mask].std() > 1e-4


@pytest.mark.parametrize("kind", SETS)
def test_padding_has_no_influence(kind: str) -> None:
    features, mask, p4 = sets()
    model = network(kind)
    results = model(features, mask, p4)
    other = model(torch.where(mask[..., None], features, torch.nan), mask, torch.where(mask[..., None], p4, 1e6))
    for one, two in zip(results, other, strict=True):
        torch.testing.assert_close(one, two)
    assert (results[1][~mask] == 0).all()
    # one set alone, without its padding
    alone = model(features[1:2, :2], mask[1:2, :2], p4[1:2, :2])
    for one, two in zip(results, alone, strict=True):
        torch.testing.assert_close(one[1:2, :2] if one.dim() == 3 else one[1:2], two)


@pytest.mark.parametrize("kind", SETS)
def test_gradients_are_finite_and_reach_every_parameter(kind: str) -> None:
    features, mask, p4 = sets()
    mask[2] = False  # an empty set
    p4[3, 1] = p4[3, 0]  # two particles in one place
    p4.requires_grad_()
    model = network(kind)
    sum(result.square().sum() for result in model(features, mask, p4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
    if model.needs_p4 and kind != "edge-convolution":  # there they only choose the neighbours
        assert p4.grad is not None and torch.isfinite(p4.grad).all()


def test_lorentz_network_is_invariant_and_others_are_not() -> None:
    features, mask, p4 = sets()
    model = network("lorentz", scalars=[1])
    for one, two in zip(model(features, mask, p4), model(features, mask, boosted(p4)), strict=True):
        torch.testing.assert_close(one, two)
    assert not torch.allclose(model(features, mask, p4)[0], model(features, mask, 1.1 * p4)[0])
    transformer = network("particle-transformer")
    assert not torch.allclose(transformer(features, mask, p4)[0], transformer(features, mask, boosted(p4))[0])


def test_boost_of_this_test_keeps_products() -> None:
    p4 = sets()[2]
    torch.testing.assert_close(products(boosted(p4), boosted(p4)), products(p4, p4))
    assert not torch.allclose(boosted(p4), p4)


def test_pair_features_of_two_known_particles() -> None:
    # y = 0, phi = 3 and -3: 2 pi - 6 apart across the seam; pT = 4 and 1, massless
    phi = torch.tensor([3.0, -3.0], dtype=torch.float64)
    pt = torch.tensor([4.0, 1.0], dtype=torch.float64)
    p4 = torch.stack([pt, pt * phi.cos(), pt * phi.sin(), torch.zeros(2, dtype=torch.float64)], dim=-1)
    delta = 2 * torch.pi - 6
    expected = torch.tensor([delta, delta, 0.2, 2 * 4 * (1 - torch.cos(torch.tensor(delta)))], dtype=torch.float64)
    torch.testing.assert_close(pair_features(p4[None])[0, 0, 1].exp(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(wrapped(torch.tensor([6.0, -6.0])), torch.tensor([6 - 2 * torch.pi, 2 * torch.pi - 6]))


def test_edge_convolution_sees_its_neighbours_alone() -> None:
    """One layer and one neighbour: moving a third particle far away changes nothing for the other two."""
    torch.manual_seed(3)
    outputs: dict[str, Any] = {"shift": ("particles", 2)}
    model = load_object(CATALOGUE["edge-convolution"], "").of_shapes(
        INPUTS, outputs, width=8, num_layers=1, num_neighbours=1
    )
    features, mask = torch.randn(1, 3, 3), torch.ones(1, 3, dtype=torch.bool)

    def at(phi: float) -> Tensor:
        angles = torch.tensor([0.0, 0.1, phi])
        return torch.stack([torch.ones(3), angles.cos(), angles.sin(), torch.zeros(3)], dim=-1)[None]

    (far,), (farther,) = (
        model(features, mask, at(1.0)),
        model(features + torch.tensor([0, 0, 1.0])[:, None], mask, at(2.0)),
    )
    (near,) = model(features, mask, at(0.05))
    assert far.shape == farther.shape
    torch.testing.assert_close(far[0, :2], model(features, mask, at(2.0))[0][0, :2])
    assert not torch.allclose(far[0, :2], near[0, :2])


def test_cross_attention_puts_particles_into_the_nearest_subjet() -> None:
    model = load_object(CATALOGUE["cross-attention"], "").of_shapes(INPUTS, {"logit": ()}, width=8, num_subjets=2)
    angle = torch.tensor([0.0, 0.1, 2.0])
    pt = torch.tensor([5.0, 1.0, 3.0])
    p4 = torch.stack([pt, pt * angle.cos(), pt * angle.sin(), torch.zeros(3)], dim=-1)[None]
    features = torch.arange(9.0).view(1, 3, 3)
    subjets, filled = model._subjets(features, torch.ones(1, 3, dtype=torch.bool), p4)
    assert filled.all()
    first = p4[0, :2].sum(0)
    assert subjets[0, 0, 0].item() == pytest.approx(float((first[1] ** 2 + first[2] ** 2).log()), rel=1e-5)
    assert subjets[0, :, 4:].tolist() == [[1.5, 2.5, 3.5], [6.0, 7.0, 8.0]]


def test_statistics_are_right_after_few_batches() -> None:
    norm = Standardise(2)
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([3.0, 0.01]) + 50.0
    for batch in x.reshape(10, 40, 2):
        expected = (batch - batch.mean(0)) / (batch.var(0, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(norm(batch), expected, atol=1e-3, rtol=1e-3)
    done = norm.eval()(x)
    assert done.mean(0).abs().max() < 0.01 and done.std(0).tolist() == pytest.approx([1.0, 0.95], abs=0.03)
    # later it forgets: the last batches count
    for _ in range(400):
        norm.train()(torch.zeros(8, 2))
    assert norm.running_mean is not None and 0.1 < norm.running_mean[0] < 1.0


def test_axes_of_subjets_keep_their_distance() -> None:
    """Two hard particles of one prong are one subjet, and the softer prong is found; with radius 0 they are two."""
    angle = torch.tensor([0.0, 0.1, 2.0, 2.1])
    pt = torch.tensor([5.0, 4.0, 3.0, 2.0])
    p4 = torch.stack([pt, pt * angle.cos(), pt * angle.sin(), torch.zeros(4)], dim=-1)[None]
    features, mask = torch.zeros(1, 4, 3), torch.ones(1, 4, dtype=torch.bool)
    sums = {}
    for radius in (0.2, 0.0):
        model = load_object(CATALOGUE["cross-attention"], "").of_shapes(
            INPUTS, {"logit": ()}, width=8, num_subjets=3, subjet_radius=radius
        )
        subjets, filled = model._subjets(features, mask, p4)
        sums[radius] = (subjets[0, :, 0] / 2).exp()[filled[0]].tolist()
    assert sums[0.2] == pytest.approx([9.0, 5.0], rel=0.01)
    assert sums[0.0] == pytest.approx([5.0, 4.0, 5.0], rel=0.01)


def test_cross_attention_takes_subjets_that_are_given() -> None:
    """Given what the network would find inside, with the same weights, it says the same."""
    features, mask, p4 = sets()
    inside = network("cross-attention", num_subjets=4)
    subjets, filled = inside._subjets(features, mask, p4)
    shapes = {**INPUTS, "subjets": ("subjets", 7), "subjet_mask": ("subjets",)}
    given = load_object(CATALOGUE["cross-attention"], "").of_shapes(shapes, OUTPUTS, width=16).double().eval()
    given.load_state_dict(inside.state_dict())
    results = given(features, mask, p4, subjets, filled)
    for one, two in zip(results, inside(features, mask, p4), strict=True):
        torch.testing.assert_close(one, two)
    # padding and order of the subjets say nothing, a subjet does
    order = torch.tensor([2, 0, 3, 1])
    padded = torch.where(filled[..., None], subjets, torch.nan)[:, order]
    torch.testing.assert_close(given(features, mask, p4, padded, filled[:, order])[0], results[0])
    other = given(features, mask, p4, subjets + 1.0, filled)[0]
    assert (other - results[0]).abs().min() > 1e-6


def test_mixer_takes_more_particles_than_places() -> None:
    features, mask, p4 = sets()
    model = network("mixer", num_places=4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(model(features, mask, p4)[0], model(features[:, order], mask[:, order], p4[:, order])[0])


@pytest.mark.parametrize("kind", CATALOGUE)
def test_outputs_are_read_off_a_latent(kind: str) -> None:
    torch.manual_seed(1)
    inputs = {"x": (5,)} if kind == "mlp" else INPUTS
    options = {"width": 8, "latent": "z"}
    block = Block(kind, inputs, {"momentum": (4,), "z": (3,)}, name="b", options=options).eval()
    features, mask, p4 = (value.float() if value.is_floating_point() else value for value in sets())
    given = (
        {"x": features[:, 0].repeat(1, 2)[:, :5]} if kind == "mlp" else {"features": features, "mask": mask, "p4": p4}
    )
    momentum, z = block(**given)
    head = next(part for part in block.modules() if getattr(part, "latent", None) == "z")
    assert isinstance(head, Outputs)
    torch.testing.assert_close(head.linear(z), momentum)


@pytest.mark.parametrize(
    ("kind", "inputs", "options", "message"),
    [
        ("mlp", {"x": ("n", 4)}, {}, "block 'b': kind 'mlp': an mlp takes and gives arrays of fixed size, but 'x' has"),
        ("deep-sets", {"x": (4,), "mask": ("n",)}, {}, "a network of sets takes features"),
        ("lorentz", {"x": ("n", 4), "mask": ("n",)}, {}, "needs the four-momenta"),
        ("lorentz", INPUTS, {"scalars": [3]}, "the features have columns 0 to 2"),
        ("particle-transformer", INPUTS, {"width": 6}, "width=6 is no multiple of num_heads=4"),
        ("self-attention", INPUTS, {"width": 6}, "width=6 is no multiple of num_heads=4"),
        ("cross-attention", {**INPUTS, "s": ("m",), "t": ("m",)}, {}, 'subjets are given as ("m", G) and their mask'),
        ("mlp", {"x": (4,)}, {"latent": "z"}, "latent='z' is none of the outputs"),
    ],
)
def test_bad_shapes_and_options_are_one_line(kind: str, inputs: Any, options: Any, message: str) -> None:
    with pytest.raises(PipelineError) as error:
        Block(kind, inputs, {"y": ()}, name="b", options=options)
    assert message in str(error.value) and "\n" not in str(error.value)
