"""``fastsim reference``: hadrons from Pythia, for the same input; calorimeter showers from Geant4."""

from __future__ import annotations

from typing import Any

import click

from fastsim.cli import shower
from fastsim.cli.options import as_path, event_input, event_options, run_options, scheduler_option


@click.command("reference", short_help="Hadrons from Pythia, showers from Geant4.")
@event_options
@shower.shower_options
@run_options
@click.option(
    "--workers", metavar="N", type=click.IntRange(0), default=0, show_default=True, help="Worker processes; 0: none."
)
@scheduler_option
@click.option("--full", is_flag=True, help="Ordinary Pythia on the events: ISR, FSR, MPI, one shower for all partons.")
def command(
    input: str | None,
    gun: str | None,
    output: str,
    seed: int,
    num_events: int | None,
    first_event: int,
    force: bool,
    workers: int,
    scheduler: str | None,
    full: bool,
    part: tuple[int, int] | None,
    resume: bool,
    log: str | None,
    **showers: Any,
) -> None:
    """Turn the partons of INPUT (an LHE file, .gz or not, or - for stdin) into hadrons with Pythia.

    Each parton goes through the Pythia gun that the models learn from, and events are built just as for a
    model, so that the two outputs differ in the model alone. --full runs ordinary Pythia instead.

    While it runs, OUTPUT.parts holds the finished chunks, from which --resume goes on; OUTPUT.manifest.json tells
    what was written (docs/production.md).

    With --detector, --particle, --energy and --num: showers of Geant4 in a calorimeter instead, as a CaloChallenge
    HDF5 file with its binning (.xml) beside it; --first-event, --num-events and --slice choose some of the --num.

    \b
    Examples:
      fastsim reference events.lhe.gz -o reference.hepmc3.gz --workers 2
      fastsim reference events.lhe.gz -o pythia.hepmc3 --full
      fastsim reference --gun "flavour=u,g pt=20:2000 num=100000" -o reference.h5
      fastsim reference --detector pb-si-ecal --particle e- --energy 1:100 --num 20000 -o showers.h5 --workers 2
    """
    events_only = {
        "input": input,
        "gun": gun,
        "full": full,
        "scheduler": scheduler,
    }
    plan: dict[str, Any] = {
        "seed": seed,
        "num_events": num_events,
        "first_event": first_event,
        "workers": workers,
        "part": part,
        "resume": resume,
        "force": force,
        "log": log,
    }
    if shower.asked(showers, events_only):
        shower.run(showers, output, plan=plan)
        return
    source = event_input(input, gun)
    if full and gun is not None:
        raise click.UsageError("--full needs an LHE file, not --gun")
    from fastsim import api
    from fastsim.cli.progress import progress
    from fastsim.cli.summary import show

    with progress("running Pythia") as report:
        summary = api.reference(
            source,
            as_path(output),
            full=full,
            scheduler=scheduler,
            **plan,
            progress=report,
        )
    show(summary, to_stderr=output == "-")
