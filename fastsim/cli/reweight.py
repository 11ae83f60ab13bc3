"""``fastsim reweight``: weights of events for other tunes."""

from __future__ import annotations

import click

from fastsim.cli.options import as_path, complete_model, debug_option


@click.command("reweight", short_help="Weights that move events to other tunes.")
@click.argument("events", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    required=True,
    help="Events with the weights (.hepmc3, .h5, .root ...), or weights alone (.npz, .csv).",
)
@click.option(
    "--to", "to", metavar="TUNE", multiple=True, required=True, help='A tune to move to: "aLund=0.5 alphaS=0.13".'
)
@click.option("--tune", metavar="TUNE", help="The tune of EVENTS.  [default: as EVENTS says]")
@click.option(
    "--model", metavar="NAME|PATH", shell_complete=complete_model, help="Model of tunes.  [default: as EVENTS says]"
)
@click.option(
    "--partons",
    metavar="LHE",
    type=click.Path(exists=True, dir_okay=False),
    help="Hard processes of a HepMC file, event by event.",
)
@click.option(
    "--min-ess",
    metavar="SHARE",
    type=click.FloatRange(0.0, 1.0),
    default=0.1,
    show_default=True,
    help="Least effective sample size over the number of events.",
)
@click.option("-n", "--num-events", metavar="N", type=click.IntRange(1), help="Take the first N events.")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@debug_option
def command(
    events: str,
    output: str,
    to: tuple[str, ...],
    tune: str | None,
    model: str | None,
    partons: str | None,
    min_ess: float,
    num_events: int | None,
    force: bool,
) -> None:
    """Compute weights that move EVENTS, a file of fastsim generate with a model of tunes, to other tunes.

    EVENTS may also be Pythia's, or HepMC of any generator, of e+ e- -> q qbar alone, whose partons --partons says.

    A weight is p_B / p_A, the ratio of the densities that the model gives to all hadrons it made in the event. The
    output has each event once, with one more named weight for each --to; effective sample sizes are printed, and
    weights that leave less than --min-ess of the events are refused.

    \b
    Examples:
      fastsim reweight events.h5 -o varied.hepmc3.gz --to "aLund=0.6" --to "aLund=0.76"
      fastsim reweight events.h5 -o weights.npz --to "alphaS=0.134" --to "alphaS=0.139" --min-ess 0.2
      fastsim reweight pythia.h5 -o weights.csv --tune Monash --to "StoUD=0.2 sigma=0.32"
      fastsim reweight ee.hepmc3 --partons ee.lhe -o varied.hepmc3 --tune Monash --to "aLund=0.6"
    """
    from fastsim import api
    from fastsim.cli.progress import progress

    with progress("reweighting") as report:
        result = api.reweight(
            as_path(events),
            as_path(output),
            to=list(to),
            tune=tune,
            model=model,
            partons=partons,
            min_ess=min_ess,
            num_events=num_events,
            force=force,
            progress=report,
        )
    click.echo(str(result))
