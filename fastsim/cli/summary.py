"""The table that is printed at the end of a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastsim.api import Summary


def show(summary: Summary, *, to_stderr: bool = False) -> None:
    """Print the summary of a run as a table, on stderr if stdout carries the events."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in summary.rows():
        table.add_row(name, value)
    Console(stderr=to_stderr).print(table)
    for line in summary.warnings():
        print(f"fastsim: {line}", file=sys.stderr)
