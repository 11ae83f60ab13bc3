"""Draw calorimeter showers from what ``fastsim export`` wrote, with ONNX Runtime and NumPy alone.

    python onnx_showers.py EXPORT --particle 22 --energy 50 -n 100 -o showers.npy

writes the deposits in MeV, (showers, voxels), voxels in the order of the CaloChallenge: ring fastest, then sector, then
layer. It does what a host in C++ would do: see the keys of model.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Host:
    """The networks, the table and the constants of an export in a folder."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "model.json").is_file():
            raise SystemExit2(f"{folder}: no model.json: give a folder that fastsim export wrote")
        self.values = json.loads((folder / "model.json").read_text())
        self.networks = {
            name: onnxruntime.InferenceSession(folder / self.values[name]["file"], providers=["CPUExecutionProvider"])
            for name in ("denoiser", "decoder")
        }
        table, num = self.values["table"], self.values["table"]["rows_a_particle"]
        length = sum(table["columns"].values())
        rows = np.fromfile(folder / table["file"], table["dtype"]).reshape(-1, num, length)
        self.rows = dict(zip(self.values["particles"], rows, strict=True))

    def sample(self, particle: int, energy: Any, rng: np.random.Generator) -> Any:
        """Draw deposits (N, voxels) in MeV of particles of one PDG id and kinetic energies (N,) in GeV."""
        low, high = self.values["energy_gev"]
        if particle not in self.rows or energy.min() < low or energy.max() > high:
            raise SystemExit2(f"the export is of particles {list(self.rows)} of {low:g} to {high:g} GeV")
        layers, context = self.condition(self.rows[particle], energy, rng)
        _, num_layers, num_places = self.values["denoiser"]["inputs"]["x"]
        x = rng.standard_normal((len(energy), num_layers, num_places), np.float32)
        before = np.zeros_like(x)
        for step in self.values["sampler"]["steps"]:
            sigma = np.full(len(x), step["sigma"], np.float32)
            estimate = self.run("denoiser", x=x, sigma=sigma, layers=layers, context=context)
            x = np.float32(step["a"]) * x + np.float32(step["b"]) * estimate + np.float32(step["c"]) * before
            before = estimate
        parameters = self.run("decoder", x=x, layers=layers, context=context)
        deposits = self.deposits(parameters, layers, rng)
        sizes = [(len(layer["r_edges_mm"]) - 1) * layer["sectors"] for layer in self.values["voxels"]["layers"]]
        parts = [deposits[:, place, :size] for place, size in enumerate(size for size in sizes if size)]
        return np.concatenate(parts, axis=1)

    def condition(self, rows: Any, energy: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        """Choose one of the rows nearest in energy, and scale its layers: energies (N, L) in MeV, contexts (N, C)."""
        nearest, num_layers = self.values["table"]["nearest"], self.values["table"]["columns"]["layers_mev"]
        first = np.searchsorted(rows[:, 0], energy) - nearest // 2
        chosen = rows[np.clip(first, 0, len(rows) - nearest) + rng.integers(0, nearest, len(energy))]
        scale = (energy / chosen[:, 0]).astype(np.float32)[:, None]
        return chosen[:, 1 : 1 + num_layers] * scale, chosen[:, 1 + num_layers :]

    def run(self, name: str, **inputs: Any) -> Any:
        """Evaluate a network."""
        return self.networks[name].run(None, inputs)[0]

    def deposits(self, parameters: Any, layers: Any, rng: np.random.Generator) -> Any:
        """Draw deposits (N, L, P) in MeV from the decoder's parameters, scaled to the energies of layers (N, L)."""
        num = self.values["decoder"]["components"]
        logit, weights, means, widths = np.split(parameters, np.cumsum([1, num, num]), axis=3)
        some = rng.random(logit.shape[:3]) < 1 / (1 + np.exp(-logit[..., 0]))
        # the largest of logits with Gumbel noise is a draw from their distribution
        chosen = np.argmax(weights + rng.gumbel(size=weights.shape), axis=3)[..., None]
        mean, width = (np.take_along_axis(each, chosen, axis=3)[..., 0] for each in (means, widths))
        drawn = some * np.exp(mean + np.exp(width) * rng.standard_normal(mean.shape))
        exists = np.arange(drawn.shape[2]) < self.sizes()[:, None]
        drawn *= exists
        empty = (drawn.sum(2) <= 0) & (layers > 0)
        likeliest = np.argmax(np.where(exists, logit[..., 0], -np.inf), axis=2)
        drawn[empty, likeliest[empty]] = 1.0
        return (drawn * (layers / np.maximum(drawn.sum(2), 1e-30))[..., None]).astype(np.float32)

    def sizes(self) -> Any:
        """Return the voxels of each layer that has any."""
        sizes = [(len(layer["r_edges_mm"]) - 1) * layer["sectors"] for layer in self.values["voxels"]["layers"]]
        return np.array([size for size in sizes if size])


class SystemExit2(SystemExit):
    """Ends the program with one line on stderr and status 2."""

    def __init__(self, message: str) -> None:
        print(message, file=sys.stderr)
        super().__init__(2)


def main() -> None:
    """Read the arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("export", type=Path, help="folder that fastsim export wrote")
    parser.add_argument("--particle", type=int, default=22, help="PDG id")
    parser.add_argument("--energy", type=float, default=50.0, help="kinetic energy in GeV")
    parser.add_argument("-n", type=int, default=100, help="showers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", type=Path, default=Path("showers.npy"), help="output")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    np.save(options.o, Host(options.export).sample(options.particle, np.full(options.n, options.energy), rng))


if __name__ == "__main__":
    main()
