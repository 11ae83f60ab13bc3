"""Rates of models beside Pythia, and what an event costs by stage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import production_cost, throughput
from bench.speed import bench_partons
from bench.throughput import PYTHIA, Setting
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.source import PrimaryModel

EXAMPLE = Path("data/examples/pp_dijet.lhe.gz")


def test_a_rate_is_that_of_the_work_done() -> None:
    """Check that hard partons, which have more hadrons, take Pythia several times as long.

    The best of short measurements in alternation counts: what else the machine does makes some of them slow.
    """
    settings = [Setting(PYTHIA, pt=pt, batch=8) for pt in ((20.0, 30.0), (1e3, 2e3))]
    soft, hard = np.max([[throughput.rate(setting, 0.1, 1) for setting in settings] for _ in range(4)], axis=0)
    assert 10 < 2 * hard < soft


@pytest.mark.parametrize("more", [{"threads": 2}, {"workers": 1}])
def test_rates_of_threads_and_workers(more: dict[str, Any]) -> None:
    cores = os.sched_getaffinity(0)
    assert throughput.rate(Setting("hadron-tree", batch=8, **more), 0.1, 1) > 1
    assert os.sched_getaffinity(0) == cores


def test_options_change_the_model() -> None:
    precise, usual = throughput.load("hadron-tree", None, "float32"), throughput.load("hadron-tree")
    assert isinstance(precise, PrimaryModel) and isinstance(usual, PrimaryModel)
    assert (precise.precision, usual.precision) == ("float32", "bfloat16")
    partons = bench_partons(20.0, 60.0, 1100, 1, (4,))  # fewer are drawn in float32 whatever the precision
    assert set(partons.pdg_id) == {4}
    assert not np.array_equal(precise.sample(partons, rng=1).p4, usual.sample(partons, rng=1).p4)
    rows = throughput.variants(["hadron-tree", "hadron-diffusion"])
    assert rows["8 network evaluations"] == [None, None, Setting("hadron-diffusion", steps=8)]
    diffusion = throughput.load("hadron-diffusion", 8)
    assert isinstance(diffusion, PrimaryFlow) and diffusion.num_inference_steps == 8


def test_commands_write_what_they_are_asked_for(tmp_path: Path) -> None:
    for source in (PYTHIA, "hadron-tree"):
        assert throughput.Command(source, "h5", 2).seconds(EXAMPLE, tmp_path) > 0.1
        assert (tmp_path / "output.h5").stat().st_size > 1000


def test_cost_by_stage() -> None:
    lines = production_cost.profile("hadron-tree", EXAMPLE, 8).splitlines()[2:]
    cells = {row[0]: row[1:] for row in ([c.strip() for c in line.strip("| ").split(" | ")] for line in lines)}
    parts = ["latent", "primary hadrons from the latent", "decays of primary hadrons"]
    whole = float(cells["**computing**, all of it"][0])
    assert 0 < sum(float(cells[part][0]) for part in parts) < 3 * whole
    assert {"- networks", "- draws", "- contexts, kinematics"} <= set(cells)
    assert float(cells["writing `.hepmc3`"][1]) > float(cells["writing `.hepmc3.gz`"][1]) > 0.5
    assert all("%" in cells[f"writing `.{ending}`"][2] for ending in production_cost.FORMATS)


def test_time_is_shared_out_by_module() -> None:
    own = {
        ("/a/torch/nn.py", 1, "forward"): 3.0,
        ("~", 0, "<built-in method torch.relu>"): 1.0,
        ("/a/tree.py", 2, "f"): 4.0,
    }
    assert production_cost.by_module(own) == {"networks": 0.5, "tree": 0.5}
    assert production_cost.where(own, 2) == "`tree.f` 50%, `nn.forward` 38%"
    assert production_cost.name(("~", 0, "<method 'compress' of 'zlib.Compress' objects>")) == "zlib.Compress.compress"
