"""``fastsim reference``: hadrons from Pythia, for the same input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fastsim.cli import showers
from fastsim.cli.options import as_path, event_input, event_options, run_options, tune_option


@click.command("reference", short_help="Hadrons from Pythia.")
@event_options
@run_options()
@click.option("--full", is_flag=True, help="Ordinary Pythia on the events: ISR, FSR, MPI, one shower for all partons.")
@click.option(
    "--pythia",
    "pythia_settings",
    metavar="SETTING",
    multiple=True,
    help='A further setting of Pythia for --full, such as "Merging:doKTMerging = on"; may be repeated.',
)
@tune_option
@click.option("--geant4-data", type=click.Path(path_type=Path), hidden=True)
@showers.shower_options(required=False)
def command(
    input: str | None,
    gun: str | None,
    output: str,
    record: str,
    tau0_max: float,
    full: bool,
    pythia_settings: tuple[str, ...],
    tune: str | None,
    geant4_data: Path | None,
    options: dict[str, Any],
    **shower_gun: Any,
) -> None:
    """Turn the partons of INPUT (an LHE file, .gz or not, or - for stdin) into hadrons with Pythia.

    Each parton goes through the Pythia gun that the models learn from, and events are built just as for a
    model, so that the two outputs differ in the model alone. --full runs ordinary Pythia instead. Single showers of
    Geant4 are made by fastsim showers --model geant4.

    During a run the folder OUTPUT.parts holds its finished chunks, from which --resume goes on; OUTPUT.manifest.json,
    written at the end, lists what is in the output (docs/production.md).

    \b
    Examples:
      fastsim reference events.lhe.gz -o reference.hepmc3.gz --workers 2
      fastsim reference events.lhe.gz -o pythia.hepmc3 --full
      fastsim reference --gun "flavour=u,g pt=20:2000 num=100000" -o reference.h5
    """
    events_only = {
        "input": input,
        "gun": gun,
        "full": full,
        "tune": tune,
        "scheduler": options["scheduler"],
        "record": None if record == "full" else record,
        "tau0_max": None if tau0_max == 10.0 else tau0_max,
    }
    if showers.asked(shower_gun, events_only):
        showers.make_as_before(output, shower_gun, model="geant4", geant4_data=geant4_data, options=options)
        return
    if geant4_data is not None:
        raise click.UsageError("--geant4-data needs --detector")
    source = event_input(input, gun, options)
    if full and gun is not None:
        raise click.UsageError("--full needs an LHE file, not --gun")
    if pythia_settings and not full:
        raise click.UsageError("--pythia needs --full: the gun's settings are those that the models learned from")
    from fastsim import api
    from fastsim.cli.progress import progress
    from fastsim.cli.summary import show

    with progress("running Pythia") as report:
        summary = api.reference(
            source,
            as_path(output),
            full=full,
            pythia_settings=pythia_settings,
            tune=tune,
            record=record,
            tau0_max=tau0_max,
            **options,
            progress=report,
        )
    show(summary, to_stderr=output == "-")
