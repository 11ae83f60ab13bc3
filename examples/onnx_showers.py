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

FORMATS = "fastsim-shower-flow-2", "fastsim-shower-rings-1"


class Host:
    """The networks, the table and the constants of an export in a folder."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "model.json").is_file():
            raise SystemExit2(f"{folder}: no model.json: give a folder that fastsim export wrote")
        self.values = json.loads((folder / "model.json").read_text())
        if self.values.get("format") not in FORMATS:
            raise SystemExit2(f"{folder}/model.json: format {self.values.get('format')!r}, not {' or '.join(FORMATS)}")
        names = [name for name in ("denoiser", "decoder", "sectors") if name in self.values]
        if missing := [
            self.values[n]["file"] for n in (*names, "table") if not (folder / self.values[n]["file"]).is_file()
        ]:
            raise SystemExit2(f"{folder}: no {missing[0]}, which model.json names")
        self.networks = {
            name: onnxruntime.InferenceSession(folder / self.values[name]["file"], providers=["CPUExecutionProvider"])
            for name in names
        }
        table, num = self.values["table"], self.values["table"]["rows_a_particle"]
        length = sum(table["columns"].values())
        rows = np.fromfile(folder / table["file"], table["dtype"]).reshape(-1, num, length)
        self.rows = dict(zip(self.values["particles"], rows, strict=True))
        self.layers = [(len(layer["r_edges_mm"]) - 1, layer["sectors"]) for layer in self.values["voxels"]["layers"]]
        self.layers = [(rings, sectors) for rings, sectors in self.layers if rings * sectors]

    def sample(self, particle: int, energy: Any, rng: np.random.Generator) -> Any:
        """Draw deposits (N, V) in MeV of particles of one PDG id and kinetic energies (N,) in GeV."""
        low, high = self.values["energy_gev"]
        if particle not in self.rows or energy.min() < low or energy.max() > high:
            raise SystemExit2(f"the export is of particles {list(self.rows)} of {low:g} to {high:g} GeV")
        layers, context, latent = self.condition(self.rows[particle], energy, rng)
        _, num_layers, num_places = self.values["denoiser"]["inputs"]["x"]
        x = rng.standard_normal((len(energy), num_layers, num_places), np.float32)
        x *= np.arange(num_places) < self.sizes()[:, None]
        before = np.zeros_like(x)
        for step in self.values["sampler"]["steps"]:
            sigma = np.full(len(x), step["sigma"], np.float32)
            estimate = self.run("denoiser", x=x, sigma=sigma, layers=layers, context=context)
            x = np.float32(step["a"]) * x + np.float32(step["b"]) * estimate + np.float32(step["c"]) * before
            before = estimate
        deposits = self.deposits(self.run("decoder", x=x, layers=layers, context=context), layers, rng)
        if "sectors" in self.networks:
            return self.voxels(self.split(deposits, latent, context, rng))
        return np.concatenate([deposits[:, k, :size] for k, size in enumerate(self.sizes())], axis=1)

    def condition(self, rows: Any, energy: Any, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        """Choose one of the rows nearest in energy, and scale its layers: (N, L) in MeV, contexts (N, C), latents."""
        columns, nearest = self.values["table"]["columns"], self.values["table"]["nearest"]
        first = np.searchsorted(rows[:, 0], energy) - nearest // 2
        chosen = rows[np.clip(first, 0, len(rows) - nearest) + rng.integers(0, nearest, len(energy))]
        own, layers, context, latent = np.split(chosen, np.cumsum(list(columns.values()))[:-1], axis=1)
        scale = (energy / own[:, 0]).astype(np.float32)[:, None]
        return layers * scale, np.ascontiguousarray(context), np.ascontiguousarray(latent)

    def run(self, name: str, **inputs: Any) -> Any:
        """Evaluate a network."""
        return self.networks[name].run(None, inputs)[0]

    def deposits(self, parameters: Any, layers: Any, rng: np.random.Generator) -> Any:
        """Draw deposits (N, L, P) in MeV from the decoder's parameters, scaled to the energies of layers (N, L)."""
        num = self.values["decoder"]["components"]
        logit, weights, means, widths = np.split(parameters, np.cumsum([1, num, num]), axis=3)
        exists = np.arange(parameters.shape[2]) < self.sizes()[:, None]
        best, nearest = np.zeros(logit.shape[:3]), np.full(layers.shape, np.inf)
        for _ in range(self.values["decoder"]["tries"]):
            some = (rng.random(logit.shape[:3]) < 1 / (1 + np.exp(-logit[..., 0]))) & exists
            chosen = drawn_index(weights, rng)
            mean, width = (np.take_along_axis(each, chosen, axis=3)[..., 0] for each in (means, widths))
            drawn = some * np.exp(mean + np.exp(width) * rng.standard_normal(mean.shape))
            total = drawn.sum(2) * self.values["decoder"]["unit_mev"]
            good = (total > 0) & (layers > 0)
            distance = np.abs(np.log(np.where(good, total, 1) / np.where(good, layers, 1)))
            better = good & (distance < nearest)
            best[better], nearest[better] = drawn[better], distance[better]
        empty = np.isinf(nearest) & (layers > 0)
        likeliest = np.argmax(np.where(exists, logit[..., 0], -np.inf), axis=2)
        best[empty, likeliest[empty]] = 1.0
        return (best * (layers / np.maximum(best.sum(2), 1e-30))[..., None]).astype(np.float32)

    def split(self, rings: Any, latent: Any, context: Any, rng: np.random.Generator) -> Any:
        """Split the energies of rings (N, L, R) in MeV into those of heaps of sectors (N, L, R, slots)."""
        values, halved = self.values["sectors"], np.array(self.values["sectors"]["halved"])
        heaps = np.zeros((len(rings), *values["inputs"]["deposits"][1:]), np.float32)
        heaps[..., 1] = rings
        particle = np.ascontiguousarray(context[:, : values["inputs"]["particle"][1]])
        waiting = [np.empty((0, 4), np.int64)] * 2  # halves of the front before, of even and of odd rings
        for front in range(values["fronts"]):
            for odd in range(2):
                nodes = waiting[odd]
                if front < rings.shape[1] and values["divided"][front]:
                    n, ring = np.nonzero(rings[:, front, odd::2])
                    whole = np.column_stack([n, np.full_like(n, front), 2 * ring + odd, np.ones_like(n)])
                    nodes = np.concatenate([whole, nodes])
                if len(nodes) == 0:
                    continue
                parameters = self.run("sectors", deposits=heaps, latent=latent, particle=particle, nodes=nodes)
                halves = np.repeat(nodes, 2, axis=0)
                halves[:, 3] = 2 * halves[:, 3] + np.arange(len(halves)) % 2
                heaps[tuple(halves.T)] = self.halves(parameters, heaps[tuple(nodes.T)], rng).reshape(-1)
                halves = halves[heaps[tuple(halves.T)] > 0]
                waiting[odd], whole = halves[halved[halves[:, 3]]], halves[~halved[halves[:, 3]]]
                while len(whole := whole[2 * whole[:, 3] < heaps.shape[3]]):  # a sector is its own first half
                    first = whole + whole[:, 3:] * np.array([0, 0, 0, 1])
                    heaps[tuple(first.T)] = heaps[tuple(whole.T)]
                    whole = first
        return heaps

    def halves(self, parameters: Any, energy: Any, rng: np.random.Generator) -> Any:
        """Draw both halves (K, 2) of energies (K,) in MeV from parameters (K, 3 + 3C)."""
        num = self.values["sectors"]["components"]
        cases, weights, means, widths = np.split(parameters.astype(float), np.cumsum([3, num, num]), axis=1)
        case, chosen = drawn_index(cases, rng)[:, 0], drawn_index(weights, rng)
        mean, width = (np.take_along_axis(each, chosen, axis=1)[:, 0] for each in (means, widths))
        ratio = np.clip(mean + np.exp(width) * rng.logistic(size=len(mean)), -30, 30)
        first = energy * np.select([case == 1, case == 2], [1.0, 0.0], 1 / (1 + np.exp(-ratio)))
        second = energy * np.select([case == 1, case == 2], [0.0, 1.0], 1 / (1 + np.exp(ratio)))
        return np.column_stack([first, second])

    def voxels(self, heaps: Any) -> Any:
        """Take the deposits (N, V) of voxels from heaps (N, L, R, slots)."""
        leaves = self.values["sectors"]["leaves"]
        parts = [heaps[:, k][:, :rings, leaves if n > 1 else [1]] for k, (rings, n) in enumerate(self.layers)]
        return np.concatenate([part.transpose(0, 2, 1).reshape(len(heaps), -1) for part in parts], axis=1)

    def sizes(self) -> Any:
        """Return the voxels, or rings, of each layer that has any."""
        return np.array([rings if "sectors" in self.values else rings * sectors for rings, sectors in self.layers])


def drawn_index(logits: Any, rng: np.random.Generator) -> Any:
    """Draw an index along the last axis, which stays: the largest of logits with Gumbel noise is such a draw."""
    return np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)[..., None]


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
