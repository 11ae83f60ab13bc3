"""Samples use the weights as they are now, whatever copies a model keeps for speed."""

from __future__ import annotations

import copy
import pickle
import threading
import timeit
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fastsim.event import Partons
from fastsim.registry import load_model, load_showers
from fastsim.sources.hadrons import HadronSource
from fastsim.sources.showers import Incidents, ShowerSource
from generators.nn.derived import Derived

PARTONS = Partons.from_pt_eta_phi(
    np.array([21, -2, 5, -4]), np.array([30.0, 500.0, 100.0, 1500.0]), np.array([0.0, 2.0, -1.0, 0.3]), np.arange(4.0)
)
HITS = Incidents.perpendicular(22, np.array([1.5, 10.0, 60.0]))


def hadrons(model: HadronSource) -> NDArray[Any]:
    return model.sample(PARTONS, rng=np.random.default_rng(5)).p4


def deposits(model: ShowerSource) -> NDArray[Any]:
    return model.sample(HITS, rng=np.random.default_rng(5))


def in_place(module: nn.Module) -> None:
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(1.05)


def optimiser_step(module: nn.Module) -> None:
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for weight in module.parameters():
        weight.requires_grad_(True)
        weight.grad = weight.detach().clone()
    optimiser.step()


def loaded(module: nn.Module) -> None:
    module.load_state_dict({name: 1.05 * value for name, value in module.state_dict().items()})


def assigned(module: nn.Module) -> None:
    module.load_state_dict({name: 1.05 * value for name, value in module.state_dict().items()}, assign=True)


MODELS: dict[str, tuple[Callable[[Any], NDArray[Any]], Callable[[str], Any], Callable[[Any], nn.Module]]] = {
    "hadron-tree": (hadrons, load_model, lambda model: model),
    "hadron-tree-small": (hadrons, load_model, lambda model: model),
    "hadron-diffusion": (hadrons, load_model, lambda model: model),
    "pb-si-cascade": (deposits, load_showers, lambda model: model.cascade),
}


@pytest.mark.parametrize("change", [in_place, optimiser_step, loaded, assigned])
@pytest.mark.parametrize("name", MODELS)
def test_weights_changed_are_weights_used(name: str, change: Callable[[nn.Module], None]) -> None:
    sample, load, module = MODELS[name]
    model, fresh = load(name), load(name)
    before = sample(model)
    change(module(model))
    after = sample(model)
    module(fresh).load_state_dict(module(model).state_dict())  # it has not sampled yet: it holds no copy
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, sample(fresh))


@pytest.mark.parametrize("name", MODELS)
def test_copies_have_weights_of_their_own(name: str) -> None:
    sample, load, module = MODELS[name]
    model = load(name)
    before = sample(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(sample(other), before)
        in_place(module(other))
        assert not np.array_equal(sample(other), before)
    np.testing.assert_array_equal(sample(model), before)


@pytest.mark.parametrize("name", ["hadron-tree-small", "pb-si-cascade"])
def test_threads_sample_side_by_side_after_a_change(name: str) -> None:
    sample, load, module = MODELS[name]
    model = load(name)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            in_place(module(model))
            results = list(pool.map(lambda _: sample(model), range(8)))
            for result in results:
                np.testing.assert_array_equal(result, results[0])


def test_one_thread_builds_and_the_others_wait() -> None:
    built, barrier = [], threading.Barrier(4)

    def build(module: nn.Module) -> int:
        built.append(module)
        return len(built)

    derived, module = Derived(build), nn.Linear(2, 2)

    def ask(_: int) -> int:
        barrier.wait()
        return derived.of(module)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [1, 1, 1, 1]
        in_place(module)
        assert list(pool.map(ask, range(4))) == [2, 2, 2, 2]


def test_what_is_noticed() -> None:
    builds: list[tuple[object, ...]] = []
    derived = Derived(lambda module, *options: builds.append(options))
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    derived.of(net)
    derived.of(net)
    assert len(builds) == 1
    net[1].running_mean.add_(1)  # type: ignore[operator]
    derived.of(net)
    assert len(builds) == 2
    net[0].bias = nn.Parameter(torch.zeros(2))
    derived.of(net)
    assert len(builds) == 3
    net[0] = nn.Linear(2, 2)
    derived.of(net)
    assert len(builds) == 4
    with torch.no_grad():
        net[0].weight.add_(1)  # type: ignore[operator]
    derived.of(net)
    assert len(builds) == 5
    derived.of(net, "float32")
    assert builds[5:] == [("float32",)]
    derived.of(copy.deepcopy(net), "float32")
    assert len(builds) == 7
    net[0].weight.data.add_(1)  # type: ignore[operator]  # torch does not count this
    derived.of(net, "float32")
    derived.forget()
    derived.of(net, "float32")
    assert len(builds) == 9
    with torch.inference_mode():
        uncounted = nn.Linear(2, 2)
    derived.of(uncounted)
    derived.of(uncounted)
    assert len(builds) == 10


def test_looking_for_changes_costs_little() -> None:
    model = load_model("hadron-tree")
    derived = Derived(lambda module: None)
    derived.of(model.net)  # type: ignore[attr-defined]
    fastest = min(timeit.repeat(lambda: derived.of(model.net), number=100, repeat=20)) / 100  # type: ignore[attr-defined]
    assert fastest < 3e-4, "0.05 ms where nothing else runs"
