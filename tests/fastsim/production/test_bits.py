"""The models that ship give the same bits whatever number of threads numerical libraries are told to use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastsim.detector.detector import PARTICLES
from fastsim.production.verify import verify
from fastsim.sources.cards import SHOWERS, available, read
from fastsim.sources.domains import ShowerDomain
from tests.helpers.events import event, file

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

ONE_A_KIND = list({read(name)[0].kind: name for name in reversed(available())}.values())
"""A model of each kind: the others differ in sizes and weights."""


def wanted(model: str, folder: Path) -> list[object]:
    """Six events, or twenty showers of low energy, of a model."""
    card, _ = read(model)
    if card.makes != SHOWERS:
        (folder / "events.lhe").write_text(file(*[event()] * 6))
        return [folder / "events.lhe"]
    assert isinstance(card.domain, ShowerDomain)
    (particle,) = (name for name, (pdg_id, _) in PARTICLES.items() if pdg_id == min(card.domain.particles, key=abs))
    low = card.domain.min_energy
    return ["--detector", card.detector, "--particle", particle, "--energy", f"{low}:{2 * low}", "--num", 20]


def _same(words: list[object], tmp_path: Path) -> None:
    """Assert that a command writes the same events, and bytes, for one thread and two."""
    own = {name: value for name, value in os.environ.items() if name not in THREADS}
    outputs = [tmp_path / f"{number}.h5" for number in (1, 2)]
    for number, output in enumerate(outputs, start=1):
        command = [sys.executable, "-m", "fastsim.cli", *map(str, words), "-o", str(output), "--seed", "4"]
        done = subprocess.run(command, env={**own, "OMP_NUM_THREADS": str(number)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    one, two = map(verify, outputs)
    assert [row.sha256 for row in one.chunks] == [row.sha256 for row in two.chunks] and one.events > 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize("model", ONE_A_KIND)
def test_the_same_bits_for_one_thread_and_two(model: str, tmp_path: Path) -> None:
    command = "showers" if read(model)[0].makes == SHOWERS else "generate"
    _same([command, *wanted(model, tmp_path), "--model", model], tmp_path)


def test_the_same_bits_of_many_sets_which_torch_computes(tmp_path: Path) -> None:
    _same(["generate", "--gun", "flavour=g pt=20:40 num=1100", "--model", "hadron-tree"], tmp_path)
