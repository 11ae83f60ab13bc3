r"""A flow of voxels or rings as ONNX: what a host in C++ or any other language needs to draw showers, and nothing else.

The folder holds

* ``denoiser.onnx``: from voxels at a noise level to the estimate of those without noise;
* ``decoder.onnx``: from voxels at the last noise level to the parameters of the deposits;
* ``sectors.onnx``, of a flow of rings: from the deposits known so far to the parameters of splits into halves
  (:mod:`generators.showers.flow.sector_graph`);
* ``table.bin``: what precedes the flow - visible energy, latent, energies of layers - drawn beforehand, since splines
  and the splits of layers, one after the other, are no graph: float32, little endian, rows ordered by particle and
  energy;
* ``model.json``: names, shapes and units of inputs and outputs, binning, the table's columns, and the sampler's
  constants.

A host takes one of the rows of the particle that are nearest in energy, scales its layers, starts from normal noise x,
and for each step i computes :math:`x \leftarrow a_i x + b_i D_i + c_i D_{i-1}` with the denoiser's estimate
:math:`D_i` of x at level i (two-step DPM-Solver++, arXiv:2211.01095; of a distilled flow the steps are Euler's). The
decoder's parameters of a voxel are the logit of a deposit, then logits, means and log widths of a mixture of normals in
log(E / unit). Of some tries for a layer that one is taken whose sum is nearest to its energy, and scaled to it.

A host of rings then halves them until single sectors are left: those of level k in layer l are drawn in front l + k,
even rings before odd ones. Slots of a ring form a heap: 1 is the whole, 2q and 2q + 1 are the halves of q.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.errors import FastsimError
from fastsim.event import Floats
from fastsim.extras import library
from generators.nn.flow_matching import dpm_steps, euler_steps
from generators.showers.cascade.latent import VISIBLE, blurred_sectors
from generators.showers.flow.sector_graph import SectorGraph
from generators.showers.flow.source import ShowerFlow
from generators.showers.flow.voxels import VoxelFlow, conditions

FORMATS = {False: "fastsim-shower-flow-2", True: "fastsim-shower-rings-1"}
"""Values of the key ``format`` in ``model.json``, of flows of voxels and of rings."""
NEAREST = 32
"""Rows nearest in energy among which a host chooses."""


class _Denoiser(nn.Module):
    """Voxels x (N, L, P) at noise levels (N,), energies of layers (N, L), contexts (N, C) -> voxels without noise."""

    def __init__(self, flow: VoxelFlow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, sigma: Tensor, layers: Tensor, context: Tensor) -> Tensor:
        """Estimate the voxels without noise."""
        velocity = self.flow.velocity(x, sigma, self.flow.layer_features(layers), context)
        return x - sigma[:, None, None] * velocity


class _Decoder(nn.Module):
    """Voxels x (N, L, P) at the last noise level, energies of layers (N, L), contexts (N, C) -> parameters."""

    def __init__(self, flow: VoxelFlow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, layers: Tensor, context: Tensor) -> Tensor:
        """Compute the parameters of the deposits."""
        return self.flow.decode(x, self.flow.layer_features(layers), context)


def table(model: ShowerFlow, num: int, rng: np.random.Generator) -> Floats:
    """Draw what precedes the flow of ``num`` showers a particle: (P num, 1 + L + C), of a flow of rings + Z.

    Columns are the kinetic energy in GeV, log-uniform and rising, the energies of the layers in MeV, the context, and,
    for rings, the latent as the splits into sectors see it, blurred.
    """
    low, high = model.domain.min_energy, model.domain.max_energy
    rows = []
    for pdg_id in model.particles:
        energy = np.sort(np.exp(rng.uniform(np.log(low), np.log(high), num)))
        ids = np.full(num, pdg_id)
        particle, z = model.cascade.given(ids, energy), model.sampler.latent(ids, energy, rng)
        layers = model.sampler.first.layers(particle, energy, z[:, VISIBLE].copy(), z, rng)
        more = [blurred_sectors(z, rng)] if model.flow.patches.rings else []
        rows.append(np.column_stack([energy, layers, conditions(particle, energy, z), *more]))
    return np.concatenate(rows)


def export(model: ShowerFlow, folder: Path, *, num: int, seed: int) -> list[Path]:
    """Write a model for hosts that run ONNX.

    Args:
        model: the model; its number of network evaluations is that of the export.
        folder: where the files go; it is made.
        num: rows of the table for each particle.
        seed: of the table.

    Returns:
        The paths of the files.

    Raises:
        MissingLibrary: if onnx or onnxscript is not installed.
        FastsimError: if ``num`` is less than the rows that a host chooses from, the folder holds an export already, or
            sectors are split in a way that has no graph.
    """
    for name in ("onnx", "onnxscript"):
        library(name)
    if num < NEAREST:
        raise FastsimError(f"{num} rows a particle: a host chooses among {NEAREST}, so give at least that many")
    rings = model.flow.patches.rings
    names = ["denoiser.onnx", "decoder.onnx", "table.bin", "model.json", *(["sectors.onnx"] if rings else [])]
    paths = [folder / name for name in names]
    if taken := [path for path in paths if path.exists()]:
        raise FastsimError(f"{taken[0]} exists: give another folder")
    sectors = SectorGraph(model.cascade) if rings else None
    folder.mkdir(parents=True, exist_ok=True)
    flow, (num_layers, num_places) = model.flow, model.flow.patches.shape
    drawn = table(model, num, np.random.default_rng(seed)).astype("<f4")
    num_latent = len(model.latent_columns) if rings else 0
    length = drawn.shape[1] - 1 - num_layers - num_latent
    x, sigma = torch.randn(2, num_layers, num_places), torch.full((2,), 0.5)
    layers = torch.from_numpy(drawn[:2, 1 : 1 + num_layers].astype(np.float32))
    context = torch.from_numpy(drawn[:2, 1 + num_layers : 1 + num_layers + length].astype(np.float32))
    _write(_Denoiser(flow), {"x": x, "sigma": sigma, "layers": layers, "context": context}, "estimate", paths[0])
    _write(_Decoder(flow), {"x": x, "layers": layers, "context": context}, "parameters", paths[1])
    drawn.tofile(paths[2])
    even = tuple(float(level) for level in np.linspace(1.0, flow.config.sigma_min, model.num_inference_steps + 1))
    steps = euler_steps(flow.config.levels) if flow.config.levels else dpm_steps(even)
    shapes = {
        "x": ["N", num_layers, num_places],
        "sigma": ["N"],
        "layers": ["N", num_layers],
        "context": ["N", length],
    }
    binning = model.binning(model.particles[0])
    values: dict[str, Any] = {
        "format": FORMATS[rings],
        "model": {"name": model.name, **model.provenance},
        "detector": model.detector,
        "particles": list(model.particles),
        "energy_gev": [model.domain.min_energy, model.domain.max_energy],
        "denoiser": {"file": paths[0].name, "inputs": shapes, "outputs": {"estimate": shapes["x"]}},
        "decoder": {
            "file": paths[1].name,
            "inputs": {name: shape for name, shape in shapes.items() if name != "sigma"},
            "outputs": {"parameters": ["N", num_layers, num_places, 1 + 3 * flow.config.num_components]},
            "components": flow.config.num_components,
            "unit_mev": flow.patches.unit,
            "tries": model.tries,
        },
        "table": {
            "file": paths[2].name,
            "dtype": "<f4",
            "rows_a_particle": num,
            "columns": {"energy_gev": 1, "layers_mev": num_layers, "context": length, "latent": num_latent},
            "nearest": NEAREST,
        },
        "sampler": {"noise": "normal", "steps": [step._asdict() for step in steps]},
        "voxels": {
            "order": "voxel v of a layer is ring v % rings of sector v // rings",
            "layers": [{"r_edges_mm": list(layer.r_edges), "sectors": layer.num_alpha} for layer in binning.layers],
        },
    }
    if sectors is not None:
        values["sectors"] = _write_sectors(sectors, model, drawn[:2, -num_latent:], paths[4])
    paths[3].write_text(json.dumps(values, indent=1) + "\n")
    return paths


def _write_sectors(graph: SectorGraph, model: ShowerFlow, latents: Floats, path: Path) -> dict[str, Any]:
    """Write the splits into sectors as ONNX, and return what a host has to know of them.

    ``latents`` (2, Z) are any two.
    """
    grid = model.grid
    particle = torch.from_numpy(model.cascade.given(np.full(2, model.particles[0]), np.ones(2)))
    inputs = {
        "deposits": torch.rand(2, *grid.shape),
        "latent": torch.from_numpy(latents.astype(np.float32)),
        "particle": particle,
        "nodes": torch.tensor([[0, 1, 0, 1], [1, 2, 0, 2], [1, 1, 0, 3]]),
    }
    _write(graph, inputs, "parameters", path, blocks=("nodes",))
    shapes = {name: ["N", *value.shape[1:]] for name, value in inputs.items()} | {"nodes": ["K", 4]}
    num = graph.net.num_components
    return {
        "file": path.name,
        "inputs": shapes,
        "outputs": {"parameters": ["K", 3 + 3 * num]},
        "components": num,
        "nodes": "shower, layer, ring, slot",
        "particle": "the first numbers of the context",
        "fronts": grid.num_fronts,
        "divided": grid.divided.tolist(),
        "halved": grid.halved.tolist(),
        "leaves": (grid.num_leaves + np.flatnonzero(grid.blocks[grid.num_leaves :, 1])).tolist(),
    }


def _write(module: nn.Module, inputs: dict[str, Tensor], output: str, path: Path, blocks: tuple[str, ...] = ()) -> None:
    """Write a module as ONNX, for any number of showers, and of blocks in the inputs that ``blocks`` names."""
    batch, block = torch.export.Dim("batch", min=1), torch.export.Dim("block", min=1)
    quiet = [logging.getLogger(name) for name in ("torch.onnx", "torch.onnx._internal.exporter._registration")]
    levels = [log.level for log in quiet]
    for log in quiet:  # it warns of libraries that it does not need
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=tuple({0: block if name in blocks else batch} for name in inputs),
                dynamo=True,
                verbose=False,
            )
            program.save(str(path), external_data=False)
    finally:
        for log, level in zip(quiet, levels, strict=True):
            log.setLevel(level)
