"""The search methods on problems whose answers are known, and their formulas against closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fastsim.errors import PipelineError
from fastsim.extras import installed
from fastsim.search import grid, pareto
from fastsim.search.asng import CategoricalASNG
from fastsim.search.darts import second_order_gradient
from fastsim.search.spos import Genes, evolve
from fastsim.search.tpe import tpe
from fastsim.search.trial import Combination, Trial, Trials, combinations

SPACE = {"a": ("x", "y", "z"), "b": ("u", "v"), "c": ("p", "q", "r", "s")}
WORTH = {"x": 0.1, "y": 0.7, "z": 0.3, "u": 0.0, "v": 0.5, "p": 0.2, "q": 0.1, "r": 0.9, "s": 0.3}
BEST = {"a": "y", "b": "v", "c": "r"}


def trial(combination: Combination, flops: float = 1.0) -> Trial:
    score = sum(WORTH[label] for label in combination.values())
    return Trial(combination, score, score, 0.01, flops, 10, 0.5)


class Counting:
    """An evaluation that counts its calls."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.calls: list[Combination] = []
        self.stop_after = stop_after

    def __call__(self, combination: Combination) -> Trial:
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        self.calls.append(combination)
        return trial(combination)


def test_grid_and_random_find_the_best_and_try_nothing_twice() -> None:
    done = grid.run(grid.grid(SPACE), Counting(), Trials(None, {}))
    assert len(done) == 24 and max(done, key=lambda t: t.score).combination == BEST
    some = grid.sampled(SPACE, 10, seed=3)
    assert len({json.dumps(one) for one in some}) == 10 and some == grid.sampled(SPACE, 10, seed=3)
    assert some != grid.sampled(SPACE, 10, seed=4)


@pytest.mark.skipif(not installed("optuna"), reason="the extra search is not installed")
def test_tpe_finds_the_best_with_fewer_trials_than_the_grid_and_the_same_for_a_seed() -> None:
    evaluate, again = Counting(), Counting()
    done = tpe(SPACE, evaluate, Trials(None, {}), num=24, seed=2)
    assert max(done, key=lambda t: t.score).combination == BEST
    assert len(evaluate.calls) < 24 and len(done) == len(evaluate.calls)
    tpe(SPACE, again, Trials(None, {}), num=24, seed=2)
    assert again.calls == evaluate.calls


def test_a_stopped_search_goes_on_and_refuses_another_file(tmp_path: Path) -> None:
    file = tmp_path / "trials.jsonl"
    first = Counting(stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        grid.run(grid.grid(SPACE), first, Trials(file, {"seed": 1}))
    with file.open("a") as half:
        half.write('{"combination": {"a"')  # a kill in the middle of a line
    second = Counting()
    done = grid.run(grid.grid(SPACE), second, Trials(file, {"seed": 1}))
    assert len(first.calls) == 5 and len(second.calls) == 19 and len(done) == 24
    assert done == grid.run(grid.grid(SPACE), Counting(), Trials(None, {}))
    with pytest.raises(PipelineError, match="is of a search with other settings"):
        Trials(file, {"seed": 2})
    (tmp_path / "other").write_text('{"settings": {}}\nhello\n')
    with pytest.raises(PipelineError, match="is no file of trials"):
        Trials(tmp_path / "other", {})


def test_a_space_of_one_is_refused() -> None:
    with pytest.raises(PipelineError, match="the search space has one combination"):
        combinations({"a": ["x"], "b": ["u"]})


def test_evolution_finds_the_best_of_many_with_few_scores() -> None:
    """15,625 combinations with a separable score of known maximum."""
    table = np.random.default_rng(5).normal(size=(6, 5))
    target = tuple(int(row.argmax()) for row in table)

    def score(genes: Genes) -> float:
        return float(sum(table[place, gene] for place, gene in enumerate(genes)))

    found, scores = evolve([5] * 6, score, np.random.default_rng(1))
    assert found == target and len(scores) <= 1000
    again, _ = evolve([5] * 6, score, np.random.default_rng(1))
    assert again == found
    everything = evolve([3, 2], lambda genes: -abs(genes[0] - 1) - genes[1], np.random.default_rng(1))
    assert everything[0] == (1, 0) and len(everything[1]) == 6


def test_asng_gathers_at_the_best_categories() -> None:
    """Ten variables of four categories; the loss counts those that are not the wanted one."""
    wanted = np.random.default_rng(3).integers(0, 4, 10)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        distribution = CategoricalASNG([4] * 10)
        for _ in range(1500):
            drawn = [distribution.draw(rng) for _ in range(2)]
            distribution.update(drawn, [float((np.array(one) != wanted).sum()) for one in drawn])
        assert distribution.most_likely() == wanted.tolist()
        for theta in distribution.theta:
            assert theta.sum() == pytest.approx(1.0) and theta.min() > 0.0
        assert np.mean([theta.max() for theta in distribution.theta]) > 0.8


def test_asng_step_is_the_natural_gradient_of_the_trust_region_length() -> None:
    distribution = CategoricalASNG([3], initial=0.1)
    before = distribution.theta[0].copy()
    distribution.update([[0], [1]], [1.0, 2.0])
    step = distribution.theta[0] - before
    gradient = ((np.eye(3)[0] - before) - (np.eye(3)[1] - before)) / 2
    np.testing.assert_allclose(step, 0.1 * gradient / np.sqrt((gradient**2 / before).sum()), rtol=1e-9)
    distribution.update([[0], [1]], [1.0, 1.0])  # nothing to learn from equal losses
    np.testing.assert_array_equal(distribution.theta[0] - before, step)


def test_second_order_gradient_of_darts_against_the_closed_form() -> None:
    """L_train = |w - alpha|^2 / 2 and L_val = |w|^2 / 2: w' = w - xi (w - alpha), so dL/dalpha = xi w'."""
    w = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)

    def train() -> Tensor:
        return 0.5 * (w - alpha).square().sum()

    def validation() -> Tensor:
        return 0.5 * w.square().sum() + 0.0 * alpha.sum()

    for xi in (0.1, 0.7):
        (found,) = second_order_gradient(train, validation, [w], [alpha], xi)
        expected = xi * (w - xi * (w - alpha))
        torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=1e-9)
    assert w.tolist() == [2.0, -1.0]


def test_pareto_front_of_known_trials() -> None:
    points = [(1.0, 0.2), (2.0, 0.5), (2.0, 0.4), (3.0, 0.5), (4.0, 0.9), (5.0, 0.1)]
    trials = [Trial({"a": str(k)}, score, score, 0.01, flops, 1, 1.0) for k, (flops, score) in enumerate(points)]
    assert [t.combination["a"] for t in pareto.front(trials)] == ["0", "1", "4"]
    lines = pareto.table(trials, "auc")
    assert lines[1].startswith("* a=4") and "0.9000 +- 0.0100" in lines[1] and sum(li[0] == "*" for li in lines) == 4
    picture = pareto.picture(trials, "auc")
    assert picture.count("<circle") == 6 and "nan" not in picture
    assert pareto.picture(trials[:1], "auc").count("<circle") == 1


def test_pareto_front_in_processor_time() -> None:
    """Operations and time disagree: what is slow for its operations leaves the front."""
    rows = [(1.0, 9.0, 0.2), (2.0, 3.0, 0.5), (3.0, 4.0, 0.4)]  # FLOPs, ms, score
    trials = [Trial({"a": str(k)}, s, s, 0.01, flops, 1, 1.0, ms) for k, (flops, ms, s) in enumerate(rows)]
    assert [t.combination["a"] for t in pareto.front(trials)] == ["0", "1"]
    assert [t.combination["a"] for t in pareto.front(trials, pareto.TIME)] == ["1"]
    lines = pareto.table(trials, "auc", pareto.TIME)
    assert "CPU ms/event" in lines[0] and lines[1].startswith("* a=1") and lines[2].startswith("  a=2")
    assert "CPU ms/event" in pareto.picture(trials, "auc", pareto.TIME)
    with pytest.raises(PipelineError, match="trial a=9: its CPU ms/event was not measured"):
        pareto.front([*trials, Trial({"a": "9"}, 0.1, 0.1, 0.01, 1.0, 1, 1.0)], pareto.TIME)
