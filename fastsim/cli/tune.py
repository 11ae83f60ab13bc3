"""``fastsim tune``: fit parameters of Pythia to events or to measured tables."""

from __future__ import annotations

from pathlib import Path

import click

from fastsim.cli.options import complete_model, debug_option


@click.command("tune", short_help="Fit parameters of Pythia to events or tables.")
@click.argument("description", metavar="DATA", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="OUTPUT.json and OUTPUT.png are written."
)
@click.option(
    "--model", metavar="NAME|PATH", shell_complete=complete_model, help="Model of tunes.  [default: as DATA says]"
)
@click.option("--force", is_flag=True, help="Replace outputs that exist.")
@debug_option
def command(description: Path, output: Path, model: str | None, force: bool) -> None:
    """Fit the parameters that DATA (.toml) names to a sample of events, or to measured tables.

    To events (files of fastsim generate or reference, with --record full) the fit is unbinned: the parameters that
    make them most likely. To tables (YODA) the model is sampled on the way, with derivatives by likelihood ratios, and
    chi2 is minimised. Printed: values, uncertainties, correlations, agreement before and after, and flags for what no
    number says: edges of ranges, directions that the data do not determine. docs/tunes.md lists the keys.

    \b
    Examples:
      fastsim tune events.toml -o fit
        # [parameters]
        # aLund = 0.68
        # alphaS = 0.1365
        # [events]
        # files = ["events.h5"]
      fastsim tune lep.toml -o lep
        # [parameters]
        # alphaS = {start = 0.1365, low = 0.13, high = 0.145}
        # [tables]
        # files = ["ALEPH_1996_S3486095.yoda"]
        # observables = ["ALEPH_1996_S3486095/d03-x01-y01", "ALEPH_1996_S3486095/d19-x01-y01"]
    """
    from fastsim import api

    def note(line: str) -> None:
        click.echo(f"fastsim: {line}", err=True)

    result = api.tune(description, output, model=model, force=force, progress=note)
    click.echo(str(result))
