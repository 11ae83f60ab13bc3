"""Blocks, chains and choices: names, shapes, files, gradients, and what they say of bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictSequential
from torch import Tensor, nn

from fastsim.blocks import files
from fastsim.blocks.block import Block
from fastsim.blocks.chain import Chain
from fastsim.blocks.choice import Choice
from fastsim.errors import PipelineError, WeightsError


class Affine(nn.Module):
    """y = scale x + shift, a module of a user."""

    def __init__(self, scale: float, shift: float = 0.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach().round()


def affine(source: str, target: str, scale: float = 2.0, **shapes: Any) -> Block:
    return Block(
        Affine(scale, 1.0),
        {source: shapes.get("takes", (2,))},
        {target: shapes.get("gives", (2,))},
        name=f"to-{target}",
    )


def mlp(source: str, target: str, **options: Any) -> Block:
    return Block("mlp", {source: (2,)}, {target: (2,)}, name=f"{source}-{target}", options={"width": 8, **options})


def test_chain_hands_on_by_name_in_the_order_of_need() -> None:
    chain = Chain([affine("b", "c", 3.0), affine("a", "b", 2.0)])
    assert chain.inputs == {"a": (2,)} and list(chain.outputs) == ["b", "c"]
    batch = chain(TensorDict({"a": torch.ones(4, 2), "other": torch.zeros(4)}, [4]))
    assert batch["c"].eq(3.0 * (2.0 + 1.0) + 1.0).all() and batch["b"].eq(3.0).all() and "other" in batch
    b, c = chain(a=torch.ones(4, 2))
    assert c.eq(10.0).all() and b.eq(3.0).all()


def test_chains_nest_and_other_tensordict_modules_take_them() -> None:
    inner = Chain([affine("a", "b"), affine("b", "c")], name="inner")
    outer = Chain([inner, affine("c", "d")])
    assert outer(a=torch.zeros(1, 2))[-1].tolist() == [[7.0, 7.0]]
    assert TensorDictSequential(inner, affine("c", "d"))(TensorDict({"a": torch.zeros(1, 2)}, [1]))["d"].tolist() == [
        [7.0, 7.0]
    ]


def test_a_chain_is_one_graph_to_torch_compile() -> None:
    """Nothing in it breaks the graph, and the compiled chain gives the same: tensors, a TensorDict, and derivatives."""
    chain = Chain(
        [
            Block("mlp", {"x": (3,)}, {"h": (4,)}, name="one"),
            Block("mlp", {"x": (3,), "h": (4,)}, {"y": ()}, name="two"),
        ]
    )
    compiled = torch.compile(chain, backend="eager", fullgraph=True)
    x = torch.randn(5, 3, requires_grad=True)
    plain, graph = chain(x=x), compiled(x=x)
    for one, two in zip(plain, graph, strict=True):
        torch.testing.assert_close(one, two)
    torch.testing.assert_close(*(torch.autograd.grad(y.sum(), x)[0] for y in (plain[1], graph[1])))
    torch.testing.assert_close(compiled(TensorDict({"x": x.detach()}, [5]))["y"], plain[1].detach())


def test_choice_runs_a_path_or_a_mixture() -> None:
    choice = Choice({"two": affine("a", "b", 2.0), "five": affine("a", "b", 5.0)}, name="scale")
    chain = Chain([choice, affine("b", "c", 1.0)])
    a = torch.ones(3, 2)
    choice.path = "five"
    assert chain(a=a)[0].eq(6.0).all()
    choice.path = torch.tensor([0.25, 0.75])
    assert chain(a=a)[0].eq(0.25 * 3 + 0.75 * 6).all()
    chosen = chain.chosen({"scale": "two"})
    assert chosen(a=a)[0].eq(3.0).all() and not chosen.choices() and list(chain.choices()) == ["scale"]
    assert chosen.state_dict().keys() < chain.state_dict().keys() or len(list(chosen.parameters())) == 2


def test_saved_and_loaded_blocks_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_blocks_package.py").write_text(
        "from torch import nn\nclass Scale(nn.Module):\n"
        "    def __init__(self, by):\n        super().__init__(); self.by = by\n"
        "    def forward(self, x):\n        return self.by * x\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    user = Block("my_blocks_package:Scale", {"c": (2,)}, {"d": (2,)}, name="user", options={"by": 3.0})
    choice = Choice({"small": mlp("b", "c"), "large": mlp("b", "c", width=16)}, name="size")
    chain = Chain([mlp("a", "b"), choice, user], name="pair")
    chain(a=torch.randn(64, 2))  # moves the running means
    card = files.save(chain, tmp_path / "out", training={"seed": 3}, metrics={"auc": 0.5})
    loaded = files.load(card)
    a = torch.randn(5, 2)
    assert isinstance(loaded, Chain)
    results = loaded(a=a)
    for one, two in zip(chain.eval()(a=a), results, strict=True):
        assert torch.equal(one, two)
    assert torch.equal(results[2], 3.0 * results[1])
    values = json.loads(card.read_text())
    assert values["training"] == {"seed": 3} and values["metrics"] == {"auc": 0.5}
    assert sorted(path.name for path in card.parent.iterdir()) == ["pair.json", "pair.safetensors"]


def test_altered_weights_and_cards_are_refused(tmp_path: Path) -> None:
    card = files.save(mlp("a", "b"), tmp_path)
    weights = card.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match="weights were altered"):
        files.load(card)
    weights.unlink()
    with pytest.raises(WeightsError, match=r"its weights 'a-b.safetensors' are not beside it"):
        files.load(card)
    card.write_text("{}")
    with pytest.raises(WeightsError, match="is no card of a block"):
        files.load(card)


@pytest.mark.parametrize("kind", ["os:system", "builtins:eval", "pathlib:Path"])
def test_a_card_cannot_call_what_is_no_module_of_torch(kind: str) -> None:
    config = {"kind": kind, "name": "b", "inputs": {"a": []}, "outputs": {"b": []}, "options": {"command": "false"}}
    with pytest.raises(PipelineError, match="is no class of torch modules"):
        files.build(config)


def test_a_block_of_a_module_object_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="block 'to-b' was made of a Affine object"):
        files.save(affine("a", "b"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_gradient_agrees_with_finite_differences_through_three_blocks() -> None:
    torch.manual_seed(0)
    chain = Chain([mlp("a", "b"), mlp("b", "c"), mlp("c", "d")]).double().eval()
    torch.set_default_dtype(torch.float64)
    try:
        a = torch.randn(4, 2)
        gradient = chain.gradient(TensorDict({"a": a}, [4]), "d", "a")
        step = 1e-6 * torch.tensor([1.0, 0.0])
        difference = (chain(a=a + step)[-1] - chain(a=a - step)[-1]).sum(1) / 2e-6
        torch.testing.assert_close(gradient[:, 0], difference, rtol=1e-6, atol=1e-9)
    finally:
        torch.set_default_dtype(torch.float32)


def test_gradient_names_the_block_that_has_none() -> None:
    rounded = Block(Rounded(), {"b": (2,)}, {"c": (2,)}, name="rounded")
    chain = Chain([affine("a", "b"), Chain([rounded, affine("c", "d")], name="inner")])
    batch = TensorDict({"a": torch.ones(2, 2)}, [2])
    with pytest.raises(PipelineError, match="'d' has no derivative by 'a': block 'rounded' is not differentiable"):
        chain.gradient(batch, "d", "a")
    assert chain.gradient(batch, "b", "a").eq(2.0).all()
    with pytest.raises(PipelineError, match="'x' is no input of 'chain'"):
        chain.gradient(batch, "d", "x")


class Coin(nn.Module):
    """1 with the probability sigmoid(x), from a normal number; and the log-probability of what came."""

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        chance = torch.sigmoid(x)
        heads = 0.5 * (1 + torch.erf(noise / 2**0.5)) < chance
        return heads.double(), torch.where(heads, chance, 1 - chance).log()


def coin() -> Block:
    return Block(Coin(), {"x": (), "noise": ()}, {"heads": (), "log_prob_coin": ()}, name="coin")


def test_scores_make_the_mean_gradient_that_of_the_mean() -> None:
    """E[3 heads + 1 + 2 x] has the derivative 3 s (1 - s) + 2 by x, of which the path alone gives 2."""

    class Sum(nn.Module):
        def forward(self, heads: Tensor, x: Tensor) -> Tensor:
            return 3 * heads + 1 + 2 * x

    chain = Chain([coin(), Block(Sum(), {"heads": (), "x": ()}, {"y": ()}, name="sum")])
    num = 20000
    rng = torch.Generator().manual_seed(1)
    x = torch.full((num,), 0.7, dtype=torch.float64)
    batch = TensorDict({"x": x, "noise": torch.randn(num, generator=rng, dtype=torch.float64)}, [num])
    chance = float(torch.sigmoid(x[0]))
    found = chain.gradient(batch, "y", "x")
    error = float(found.std()) / num**0.5
    assert abs(float(found.mean()) - 3 * chance * (1 - chance) - 2) < 3 * error < 0.1
    assert chain.gradient(batch, "y", "x", scores=False).eq(2.0).all()
    heads = chain.gradient(batch, "heads", "x")
    assert abs(float(heads.mean()) - chance * (1 - chance)) < error
    one = chain.gradient(batch[:1], "heads", "x")
    assert float(one) == pytest.approx(float(chain(batch[:1].clone())["heads"]) * (1 - chance))
    with pytest.raises(PipelineError, match="'heads' has no derivative by 'x': what is between them is discrete"):
        chain.gradient(batch, "heads", "x", scores=False)


def test_a_derivative_is_not_taken_around_a_block_that_has_none() -> None:
    class Add(nn.Module):
        def forward(self, a: Tensor, c: Tensor) -> Tensor:
            return a + c

    rounded = Block(Rounded(), {"b": (2,)}, {"c": (2,)}, name="rounded")
    chain = Chain([affine("a", "b"), rounded, Block(Add(), {"a": (2,), "c": (2,)}, {"d": (2,)}, name="add")])
    with pytest.raises(PipelineError, match="'d' has no derivative by 'a': block 'rounded' is not differentiable"):
        chain.gradient(TensorDict({"a": torch.ones(2, 2)}, [2]), "d", "a")


BAD: list[tuple[Any, str]] = [
    (lambda: Chain([]), "chain 'chain' has no blocks"),
    (lambda: Chain([affine("a", "b"), affine("b", "a")]), "blocks need each other: 'to-b' <- 'to-a' <- 'to-b'"),
    (lambda: Chain([affine("a", "b"), affine("a", "b")]), "two blocks have the name 'to-b'"),
    (
        lambda: Chain([affine("a", "b"), mlp("x", "b")]),
        "blocks 'to-b' and 'x-b' both give 'b': rename one",
    ),
    (
        lambda: Chain([affine("a", "b"), affine("b", "c", takes=(3,))]),
        "block 'to-c' takes 'b' of shape (3,), but block 'to-b' gives (2,)",
    ),
    (
        lambda: Chain([affine("a", "b"), affine("a", "c", takes=(3,))]),
        "block 'to-c' takes 'a' of shape (3,), but another block takes (2,)",
    ),
    (lambda: Choice({"one": affine("a", "b")}, name="pick"), "choice 'pick' has 1 candidates: there is nothing to"),
    (
        lambda: Choice({"one": affine("a", "b"), "two": affine("a", "c")}, name="pick"),
        "choice 'pick': candidate 'two' gives c (2), but 'one' gives b (2)",
    ),
    (lambda: Block(Affine(1.0), {"a": (2,)}, {}, name="b"), "block 'b' has no outputs"),
    (lambda: Block(Affine(1.0), {"a": (0,)}, {"b": ()}, name="b"), "block 'b': input 'a': (0,) is no shape"),
    (
        lambda: Block("no-such", {"a": (2,)}, {"b": ()}, name="b"),
        "block 'b': unknown kind 'no-such': there are cross-att",
    ),
    (
        lambda: Block("mlp", {"a": (2,)}, {"b": ()}, name="b", options={"wide": 3}),
        "got an unexpected keyword argument 'w",
    ),
    (lambda: Block("nowhere:Net", {"a": (2,)}, {"b": ()}, name="b"), "module 'nowhere' cannot be imported"),
    (lambda: Block("torch.nn:Lineal", {"a": (2,)}, {"b": ()}, name="b"), "module 'torch.nn' has no 'Lineal'"),
    (
        lambda: affine("a", "b")(TensorDict({"x": torch.ones(3, 2)}, [3])),
        "block 'to-b' needs 'a', which the batch has not",
    ),
    (
        lambda: affine("a", "b")(a=torch.ones(3, 5)),
        "block 'to-b': input 'a' has shape (events, 5), must be (events, 2)",
    ),
    (
        lambda: affine("a", "b", gives=(3,))(a=torch.ones(3, 2)),
        "block 'to-b': output 'b' has shape (events, 2), must be",
    ),
    (
        lambda: Block(Affine(1.0), {"a": ()}, {"b": (), "c": ()}, name="b")(a=torch.ones(3)),
        "block 'b' returned 1 tensors for 2 outputs: b, c",
    ),
    (
        lambda: Chain([affine("a", "b")]).requiring({}),
        "block 'to-b' needs 'a', which neither the data nor a block gives",
    ),
    (
        lambda: Chain([affine("a", "b")]).requiring({"a": (3,)}),
        "block 'to-b' takes 'a' of shape (2,), but the data has",
    ),
    (lambda: Chain([affine("a", "b")]).requiring({"a": (2,)}, ["z"]), "no block of 'chain' gives 'z': there are b"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_mistakes_are_one_line_that_names_the_block(make: Any, message: str) -> None:
    with pytest.raises(PipelineError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)
