"""``fastsim models``: what ships, where it is valid, how well it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fastsim.cli.options import debug_option

if TYPE_CHECKING:
    from fastsim.cards import ModelCard


@click.command("models", short_help="List the shipped models.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole cards as a JSON list.")
@debug_option
def command(as_json: bool) -> None:
    """List the models that ship with fastsim: limits of validity, size, validation figures.

    A figure is the worst of all validation cells, beside the same figure of Pythia against Pythia.

    \b
    Examples:
      fastsim models
      fastsim models --json
    """
    from fastsim import cards

    entries = [cards.read(name) for name in cards.available()]
    if as_json:
        import json

        click.echo(json.dumps([json.loads(card.to_json()) for card, _ in entries], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    from fastsim.species import QUARKS

    names = {pdg_id: name for name, pdg_id in QUARKS.items()} | {21: "g"}
    table = Table("model", "kind", "partons", "pT / GeV", "size / MB", "figures (Pythia against Pythia)")
    for card, path in entries:
        weights = path.parent / card.weights
        size = f"{weights.stat().st_size / 1e6:.1f}" if weights.is_file() else "missing"
        name = f"{card.name} (default)" if card.name == cards.DEFAULT_MODEL else card.name
        flavours = " ".join(dict.fromkeys(names.get(abs(i), str(i)) for i in sorted(card.domain.flavours, key=abs)))
        limits = f"{card.domain.pt_min:g} - {card.domain.pt_max:g}"
        table.add_row(name, card.kind, flavours, limits, size, "\n".join(figures(card)))
    Console(width=None if Console().is_terminal else 120).print(table)


def figures(card: ModelCard) -> list[str]:
    """A line for each figure of a card; of ``NAME/CELL`` the cell where the value is largest."""
    worst: dict[str, str] = {}
    for name in sorted(card.metrics, key=lambda name: card.metrics[name].value):
        worst[name.split("/")[0]] = name
    lines = []
    for name in sorted(worst.values()):
        figure = card.metrics[name]
        null = f"{figure.null:.3g} ± {figure.null_error:.1g}"
        lines.append(f"{name}: {figure.value:.3g} ± {figure.error:.1g} ({null})")
    return lines
