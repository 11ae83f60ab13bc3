"""``fastsim merge``: join the slices of a run."""

from __future__ import annotations

import click

from fastsim.cli.options import debug_option, output_option


@click.command("merge", short_help="Join the slices of a run.")
@click.argument("outputs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@output_option("File of the same format as OUTPUTS.")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@debug_option
def command(outputs: tuple[str, ...], output: str, force: bool) -> None:
    """Join OUTPUTS, slices of one run in any order, to one file with one manifest.

    Their manifests must be beside them. No event may be missing between them, or be there twice; what they are slices
    of must be whole.

    \b
    Examples:
      fastsim merge slice*.hepmc3.gz -o events.hepmc3.gz
      fastsim merge part0.h5 part1.h5 part2.h5 -o all.h5
    """
    from fastsim.production.merging import merge

    manifest = merge(outputs, output, force=force)
    click.echo(f"{output}: {manifest.events:,} events of {len(outputs)} files", err=True)
