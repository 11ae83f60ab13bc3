"""The engine's models as blocks: chains of them run, are saved, and have gradients where their steps allow it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import fastsim
from fastsim import pipelines
from fastsim.blocks import files
from fastsim.errors import PipelineError, WeightsError

NUM = 12
SEED = 6


class MeanSquare(nn.Module):
    """The transverse momenta of a set: sum of squares over sum, an observable of a user."""

    def forward(self, p4: Tensor, mask: Tensor) -> Tensor:
        pt = torch.where(mask, (p4[..., 1] ** 2 + p4[..., 2] ** 2 + 1e-9).sqrt(), 0.0)
        return pt.square().sum(1) / pt.sum(1)


def observable(of: str) -> fastsim.Block:
    inputs: dict[str, Any] = {f"{of}_p4": ("n", 4), f"{of}_mask": ("n",)}
    return fastsim.Block(MeanSquare(), inputs, {"observable": ()}, name="observable")


def batch_for(chain: fastsim.Chain, num: int = NUM, seed: int = 5, pdg_id: int | None = None) -> TensorDict:
    """Partons within the domain of the models, and noise."""
    rng = torch.Generator().manual_seed(seed)
    pt = 30 + 200 * torch.rand(num, generator=rng, dtype=torch.float64)
    phi, eta = 6 * torch.rand(num, generator=rng), torch.randn(num, generator=rng)
    p4 = torch.stack([pt * eta.cosh(), pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()], 1)
    ids = torch.tensor([21, 1, -2, 5, -4, 3])[torch.arange(num) % 6] if pdg_id is None else torch.full((num,), pdg_id)
    noise = {key: torch.randn(num, 4, generator=rng) for key in chain.inputs if key.startswith("noise")}
    return TensorDict({"parton_p4": p4, "parton_id": ids, **noise}, [num])


@pytest.mark.parametrize("model", ["hadron-diffusion", "hadron-tree-small", "pythia"])
def test_a_chain_from_partons_to_cells_runs_and_is_saved(model: str, tmp_path: Path) -> None:
    chain = fastsim.Chain([fastsim.block("copper-towers"), fastsim.block(model)], name="simulation")
    assert [block.name for block in chain] == ["hadrons", "cells"]
    batch = batch_for(chain)
    results = chain(batch.clone())
    p4, mask = results["particle_p4"], results["particle_mask"]
    assert p4.shape == (NUM, mask.shape[1], 4) and p4[~mask].eq(0).all() and results["particle_id"][~mask].eq(0).all()
    # the hemispheres of partons hold about their energies, and the calorimeter sees some of it
    energy = p4[..., 0].sum(1) / batch["parton_p4"][:, 0]
    assert 0.9 < float(energy.mean()) < 1.1
    assert 0.05 < float(results["cell_energy"].sum()) / float(1e3 * p4[..., 0].sum()) < 0.5
    again = files.load(files.save(chain, tmp_path))
    for key, value in again(batch.clone()).items():
        assert torch.equal(value, results[key])
    other = batch.clone()
    other["noise_hadrons"] += 1
    assert not torch.equal(chain(other)["particle_p4"].sum(1), p4.sum(1))


def test_parts_of_a_model_make_the_hadrons_of_the_whole(tmp_path: Path) -> None:
    parts = [fastsim.block("hadron-tree-small", part=part) for part in ("latent", "primary", "decays")]
    chain = fastsim.Chain(parts)
    results = chain(batch_for(chain))
    assert torch.equal(results["primary_mask"].sum(1), results["latent_counts"].sum(1))
    assert (results["particle_mask"].sum(1) > results["primary_mask"].sum(1)).all()
    for key in ("primary", "particle"):
        assert torch.allclose(results[f"{key}_p4"].sum(1), results["primary_p4"].sum(1))
    renamed = fastsim.block("hadron-tree-small", name="jet", names={"parton_p4": "quark_p4", "particle_p4": "jet_p4"})
    assert "quark_p4" in renamed.inputs and "jet_p4" in renamed.outputs and renamed.name == "jet"
    assert files.load(files.save(renamed, tmp_path)).inputs == renamed.inputs


def test_gradients_from_partons_agree_with_finite_differences() -> None:
    """Through the latent, the hadrons, their decays, and a block of a user, with the same random numbers."""
    parts = [fastsim.block("hadron-diffusion", part=part) for part in ("latent", "primary", "decays")]
    two = fastsim.Chain([*parts[:2], observable("primary")])
    four = fastsim.Chain([*parts, observable("particle")])
    for chain, ids in ((two, "primary_id"), (four, "particle_id")):
        batch = batch_for(chain, seed=6)
        direction = batch["parton_p4"] * torch.tensor([0.0, 1.0, 1.0, 1.0])
        gradient = (chain.gradient(batch, "observable", "parton_p4", scores=False) * direction).sum(1)
        differences = []
        for step in (2e-3, 3e-3):
            found = []
            for sign in (1, -1):
                moved = batch.clone()
                moved["parton_p4"] = (batch["parton_p4"] + sign * step * direction).requires_grad_()
                found.append(chain(moved))
            # a set with other hadrons would be another draw
            assert torch.equal(found[0][ids], found[1][ids])
            differences.append((found[0]["observable"] - found[1]["observable"]).detach() / (2 * step))
        # flows are sampled in single precision: two steps differ by what its rounding leaves of the differences
        rounding = (differences[0] - differences[1]).norm()
        assert rounding < 5e-3 * gradient.norm()
        assert (gradient - (differences[0] + differences[1]) / 2).norm() < rounding + 1e-3 * gradient.norm()
        assert gradient.abs().min() > 0


def test_latents_follow_the_parton_for_their_noise() -> None:
    latent = fastsim.Chain([fastsim.block("hadron-diffusion", part="latent")])
    batch = batch_for(latent)
    gradient = latent.gradient(batch, "latent_features", "parton_p4")
    same, differences = torch.ones(NUM, dtype=torch.bool), []
    for step in (3e-3, 2e-3):
        values = []
        for sign in (1, -1):
            moved = batch.clone()
            moved["parton_p4"] = batch["parton_p4"] * (1 + sign * step)
            values.append(latent(moved))
        same &= (values[0]["latent_counts"] == values[1]["latent_counts"]).all(1)
        same &= values[0]["latent_carrier"] == values[1]["latent_carrier"]
        differences.append((values[0]["latent_features"] - values[1]["latent_features"]).sum(1) / (2 * step))
    # where a carrier may be the leading hadron or not, its momentum has a ridge: no step is small enough beside it
    same &= (differences[0] - differences[1]).abs() < 0.1
    assert same.sum() > NUM / 2
    moved_by = (gradient * batch["parton_p4"]).sum(1)
    assert (moved_by - differences[0])[same].norm() < 2e-3 * moved_by[same].norm()


@pytest.mark.parametrize("model", ["hadron-tree-small", "hadron-diffusion"])
def test_scores_give_the_slope_of_mean_numbers(model: str) -> None:
    """The number of hadrons is discrete: its mean rises with the logarithm of pT as the mean score says."""
    chain, of = fastsim.Chain([fastsim.block(model, part="latent", log_prob=True)]), "latent_counts"
    num = 1500
    batch = batch_for(chain, num, pdg_id=21)
    batch["parton_p4"] *= (60.0 / batch["parton_p4"][:, 1:3].norm(dim=1))[:, None]
    with_scores = chain.gradient(batch, of, "parton_p4") * batch["parton_p4"]
    slopes = with_scores[:, 1:].sum(1)
    means = []
    for factor in (1.25, 0.8):
        moved = batch.clone()
        moved["parton_p4"] = factor * batch["parton_p4"]
        numbers = chain(moved)[of].sum(1).double()
        means.append((numbers.mean(), numbers.var() / num))
    expected = (means[0][0] - means[1][0]) / np.log(1.25 / 0.8)
    error = float((slopes.var() / num + (means[0][1] + means[1][1]) / np.log(1.25 / 0.8) ** 2).sqrt())
    assert expected > 5 * error  # the difference of the means is seen at all
    assert abs(float(slopes.mean() - expected)) < 3 * error


def test_a_block_without_derivatives_is_named() -> None:
    diffusion = fastsim.Chain([fastsim.block("hadron-diffusion", log_prob=True), fastsim.block("copper-towers")])
    with pytest.raises(PipelineError, match="'cell_energy' has no derivative by 'parton_p4': block 'cells' is not"):
        diffusion.gradient(batch_for(diffusion), "cell_energy", "parton_p4")
    for model in ("hadron-tree-small", "pythia"):
        chain = fastsim.Chain([fastsim.block(model), observable("particle")])
        with pytest.raises(PipelineError, match="'observable' has no derivative by 'parton_p4': block 'hadrons' is"):
            chain.gradient(batch_for(chain), "observable", "parton_p4")


TOML = """
[data]
source = "nothing:here"

[blocks.hadrons]
candidates.tree = { kind = "hadron-tree-small" }
candidates.diffusion = { kind = "hadron-diffusion" }

[blocks.cells]
kind = "copper-towers"

[blocks.energy]
kind = "mlp"
inputs = { parton_p4 = [4] }
outputs = { energy = [] }

[losses.energy]
kind = "mean-square"
of = "energy"
against = "energy_true"

[figure]
kind = "mean-square"
of = "energy"
against = "energy_true"
"""


def test_models_stand_in_the_file_of_a_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(TOML)
    text, _ = pipelines.show(path)
    assert "hadrons: one of tree (0 numbers), diffusion (0 numbers)" in text
    assert "gives  cell_id (cells), cell_energy (cells), cell_mask (cells)" in text
    for change, message in (
        ({"blocks.cells.depth": 3}, "model 'copper-towers' takes part and log_prob, not 'depth'"),
        ({"blocks.cells.part": "latent"}, "copper-towers has no part 'latent': there are cells, showers"),
        ({"blocks.cells.inputs": {"x": [3]}}, "copper-towers takes particle_p4 (particles, 4), particle_id"),
        ({"blocks.energy": {"kind": "mlp"}}, "block 'energy': missing key 'inputs', a table of names and shapes"),
    ):
        with pytest.raises(PipelineError) as error:
            pipelines.show(path, change)
        assert message in str(error.value) and "\n" not in str(error.value)


def test_a_chain_is_run_on_a_file_and_draws_its_noise(tmp_path: Path) -> None:
    chain = fastsim.Chain([fastsim.block("hadron-tree-small"), fastsim.block("copper-towers")], name="simulation")
    card = files.save(chain, tmp_path)
    batch = batch_for(chain)
    with h5py.File(tmp_path / "partons.h5", "w") as file:
        for key in ("parton_p4", "parton_id"):
            file[key] = batch[key].numpy()
    for name, seed in (("a.h5", 1), ("b.h5", 1), ("c.h5", 2)):
        assert pipelines.run(card, tmp_path / "partons.h5", tmp_path / name, seed=seed) == NUM
    cells = []
    for name in ("a.h5", "b.h5", "c.h5"):
        with h5py.File(tmp_path / name) as file:
            cells.append(file["cell_energy"][()].sum())
    assert cells[0] == cells[1] != cells[2]


def test_other_weights_and_wrong_parts_are_refused(tmp_path: Path) -> None:
    card = files.save(fastsim.block("hadron-tree-small"), tmp_path)
    values = json.loads(card.read_text())
    values["block"]["options"]["sha256"] = "0" * 64
    card.write_text(json.dumps(values))
    with pytest.raises(WeightsError, match="model 'hadron-tree-small' has other weights here"):
        files.load(card)
    bad: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("pythia", {"part": "latent"}, "pythia has no part 'latent': models of hadrons with a latent have"),
        ("pythia", {"log_prob": True}, "pythia: its part 'hadrons' has no log_prob"),
        ("hadron-tree-small", {"part": "primary", "log_prob": True}, "its part 'primary' has no log_prob"),
        ("hadron-tree-small", {"part": "cells"}, "has no part 'cells': there are hadrons, latent, primary, decays"),
        ("hadron-tree-small", {"names": {"p4": "x"}}, "no input or output 'p4': it takes parton_p4 (4)"),
        ("copper-towers", {"log_prob": True}, "copper-towers: its part 'cells' has no log_prob"),
    )
    for model, arguments, message in bad:
        with pytest.raises(PipelineError) as error:
            fastsim.block(model, **arguments)
        assert message in str(error.value)


def test_one_shower_as_a_block() -> None:
    showers = fastsim.block("copper-cascade", part="showers")
    energy = torch.tensor([10.0, 50.0])
    deposits = showers(incident_id=torch.tensor([211, 211]), incident_energy=energy, noise_showers=torch.zeros(2, 4))
    assert deposits.shape == (2, *showers.outputs["deposits"]) and 2 < deposits[1].sum() / deposits[0].sum() < 12
