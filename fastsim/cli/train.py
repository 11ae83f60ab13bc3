"""``fastsim train``: train the model that a config describes, and write its card and weights."""

from __future__ import annotations

from pathlib import Path

import click

from fastsim.cli.options import debug_option


@click.command("train", short_help="Train a model.")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of checkpoints, logs, card and weights.  [default: runs/<name of CONFIG>]",
)
@click.option("--restart", is_flag=True, help="Start anew instead of resuming from the last checkpoint.")
@debug_option
def command(config: Path, output: Path | None, restart: bool) -> None:
    """Train the model that CONFIG describes, on data made with the reference (cached).

    A run that was stopped resumes from its last checkpoint when the same command is given again.

    \b
    Examples:
      fastsim train data/configs/hadron-tree.json
      fastsim train my-model.json -o runs/my-model --restart
    """
    from fastsim.api import train
    from fastsim.cli.progress import training_notes

    folder = output or Path("runs") / config.stem
    with training_notes():
        card = train(config, folder, resume=not restart)
    click.echo(str(card))
