"""Pipelines from a TOML file: train, search, run and show, through the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from fastsim import pipelines
from fastsim.blocks import files
from fastsim.cli import main
from fastsim.errors import PipelineError, WeightsError

MODULE = '''
import numpy as np

def data(*, num=600, seed=1):
    """h = x0 x1, and the label says whether |h| is large: both steps need more than a linear map."""
    rng = np.random.default_rng(seed)
    def split(size):
        x = rng.uniform(-1, 1, (size, 2))
        h = x[:, :1] * x[:, 1:]
        return {"x": x, "true_h": 3 * h, "large": np.abs(h[:, 0]) > 0.2}
    return {"train": split(num), "validation": split(num // 2), "test": split(num // 2)}

def broken(**options):
    return 3
'''

TOML = """
seed = 3

[data]
source = "data_of_a_pipeline_test:data"
num = 600

[blocks.product]
inputs = { x = [2] }
outputs = { h = [1] }
[blocks.product.candidates]
linear = { kind = "mlp", num_layers = 0 }
mlp = { kind = "mlp", width = 24 }

[blocks.label]
inputs = { h = [1] }
outputs = { logit = [] }
[blocks.label.candidates]
linear = { kind = "mlp", num_layers = 0 }
mlp = { kind = "mlp", width = 16 }

[losses.product]
kind = "mean-square"
of = "h"
against = "true_h"
[losses.label]
kind = "binary-cross-entropy"
of = "logit"
against = "large"

[figure]
kind = "auc"
of = "logit"
against = "large"

[training]
batch_size = 100
num_steps = 150
learning_rate = 0.02
ema_decay = 0.9

[search]
num_steps = 240
learning_rate = 0.02
"""
BEST = {"product": "mlp", "label": "mlp"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data_of_a_pipeline_test.py").write_text(MODULE)
    (tmp_path / "p.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "data_of_a_pipeline_test", raising=False)
    return tmp_path


def test_train_run_and_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--choose", "product=mlp", "--choose", "label=mlp"]
    assert main(["pipeline", "train", "p.toml", "-o", "out", *chosen]) == 0
    printed = capsys.readouterr()
    card = Path(printed.out.strip())
    values = json.loads(card.read_text())
    assert values["metrics"]["value"] > 0.9 and values["training"]["combination"] == BEST
    # the same command is done already, another one is refused
    again, _ = pipelines.train("p.toml", "out", combination=BEST)
    assert again.value == values["metrics"]["value"]
    assert main(["pipeline", "train", "p.toml", "-o", "out", "--set", "seed=4", *chosen]) == 1
    assert "out: holds a run with other settings" in capsys.readouterr().err

    x = np.random.default_rng(1).uniform(-1, 1, (50, 2))
    with h5py.File("in.h5", "w") as file:
        file["x"], file["row"] = x, np.arange(50)
    assert main(["pipeline", "run", str(card), "in.h5", "-o", "out.h5"]) == 0
    with h5py.File("out.h5") as file:
        assert sorted(file) == ["h", "logit", "row", "x"]
        assert np.corrcoef(file["h"][:, 0], x[:, 0] * x[:, 1])[0, 1] > 0.9
        assert file["row"][()].tolist() == list(range(50))
    assert main(["pipeline", "run", str(card), "in.h5", "-o", "out.h5"]) == 1
    assert main(["pipeline", "run", str(card), "out.h5", "-o", "other.h5"]) == 0
    capsys.readouterr()

    assert main(["pipeline", "show", "p.toml", "-o", "p.svg"]) == 0
    text = capsys.readouterr().out
    assert "product: one of linear (3 numbers), mlp (" in text and "gives  logit ()" in text
    assert "h (1)" in Path("p.svg").read_text() and Path("p.svg").read_text().count("<rect") == 3
    assert main(["pipeline", "show", str(card)]) == 0
    assert "product: mlp" in capsys.readouterr().out


def test_a_training_starts_from_the_weights_of_another(folder: Path) -> None:
    changes: dict[str, Any] = {"training.num_steps": 50}
    _, card = pipelines.train("p.toml", "first", changes=changes, combination=BEST)
    # one step at a rate of 1e-9: what it gives is what it started from
    still: dict[str, Any] = {"training.num_steps": 1, "training.learning_rate": 1e-9, "seed": 5}
    fresh, _ = pipelines.train("p.toml", "fresh", changes=still, combination=BEST)
    tuned, second = pipelines.train("p.toml", "tuned", changes=still, combination=BEST, init=card)
    weights = [dict(files.load(path).named_parameters()) for path in (card, second)]
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-7)
    first = json.loads(card.read_text())
    assert tuned.value == pytest.approx(first["metrics"]["value"], abs=0.01) and fresh.value < tuned.value - 0.1
    assert json.loads(second.read_text())["training"]["init"] == first["sha256"]
    with pytest.raises(PipelineError, match="holds a run with other settings"):
        pipelines.train("p.toml", "tuned", changes=still, combination=BEST)
    with pytest.raises(PipelineError, match=r"block 'product': the weights of .* do not fit"):
        pipelines.train("p.toml", "other", changes=still, combination={**BEST, "product": "linear"}, init=card)
    with pytest.raises(WeightsError, match=r"p.toml: cannot be read as a card"):
        pipelines.train("p.toml", "other", changes=still, init="p.toml")


@pytest.fixture(scope="module")
def grid_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grid")


@pytest.mark.parametrize("method", ["grid", "spos", "asng"])
def test_every_method_finds_the_known_best(method: str, folder: Path, grid_folder: Path) -> None:
    found = pipelines.search("p.toml", grid_folder, method=method)
    assert found.best.combination == BEST
    assert found.best.value > 0.9 and found.best.score > 0.9
    assert len(found.trials) == (4 if method == "grid" else 2)
    if method == "grid":
        values = {trial.label: trial.value for trial in found.trials}
        assert all(value < found.best.value - 0.05 for label, value in values.items() if label != found.best.label)
    saved = json.loads((grid_folder / f"{method}.json").read_text())
    assert saved["best"]["combination"] == BEST and (grid_folder / f"{method}.svg").exists()
    # of two blocks of a few numbers: below a tenth of a millisecond an event on any machine
    assert all(0.0 < trial["milliseconds"] < 0.1 for trial in saved["trials"])


def test_second_order_darts_and_the_same_result_for_a_seed(folder: Path) -> None:
    changes: dict[str, Any] = {"search.order": 2, "search.num_steps": 30, "training.num_steps": 20}
    one = pipelines.search("p.toml", "one", method="darts", changes=changes)
    two = pipelines.search("p.toml", "two", method="darts", changes=changes)
    assert one.best.combination == two.best.combination
    assert (one.best.value, one.best.score) == (two.best.value, two.best.score)


@pytest.mark.parametrize("method", ["spos", "asng", "darts"])
def test_a_one_shot_search_goes_on_where_it_was_stopped(method: str, folder: Path) -> None:
    from fastsim.pipeline_file import problem_of, read
    from fastsim.pipelines import _supernet

    description = read("p.toml", {"search.num_steps": 12})

    def network() -> Any:
        return _supernet(method, description, problem_of(description))

    whole = network()
    whole.run()
    stopped = network()
    update = stopped.update

    def until_seven(step: int) -> None:
        if step == 7:
            raise KeyboardInterrupt
        update(step)

    stopped.update = until_seven
    with pytest.raises(KeyboardInterrupt):
        stopped.run(folder / "s", checkpoint_every=5)
    resumed = network()
    resumed.run(folder / "s", checkpoint_every=5)
    for one, two in zip(whole.joint.state_dict().values(), resumed.joint.state_dict().values(), strict=True):
        assert np.array_equal(one.numpy(), two.numpy())
    assert str(whole.state()) == str(resumed.state())
    other = _supernet(method, read("p.toml", {"search.num_steps": 13}), problem_of(description))
    with pytest.raises(PipelineError, match="is of a search with other settings"):
        other.run(folder / "s")


def test_pretraining_trains_the_steps_one_by_one_first(folder: Path) -> None:
    changes: dict[str, Any] = {"training.num_steps": 1, "training.pretrain_steps": 150}
    trial, _ = pipelines.train("p.toml", "out", changes=changes, combination=BEST)
    assert trial.value > 0.85
    assert sorted(path.name for path in Path("out/product.mlp-label.mlp").iterdir()) == [
        "joint",
        "pretrain-label",
        "pretrain-product",
    ]


def test_a_search_is_not_mixed_with_another(folder: Path) -> None:
    few = {"training.num_steps": 2}
    pipelines.search("p.toml", "out", method="random", changes=few | {"search.num_trials": 2})
    with pytest.raises(PipelineError, match="is of a search with other settings"):
        pipelines.search("p.toml", "out", method="grid", changes={"training.num_steps": 3})
    with pytest.raises(PipelineError, match="unknown cost 'money': there are flops, time"):
        pipelines.search("p.toml", "out", method="grid", changes=few, cost="money")
    found = pipelines.search("p.toml", "out", method="grid", changes=few, cost="time")
    assert "CPU ms/event" in Path("out/grid.svg").read_text()
    assert len(found.trials) == 4 and len(Path("out/trials.jsonl").read_text().splitlines()) == 5


def test_a_cluster_finds_what_one_process_finds(folder: Path) -> None:
    distributed = pytest.importorskip("distributed")
    few = {"training.num_steps": 5}
    here = pipelines.search("p.toml", "here", method="grid", changes=few)
    # two threads of one worker: each would draw its new weights from what the other seeded
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None, silence_logs=50
    ) as cluster:
        there = pipelines.search("p.toml", "there", method="grid", changes=few, scheduler=cluster.scheduler_address)
    assert [(t.combination, t.score, t.value) for t in there.trials] == [
        (t.combination, t.score, t.value) for t in here.trials
    ]
    assert len(Path("there/trials.jsonl").read_text().splitlines()) == 5
    with pytest.raises(PipelineError, match="tpe trains one network at a time: workers and a scheduler are for grid"):
        pipelines.search("p.toml", "there", method="tpe", changes=few, workers=2)


def test_steps_may_be_trained_one_by_one_alone(folder: Path) -> None:
    """The first block stays as its own loss made it, whatever the second one is to tell."""
    alone = {"training.pretrain_steps": 60, "training.num_steps": 0}
    first = {"training.pretrain_steps": 60, "training.num_steps": 0, "losses.label.against": "other"}
    Path("data_of_a_pipeline_test.py").write_text(MODULE.replace('"large"', '"other": h[:, 0] > 0, "large"'))
    states = []
    for name, changes in (("one", alone), ("two", first)):
        _, card = pipelines.train("p.toml", name, changes=changes, combination=BEST)
        states.append({key: value for key, value in files.load(card).state_dict().items() if "standardise" not in key})
    same = {key: torch.equal(states[0][key], states[1][key]) for key in states[0]}
    blocks = {key.split(".")[1] for key in same}
    assert len(blocks) == 2
    assert all(equal for key, equal in same.items() if key.startswith("blocks.0"))
    assert not any(equal for key, equal in same.items() if key.startswith("blocks.1") and "weight" in key)
    with pytest.raises(PipelineError, match="num_steps and pretrain_steps are 0: nothing would be trained"):
        pipelines.train("p.toml", "none", changes={"training.num_steps": 0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training.steps": 3}, "[training]: unknown key 'steps': allowed are batch_size"),
        ({"data": {"num": 3}}, "[data]: missing key 'source'"),
        ({"data.source": "data_of_a_pipeline_test:broken"}, "returned a int: give train, validation, test"),
        ({"data.size": 3}, "[data]: data() got an unexpected keyword argument 'size'"),
        ({"losses": {}}, "[losses] is empty"),
        ({"losses.label.against": "nothing"}, "no block of 'p' gives 'nothing'"),
        ({"blocks.label.inputs": {"g": [1]}}, "block 'label' needs 'g', which neither the data nor a block gives"),
        ({"blocks.label.inputs": {"h": [2]}}, "block 'label' takes 'h' of shape (2,), but block 'product' gives (1,)"),
        ({"blocks.label.kind": "mlp"}, "[blocks.label]: give a kind, or candidates"),
        ({"blocks.label.candidates": {"mlp": {"kind": "mlp"}}}, "choice 'label' has 1 candidates"),
        ({"blocks.label.candidates": {"a": {}, "b": {}}}, "block 'label (a)': missing key 'kind'"),
        ({"search.order": 3}, "order=3: DARTS is of order 1 or 2"),
        ({"seed.x": 3}, "seed.x: 'seed' is no table"),
        ({"seed": -1}, "seed = -1: give a whole number from 0"),
        ({"training.num_steps": "many"}, "[training]: num_steps = 'many': give a whole number from 0"),
        ({"training.batch_size": 0}, "[training]: batch_size = 0: give a whole number from 1"),
        ({"training.learning_rate": -1.0}, "[training]: learning_rate = -1.0: give a number from 0"),
        ({"training.ema_decay": 2}, "[training]: ema_decay = 2: give a number from 0 to 1"),
        ({"search.num_steps": 0}, "[search]: num_steps = 0: give a whole number from 1"),
        ({"losses.label.weight": "much"}, "[losses.label]: weight = 'much': give a number from 0"),
    ],
)
def test_mistakes_are_one_line_that_names_the_place(change: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(PipelineError) as error:
        pipelines.search("p.toml", "out", method="darts", changes={"search.num_steps": 1, **change})
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not list(Path("out").glob("darts*.json"))


def test_mistakes_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["search", "p.toml", "--method", "luck"], "unknown method 'luck': there are grid, random, tpe, spos, asng"),
        (["train", "p.toml", "--choose", "nothing=mlp"], "block 'nothing' has no candidates"),
        (["train", "p.toml", "--choose", "label=cnn"], "block 'label' has no candidate 'cnn'"),
        (["train", "p.toml", "--set", "seed"], "'seed': give NAME=VALUE"),
        (["show", "p.toml", "--set", "sed=1"], "unknown key 'sed'"),
    ):
        assert main(["pipeline", *words]) in (1, 2)
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    Path("bad.toml").write_text("a = ")
    assert main(["pipeline", "show", "bad.toml"]) == 1
    assert "bad.toml: cannot be read as TOML" in capsys.readouterr().err


def test_data_that_cannot_be_had_leave_the_folder_free(folder: Path) -> None:
    few: dict[str, Any] = {"training.num_steps": 2}
    with pytest.raises(PipelineError, match="module 'nowhere' cannot be imported"):
        pipelines.train("p.toml", "out", changes=few | {"data.source": "nowhere:data"}, combination=BEST)
    assert pipelines.train("p.toml", "out", changes=few, combination=BEST)[1].exists()


def test_a_checkpoint_of_other_search_settings_is_refused(folder: Path) -> None:
    few: dict[str, Any] = {"training.num_steps": 2, "search.num_steps": 3}
    for method in ("spos", "darts"):
        pipelines.search("p.toml", "out", method=method, changes=few)
        with pytest.raises(PipelineError, match=r"is of a search with other settings"):
            pipelines.search("p.toml", "out", method=method, changes=few | {"search.learning_rate": 0.5})
    # the orders of DARTS are two searches
    pipelines.search("p.toml", "out", method="darts", changes=few | {"search.order": 2})
    assert sorted(path.name for path in Path("out").glob("darts*.json")) == ["darts-1.json", "darts-2.json"]


def test_flops_of_a_linear_map_and_of_a_class_token() -> None:
    from fastsim.blocks.block import Block
    from fastsim.blocks.chain import Chain
    from fastsim.blocks.losses import Loss
    from fastsim.blocks.problem import Problem, tensors

    num, size = 8, 5
    arrays = {"features": np.ones((num, size, 3)), "mask": np.ones((num, size), bool), "p4": np.ones((num, size, 4))}
    data = {split: tensors({**arrays, "y": np.arange(num) % 2}, split) for split in ("train", "validation", "test")}
    inputs: dict[str, Any] = {"features": ("n", 3), "mask": ("n",), "p4": ("n", 4)}
    transformer = Block("particle-transformer", inputs, {"logit": ()}, name="t", options={"width": 8})
    linear = Block("mlp", {"logit": ()}, {"z": (2,)}, name="l", options={"num_layers": 0})
    figure = Loss("f", "auc", "logit", "y")
    losses = (Loss("b", "binary-cross-entropy", "logit", "y"),)
    alone = pipelines.flops(Problem(Chain([transformer]), data, losses, figure))
    both = pipelines.flops(Problem(Chain([transformer, linear]), data, losses, figure))
    assert both - alone == 2 * 1 * 2 and alone > 1000
    assert all(parameter.requires_grad for parameter in transformer.parameters())


WAYS = """
[ways.product]
"blocks.label.inputs" = { h = [1] }
[ways.both]
"blocks.label.inputs" = { h = [1], x = [2] }
[ways.nothing]
"blocks.label.inputs" = { x = [2] }
"blocks.label.candidates.mlp.num_layers" = 0
"""


def test_ways_are_compared_with_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.toml").write_text(TOML + WAYS)
    words = ["pipeline", "compare", "p.toml", "-o", "out", "--seeds", "2", "--choose", "product=mlp", "--choose"]
    assert main([*words, "label=mlp"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["product", "both", "nothing"]
    points = json.loads(Path("out/comparison.json").read_text())
    # a linear map of x says nothing of |x0 x1|
    assert points[0]["mean"] > 0.9 and abs(points[2]["mean"] - 0.5) < 0.1
    assert len(points[0]["values"]) == 2 and points[0]["values"][0] != points[0]["values"][1]
    assert 0 < points[0]["test_error"] < 0.05 and points[0]["place"] is None
    # 2 x 24, 24 x 24 and 24 x 1, then 1 x 16, 16 x 16 and 16 x 1, with offsets
    assert points[0]["parameters"] == 2 * 24 + 24 + 24 * 25 + 25 + 32 + 16 * 17 + 17
    assert "numbers" in lines[0] and " 1,018 " in lines[1]
    before = Path("out/trials.jsonl").read_text()
    assert main([*words, "label=mlp"]) == 0 and Path("out/trials.jsonl").read_text() == before
    assert main([*words, "label=linear"]) == 1
    assert "is of a search with other settings" in capsys.readouterr().err


def test_the_trade_off_of_losses_is_scanned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--choose", "product=mlp", "--choose", "label=linear", "--set", "losses.label.against=large"]
    options = ["--loss", "product", "--ratios", "1,0", "--weighting", "uncertainty", "--seeds", "2"]
    assert main(["pipeline", "trade-off", "p.toml", "-o", "out", *options, *chosen]) == 0
    points = json.loads(Path("out/comparison.json").read_text())
    assert [(point["label"], point["place"]) for point in points] == [("0", 0.0), ("1", 1.0), ("uncertainty", None)]
    # a linear map of x0 x1 cannot tell its size; left free of its loss, the first block gives what tells it
    assert points[0]["mean"] > 0.9 > 0.7 > points[1]["mean"]
    settings = json.loads(next(Path("out").rglob("trials.jsonl")).read_text().splitlines()[0])["settings"]
    assert settings["ways"]["1"] == {"losses.product.weight": 1.0, "training.weighting": "fixed"}
    picture = Path("out/comparison.svg").read_text()
    assert picture.count("<polyline") == 1 and "uncertainty" in picture and "over that of the others" in picture
    capsys.readouterr()
    for words, message in (
        (["trade-off", "p.toml", "--loss", "x"], "no loss 'x' beside others: there are product, label"),
        (["trade-off", "p.toml", "--loss", "label", "--ratios", "1,-1"], "ratios 1, -1: give different numbers"),
        (["trade-off", "p.toml", "--loss", "label", "--ratios", "1,a"], "'1,a': give numbers with commas"),
        (["compare", "p.toml"], "p.toml: 0 ways to compare: give two at least, in a table [ways]"),
        (["compare", "p.toml", "--set", "ways=3"], "p.toml: [ways] is no table"),
        (["compare", "p.toml", "--set", "ways={a = 1, b = {}}"], "[ways.a]: 1 is no table of values"),
        (["compare", "p.toml", "--set", "ways={a = {sed = 1}, b = {}}"], "unknown key 'sed'"),
    ):
        assert main(["pipeline", *words, "-o", "bad"]) in (1, 2)
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not Path("bad").exists()
