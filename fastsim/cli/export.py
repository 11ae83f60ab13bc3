"""``fastsim export``: a model as ONNX, for simulations in C++."""

from __future__ import annotations

from pathlib import Path

import click

from fastsim.cli.options import complete_model, debug_option


@click.command("export", short_help="A model as ONNX, for simulations in C++.")
@click.argument("model", shell_complete=complete_model)
@click.option("-o", "--output", metavar="DIR", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--num", metavar="N", type=int, default=20_000, show_default=True, help="Rows of the table a particle.")
@click.option("--num-inference-steps", metavar="N", type=click.IntRange(1), help="Network evaluations of a shower.")
@click.option("--seed", metavar="N", type=click.IntRange(0), default=1, show_default=True, help="Of the table.")
@debug_option
def command(model: str, output: Path, num: int, num_inference_steps: int | None, seed: int) -> None:
    """Write a diffusion model of showers, kind shower-flow, as ONNX.

    The folder gets denoiser.onnx, decoder.onnx, for models of rings sectors.onnx, model.json with names, shapes, units
    and the sampler's constants, and table.bin: energies of layers and latents, which the model draws beforehand.
    examples/onnx_showers.py draws showers from it.

    \b
    Examples:
      fastsim export pb-si-rings-fast -o onnx
      fastsim export runs/mine/mine.json -o onnx
    """
    from fastsim import api

    for path in api.export(model, output, num=num, num_inference_steps=num_inference_steps, seed=seed):
        click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
