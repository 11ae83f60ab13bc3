"""``fastsim verify``: check outputs against their manifests."""

from __future__ import annotations

import click

from fastsim.cli.options import debug_option


@click.command("verify", short_help="Check outputs against their manifests.")
@click.argument("outputs", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option("--quick", is_flag=True, help="Checksums alone; do not read the events.")
@debug_option
def command(outputs: tuple[str, ...], quick: bool) -> None:
    """Check each of OUTPUTS against its manifest: checksum, events, particles and weights of every chunk.

    Several OUTPUTS must be slices of one run: no event may be missing between them, or be there twice. Exits 1 with
    one line that says what is wrong.

    \b
    Examples:
      fastsim verify events.hepmc3.gz
      fastsim verify slice*.h5 --quick
    """
    from rich.console import Console
    from rich.table import Table

    from fastsim.production.verify import verify_together

    manifests = verify_together(outputs, read=not quick)
    first, events = manifests[0].first_event, sum(m.events for m in manifests)
    counts = [
        ("final particles", sum(m.particles for m in manifests)),
        ("cells with energy", sum(m.cells for m in manifests)),
    ]
    rows = [
        ("outputs", f"{len(manifests):,}"),
        (
            "events",
            f"{events:,}, from {first:,}",
        ),
        ("chunks", f"{sum(len(m.chunks) for m in manifests):,}"),
        *((name, f"{total:,}") for name, total in counts if total),
        ("sum of weights", f"{sum(m.sum_weights for m in manifests):.6g}"),
        ("of squares", f"{sum(m.sum_weights2 for m in manifests):.6g}"),
        ("bytes", f"{sum(m.bytes for m in manifests):,}"),
    ]
    table = Table(show_header=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
