"""Steps of a user in ``--steps``: functions, Steps and blocks, with production's chunks, workers and resume."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastsim
from fastsim import stages
from fastsim.blocks.block import Block
from fastsim.blocks.steps import BlockStep, load_step
from fastsim.cli import main
from fastsim.errors import FastsimError, PipelineError
from fastsim.event import HardEvents
from fastsim.formats.events import read_events
from tests.helpers.events import event, file, with_hadrons
from tests.helpers.sources import Spray

MODULE = """
import numpy as np
import torch
from fastsim.blocks.block import Block

def count(events, *, rng):
    return events.with_columns(event={"num_hadrons": events.particles.counts, "dice": rng.uniform(size=len(events))})

def wrong(events, *, rng):
    return 3

class Marked:
    name, requires, provides = "marked", frozenset({"partons"}), frozenset({"partons"})
    def step(self, events, *, rng):
        return events.with_columns(event={"num_hard": events.counts})

class Smearing(torch.nn.Module):
    def forward(self, p4, noise):
        factor = 1 + 0.1 * noise[..., None]
        return p4 * factor, factor[..., 0]

def smearing():
    pass

smear = Block(Smearing(), {"particle_p4": ("particles", 4), "noise": ("particles",)},
              {"particle_p4": ("particles", 4), "factor": ("particles",)}, name="smear")
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a module of a user and an LHE file of 20 events."""
    (tmp_path / "own_steps_of_a_test.py").write_text(MODULE)
    (tmp_path / "events.lhe").write_text(file(*[event()] * 20))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_steps_of_a_test", raising=False)
    return tmp_path


NAME = "own_steps_of_a_test"
STEPS = f"{NAME}:Marked,hadrons,{NAME}:smear,{NAME}:count"


def read(path: str) -> HardEvents:
    return HardEvents.concatenate(list(read_events(path)[1]))


def test_steps_of_a_user_run_where_they_stand(folder: Path) -> None:
    summary = fastsim.generate("events.lhe", "own.h5", model=Spray(), steps=STEPS, seed=4, event="hard")
    fastsim.generate("events.lhe", "plain.h5", model=Spray(), seed=4, event="hard")
    own, plain = read("own.h5"), read("plain.h5")
    assert own.particles is not None and plain.particles is not None and summary.events == 20
    np.testing.assert_array_equal(own.event_columns["num_hadrons"], plain.particles.counts)
    np.testing.assert_array_equal(own.event_columns["num_hard"], plain.counts)
    factor = own.particle_columns["factor"]
    np.testing.assert_allclose(own.particles.p4, plain.particles.p4 * factor[:, None], rtol=1e-6, atol=1e-6)
    assert abs(factor.mean() - 1.0) < 4 * 0.1 / len(factor) ** 0.5 and 0.08 < factor.std() < 0.12
    assert f'"{STEPS}"' in Path("own.h5.manifest.json").read_text()


def test_steps_alone_on_a_file_of_events(folder: Path) -> None:
    fastsim.generate("events.lhe", "plain.h5", model=Spray(), seed=4, event="hard")
    assert main(["generate", "plain.h5", "-o", "own.h5", "--steps", f"{NAME}:count", "--seed", "1"]) == 0
    own = read("own.h5")
    assert own.particles is not None
    np.testing.assert_array_equal(own.event_columns["num_hadrons"], own.particles.counts)
    # one seed a block of 16 events, whatever the range
    fastsim.generate("plain.h5", "end.h5", steps=f"{NAME}:count", seed=1, first_event=10)
    np.testing.assert_array_equal(read("end.h5").event_columns["dice"], own.event_columns["dice"][10:])


def test_steps_can_be_sent_to_other_processes(folder: Path) -> None:
    events, rng = with_hadrons(_batch(), 1), np.random.default_rng
    for name in ("count", "smear", "Marked"):
        step = load_step(f"{NAME}:{name}")
        assert pickle.loads(pickle.dumps(step)).step(events, rng=rng(3)) == step.step(events, rng=rng(3))


@pytest.mark.slow
def test_workers_give_what_threads_give(folder: Path) -> None:
    options: dict[str, Any] = {"model": "pythia", "steps": f"hadrons,{NAME}:smear", "seed": 4, "event": "hard"}
    fastsim.generate("events.lhe", "threads.h5", threads=2, **options)
    fastsim.generate("events.lhe", "workers.h5", workers=1, **options)
    assert Path("threads.h5").read_bytes() == Path("workers.h5").read_bytes()


def test_a_run_is_not_resumed_with_another_step(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "generate",
        "events.lhe",
        "-o",
        "own.h5",
        "--event",
        "hard",
        "--model",
        "pythia",
        "--steps",
        f"hadrons,{NAME}:count",
    ]
    assert main(words) == 0
    assert main([*words, "--resume"]) == 0
    (folder / f"{NAME}.py").write_text(MODULE + "\n")
    assert main([*words, "--resume"]) == 1
    assert "own.h5: exists already" in capsys.readouterr().err


def test_a_block_reads_columns_of_events_and_writes_them() -> None:
    class Sum(torch.nn.Module):
        def forward(self, values: torch.Tensor, p4: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return torch.stack([values.sum(-1), (p4[..., 0] * mask).sum(-1)], dim=-1)

    inputs = {"pair": (2,), "hard_p4": ("hard", 4), "hard_mask": ("hard",)}
    step = BlockStep(Block(Sum(), inputs, {"sums": (2,)}, name="sum"))
    events = replace(with_hadrons(_batch(), 1))
    events = events.with_columns(event={"pair": np.arange(2.0 * len(events)).reshape(-1, 2)})
    after = step.step(events, rng=np.random.default_rng(1))
    energies = np.add.reduceat(events.p4[:, 0], events.offsets[:-1])
    expected = np.column_stack([events.event_columns["pair"].sum(1), energies])
    np.testing.assert_allclose(after.event_columns["sums"], expected, rtol=1e-6)
    assert "sums" not in events.event_columns


def _batch() -> HardEvents:
    return HardEvents.of_partons(fastsim.Partons.from_pt_eta_phi([21, 1, -2], [50.0, 30.0, 20.0], [0, 1, 2], [0, 1, 2]))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("hadrons,no_such_module:f", "step 'no_such_module:f': module 'no_such_module' cannot be imported"),
        (f"hadrons,{NAME}:nothing", f"step '{NAME}:nothing': module '{NAME}' has no 'nothing'"),
        (f"hadrons,{NAME}:number", f"step '{NAME}:number': is a int, not a Step, a Block or a function of events"),
        (f"hadrons,{NAME}:wrong", f"step '{NAME}:wrong' returned a int, not events"),
        (f"{NAME}:smear,hadrons", "step 1 ('smear') requires hadrons, which no earlier step provides"),
        (f"{NAME}:count", "alone takes events with hadrons from a file; put hadrons before"),
        ("hadrons,:f", "step ':f': ':f' names no object: give package.module:object"),
        (f"{NAME}:count,calorimeter,hadrons", "are none of hadrons, pythia"),
    ],
)
def test_mistakes_are_one_line(steps: str, message: str, folder: Path) -> None:
    with pytest.raises(FastsimError) as error:
        fastsim.generate("events.lhe", "a.h5", model=Spray() if "hadrons" in steps else None, steps=steps, event="hard")
    assert message in str(error.value)
    assert not Path("a.h5").exists()


def test_columns_of_particles_have_no_place_in_the_sets_of_a_gun(folder: Path) -> None:
    gun = "flavour=u pt=20:30 num=5"
    with pytest.raises(PipelineError, match="'factor' is a column of particles"):
        fastsim.generate(gun, "a.h5", model=Spray(), steps=f"hadrons,{NAME}:smear")
    fastsim.generate(gun, "b.h5", model=Spray(), steps=f"hadrons,{NAME}:count")


def test_blocks_that_do_not_fit_events_are_refused() -> None:
    class Pass(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(PipelineError, match="the first size may be 'particles' or 'hard'"):
        BlockStep(Block(Pass(), {"x": ("jets", 4)}, {"y": ("jets", 4)}, name="b"))
    step = BlockStep(Block(Pass(), {"x": ()}, {"y": ()}, name="b"))
    with pytest.raises(PipelineError, match="block 'b' needs 'x', which events have not: there are no columns"):
        step.step(_batch(), rng=np.random.default_rng(1))


def test_entry_points_name_steps(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    entry = EntryPoint("count-hadrons", f"{NAME}:count", "fastsim.steps")

    def found(*, group: str, name: str | None = None) -> EntryPoints:
        return EntryPoints([entry] if group == entry.group and name in (None, entry.name) else [])

    monkeypatch.setattr("fastsim.blocks.steps.entry_points", found)
    assert load_step("count-hadrons").name == "count-hadrons"
    assert stages.chain_of(stages.parse("hadrons,count-hadrons")) == ("hadrons",)
