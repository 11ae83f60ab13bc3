"""``fastsim models``: the models that ship, their limits of validity and their validation figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fastsim.cli.options import debug_option

if TYPE_CHECKING:
    from fastsim.sources.cards import ModelCard


@click.command("models", short_help="List the shipped models.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole cards as a JSON list.")
@debug_option
def command(as_json: bool) -> None:
    """List the models that ship with fastsim: limits of validity, size, validation figures.

    Models turn partons into hadrons, or particles into showers of a calorimeter. A figure is the worst of all
    validation cells, beside the same figure of the reference (Pythia, Geant4) against itself.

    \b
    Examples:
      fastsim models
      fastsim models --json
    """
    from fastsim.sources import cards

    entries = [cards.read(name) for name in cards.available()]
    if as_json:
        import json

        click.echo(json.dumps([json.loads(card.to_json()) for card, _ in entries], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "kind", "valid for", "pT or energy / GeV", "size / MB", "figures (reference against itself)")
    for card, path in entries:
        weights = path.parent / card.weights
        size = f"{weights.stat().st_size / 1e6:.1f}" if weights.is_file() else "missing"
        name = f"{card.name} (default)" if card.name == cards.DEFAULT_MODEL else card.name
        table.add_row(name, card.kind, *limits(card), size, "\n".join(figures(card)))
    Console(width=None if Console().is_terminal else 120).print(table)


def limits(card: ModelCard) -> tuple[str, str]:
    """Return the limits of a model as two texts.

    Returns:
        Partons, or particles and detector; and the range of pT, or of kinetic energy, in GeV.
    """
    from fastsim.detector.detector import PARTICLES
    from fastsim.event.species import QUARKS
    from fastsim.sources.domains import ShowerDomain

    domain = card.domain
    if isinstance(domain, ShowerDomain):
        particles = " ".join(name for name, (pdg_id, _) in PARTICLES.items() if pdg_id in domain.particles)
        return f"{particles} in {card.detector}", f"{domain.min_energy:g} - {domain.max_energy:g}"
    names = {pdg_id: name for name, pdg_id in QUARKS.items()} | {21: "g"}
    flavours = dict.fromkeys(names.get(abs(i), str(i)) for i in sorted(domain.flavours, key=abs))
    return " ".join(flavours), f"{domain.pt_min:g} - {domain.pt_max:g}"


def figures(card: ModelCard) -> list[str]:
    """Return a line for each validation figure of a card; of figures ``NAME/CELL`` that of the largest value."""
    worst: dict[str, str] = {}
    for name in sorted(card.metrics, key=lambda name: card.metrics[name].value):
        worst[name.split("/")[0]] = name
    lines = []
    for name in sorted(worst.values()):
        figure = card.metrics[name]
        null = f"{figure.null:.3g} ± {figure.null_error:.1g}"
        lines.append(f"{name}: {figure.value:.3g} ± {figure.error:.1g} ({null})")
    return lines
