"""``fastsim models``: what ships, where it is valid, how well it does."""

from __future__ import annotations

import click

from fastsim.cli.options import debug_option


@click.command("models", short_help="List the shipped models.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole cards as a JSON list.")
@debug_option
def command(as_json: bool) -> None:
    """List the models that ship with fastsim: limits of validity, size, validation figures.

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
    table = Table("model", "kind", "partons", "pT / GeV", "size / MB", "figures (reference against itself)")
    for card, path in entries:
        figures = "\n".join(
            f"{name} {f.value:.3g} ± {f.error:.1g} ({f.null:.3g} ± {f.null_error:.1g})"
            for name, f in sorted(card.metrics.items())
        )
        weights = path.parent / card.weights
        size = f"{weights.stat().st_size / 1e6:.1f}" if weights.is_file() else "missing"
        name = f"{card.name} (default)" if card.name == cards.DEFAULT_MODEL else card.name
        flavours = " ".join(dict.fromkeys(names.get(abs(i), str(i)) for i in sorted(card.domain.flavours, key=abs)))
        table.add_row(name, card.kind, flavours, f"{card.domain.pt_min:g} - {card.domain.pt_max:g}", size, figures)
    Console(width=None if Console().is_terminal else 120).print(table)
