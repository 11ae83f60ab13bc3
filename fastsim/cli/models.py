"""``fastsim models``: the models that ship, their limits of validity and their validation figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fastsim.cli.options import complete_model, debug_option

if TYPE_CHECKING:
    from pathlib import Path

    from fastsim.sources.cards import Figure, ModelCard


@click.command("models", short_help="List the shipped models, or show one.")
@click.argument("name", required=False, shell_complete=complete_model)
@click.option("--json", "as_json", is_flag=True, help="Print the whole cards as a JSON list.")
@debug_option
def command(name: str | None, as_json: bool) -> None:
    """List the models that ship with fastsim, or show the card of one: NAME, or the path of a card (.json).

    Models turn partons into hadrons, or particles into showers of a calorimeter. A figure is the worst of all
    validation cells, beside the same figure of the reference (Pythia, Geant4) against itself.

    \b
    Examples:
      fastsim models
      fastsim models hadron-tree
      fastsim models --json
    """
    from fastsim.sources import cards

    entries = [cards.read(found) for found in ([name] if name else cards.available())]
    if as_json:
        import json

        click.echo(json.dumps([json.loads(card.to_json()) for card, _ in entries], indent=2))
    elif name:
        print("\n".join(card_text(*entries[0])))
    else:
        print("\n\n".join("\n".join(_short(card, path)) for card, path in entries))
        print("\nIn brackets the reference against itself. 'fastsim models NAME' shows a card.")


def _short(card: ModelCard, path: Path) -> list[str]:
    """Return the lines that say of a model what it is for, how large it is and how far it is to be trusted."""
    from fastsim.sources import cards

    default = ", the default" if card.name == cards.DEFAULT_MODEL else ""
    inputs, energies = limits(card)
    quantity = "kinetic energy" if card.makes == cards.SHOWERS else "pT"
    theta = getattr(card.domain, "max_theta", 0.0)
    angles = f", angles to the normal up to {theta:g} rad" if theta > 0 else ""
    lines = [
        f"{card.name} ({card.kind}, {_size(card, path)}{default})",
        *_wrapped("valid for", f"{inputs}, {quantity} {energies} GeV{angles}"),
    ]
    for figure in figures(card):
        lines += _wrapped("worst", figure)
    return lines


def card_text(card: ModelCard, path: Path) -> list[str]:
    """Return everything that a card says of a model as lines of at most 80 columns, tables of figures included.

    Args:
        card: the card.
        path: of the card.
    """
    import json

    lines = [*_short(card, path), "", f"  {'version':<12}{card.version}", f"  {'licence':<12}{card.licence}"]
    lines += [f"  {'card':<12}{path}", f"  {'weights':<12}{card.weights}", f"  {'SHA-256':<12}{card.sha256}"]
    families = list(dict.fromkeys(name.split("/")[0] for name in card.metrics))
    for family in families:
        lines += ["", f"{family} (beside it: the reference against itself)"]
        for name, figure in card.metrics.items():
            if name.split("/")[0] == family:
                lines.append(f"  {name.partition('/')[2] or family:<28} {_figure(figure)}")
    for title, values in (("training", card.training), ("configuration", card.config)):
        lines += ["", title, *json.dumps(values, indent=2).splitlines()]
    return lines


def _size(card: ModelCard, path: Path) -> str:
    weights = path.parent / card.weights
    return f"{weights.stat().st_size / 1e6:.1f} MB" if weights.is_file() else "weights are missing"


def _wrapped(label: str, text: str) -> list[str]:
    """Return a label and a text that goes on below itself, in 80 columns."""
    import textwrap

    return textwrap.wrap(text, 79, initial_indent=f"  {label:<12}", subsequent_indent=" " * 14, break_on_hyphens=False)


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
        lines.append(f"{name}: {_figure(card.metrics[name])}")
    return lines


def _figure(figure: Figure) -> str:
    return f"{figure.value:.3g} ± {figure.error:.1g} ({figure.null:.3g} ± {figure.null_error:.1g})"
