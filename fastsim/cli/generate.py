"""``fastsim generate``: hadrons, and calorimeter cells, from a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fastsim.cli import showers
from fastsim.cli.options import (
    as_path,
    collision_options,
    event_input,
    event_options,
    final_status_option,
    model_option,
    run_options,
    tune_option,
)
from fastsim.cli.stages import DEFAULT_STEPS, stage_options


@click.command("generate", short_help="Hadrons, and calorimeter cells, from a model.")
@event_options
@model_option
@collision_options
@stage_options
@click.option(
    "--num-inference-steps", metavar="N", type=click.IntRange(1), help="Network evaluations of a diffusion model."
)
@tune_option
@click.option("--device", default="cpu", show_default=True, help="Torch device: cpu; of a diffusion model also cuda.")
@click.option("--latent", is_flag=True, help="Save the model's latent variables (HDF5 output).")
@final_status_option
@run_options(threads=True, workers="Worker processes instead of threads; for cells, Geant4's where it is used.")
@showers.shower_options(required=False)
def command(
    input: str | None,
    gun: str | None,
    output: str,
    record: str,
    tau0_max: float,
    model: str | None,
    event: str | None,
    rest: str | None,
    pileup: float,
    pileup_events: Path | None,
    beam_spot: float,
    num_inference_steps: int | None,
    device: str,
    tune: str | None,
    latent: bool,
    steps: tuple[str, ...],
    shower_model: Any,
    shower_fallback: str | None,
    geant4_data: Path | None,
    final_status: tuple[int, ...],
    options: dict[str, Any],
    **shower_gun: Any,
) -> None:
    """Turn the partons of INPUT (an LHE file, .gz or not, or - for stdin) into hadrons with a trained model.

    Undecayed resonances are decayed by Pythia first; partons outside the model's limits go to Pythia and are
    counted in the summary.

    Events of hadron beams are whole collisions, with initial-state radiation, multiparton interactions and beam
    remnants: drawn from a library of Pythia's, which is made for a file once on a machine; in files of fewer than 512
    events Pythia makes each one. --event hard leaves the hadrons of the hard partons alone, as those of lepton beams
    and guns are. --pileup MU adds further collisions.

    --steps hadrons,calorimeter sends the hadrons on into a copper calorimeter and writes its cells too; --steps
    pythia,calorimeter takes the hadrons from Pythia; --steps calorimeter takes those of a HepMC, HDF5 or ROOT file.
    Single showers are made by fastsim showers.

    During a run the folder OUTPUT.parts holds its finished chunks, from which --resume goes on; OUTPUT.manifest.json,
    written at the end, lists what is in the output (docs/production.md).

    \b
    Examples:
      fastsim generate events.lhe.gz -o events.hepmc3.gz
      fastsim generate events.lhe -o events.root --model hadron-diffusion --num-inference-steps 8
      fastsim generate events.lhe.gz -o jets.hepmc3.gz --event hard
      fastsim generate events.lhe.gz -o events.hepmc3.gz --pileup 50
      fastsim generate --gun "flavour=b pt=100:500 num=10000" -o b.h5 --seed 7 --latent
      fastsim generate events.lhe -o events.h5 --model hadron-tree-tunes --tune "aLund=0.5 alphaS=0.13"
      fastsim generate events.lhe.gz -o slice3.hepmc3.gz --slice 3/20 --workers 4 --resume
      fastsim generate events.lhe -o cells.h5 --steps hadrons,calorimeter --shower-model geant4 --num-events 2
    """
    events_only = {
        "input": input,
        "gun": gun,
        "num_inference_steps": num_inference_steps,
        "tune": tune,
        "latent": latent,
        "steps": None if steps == DEFAULT_STEPS else steps,
        "shower_model": shower_model,
        "shower_fallback": shower_fallback,
        "geant4_data": geant4_data,
        "device": None if device == "cpu" else device,
        "record": None if record == "full" else record,
        "tau0_max": None if tau0_max == 10.0 else tau0_max,
        "final_status": None if final_status == (1,) else final_status,
        "event": event,
        "rest": rest,
        "pileup": pileup or None,
        "pileup_events": pileup_events,
    }
    if showers.asked(shower_gun, events_only):
        showers.make_as_before(output, shower_gun, model=model, geant4_data=None, options=options)
        return
    source = event_input(input, gun, options)
    if latent and (gun is None or not output.lower().endswith((".h5", ".hdf5"))):
        raise click.UsageError("--latent is for a gun's sets in HDF5: give --gun and an output ending in .h5")
    from fastsim import api
    from fastsim.cli.progress import progress
    from fastsim.cli.summary import show

    with progress("generating") as report:
        summary = api.generate(
            source,
            as_path(output),
            model=model,
            steps=steps,
            shower_model=shower_model,
            shower_fallback=shower_fallback,
            geant4_data=geant4_data,
            num_inference_steps=num_inference_steps,
            device=device,
            tune=tune,
            latent=latent,
            record=record,
            tau0_max=tau0_max,
            final_status=final_status,
            event=event,
            rest=rest,
            pileup=pileup,
            pileup_events=pileup_events,
            beam_spot=beam_spot,
            **options,
            progress=report,
        )
    show(summary, to_stderr=output == "-")
