"""What whole collisions cost beside ordinary Pythia: LHE file to HepMC3 with the full record, start included.

``fastsim generate --event full`` with a library of rests, and ``fastsim reference --full``, each complete two numbers
of hard events in fresh processes. Time is that of the processor, of the command and all processes that it starts, and
``start + events x slope``; the last columns are what follows from it for 20,000 events. The library of a file, which a
machine makes once, is measured by itself: what it costs is counted for the 6,000 rests that 20,000 events would have.

    python -m bench.whole_events --processes dijets z-jet ttbar --folder runs/whole-events
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.break_even import line
from bench.endurance import FASTSIM
from bench.shower_speed import children_seconds
from bench.start import Cost
from bench.validation.collisions import PROCESSES
from examples import make_lhe

EVENTS, RESTS = 20_000, 6000
"""Events for which costs are extrapolated, and rests in the library of so many."""


def seconds(words: Sequence[str]) -> float:
    """Run a command of fastsim, and return its seconds of the processor.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    before = children_seconds()
    subprocess.run([*FASTSIM, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return children_seconds() - before


def rows(process: str, sizes: tuple[int, int], folder: Path, models: Sequence[str]) -> Iterator[str]:
    """Yield the rows of the table of a process, Pythia first."""
    folder.mkdir(parents=True, exist_ok=True)
    source, library = folder / f"{process}-{sizes[1]}.lhe.gz", folder / f"{process}-{sizes[1]}.h5"
    if not source.exists():
        make_lhe.BEAM_ENERGY = 6800.0
        make_lhe.write(source, [(PROCESSES[process], sizes[1])], seed=17)
    a_rest = seconds(["library", "rests", str(source), "-o", str(library), "--force"]) / sizes[1]
    commands = {"Pythia": ["reference", "--full"]}
    for model in models:
        commands[model] = ["generate", "--event", "full", "--rest", str(library), "--model", model, "--threads", "1"]
    pythia = 0.0
    for name, words in commands.items():
        output = ["-o", str(folder / "out.hepmc3"), "--force"]
        costs = [Cost(seconds([*words, str(source), "--num-events", str(num), *output]), 0.0) for num in sizes]
        start, slope = line(costs[0], costs[1], sizes, "processor")
        all_events = start + EVENTS * slope
        pythia = pythia or all_events
        with_library = all_events + (RESTS * a_rest if name != "Pythia" else 0.0)
        cells = [f"{start:.1f}", f"{1e3 * slope:.2f}", f"{all_events:.0f}", f"{pythia / all_events:.2f}"]
        yield "| " + " | ".join([process, name, *cells, f"{pythia / with_library:.2f}"]) + " |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", nargs="+", choices=PROCESSES, default=["dijets", "z-jet", "ttbar"])
    parser.add_argument("--num", type=int, nargs=2, default=(512, 2048), help="events of the short and of the long run")
    parser.add_argument("--models", nargs="+", default=["hadron-tree"])
    parser.add_argument("--folder", type=Path, required=True, help="of the hard events, which are made once")
    options = parser.parse_args()
    few, many = options.num
    print("| process | source | start / s | ms an event | 20,000 events / s | times Pythia | with the library |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for process in options.processes:
        for row in rows(process, (few, many), options.folder, options.models):
            print(row, flush=True)


if __name__ == "__main__":
    main()
