"""What whole collisions cost beside ordinary Pythia: LHE file to HepMC3 with the full record, start included.

``fastsim generate --event full`` with a library of rests, and ``fastsim reference --full``, each complete two numbers
of hard events in fresh processes. Time is that of the processor, of the command and all processes that it starts, and
``start + events x slope``; the last columns are what follows from it for 20,000 events. The library of a file, which a
machine makes once, is measured by itself: what it costs is counted for the 6,000 rests that 20,000 events would have.

    python -m bench.whole_events --processes dijets z-jet ttbar --folder runs/whole-events
    python -m bench.whole_events --processes dijets --parts --folder runs/whole-events

With ``--parts`` the longer run is made once more in this process, and the time of its parts is shown.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

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


def parts(source: Path, library: Path, output: Path, model: str) -> Iterator[str]:
    """Yield the parts of a run of ``fastsim generate`` with their ms of processor time an event, the longest first.

    Pythia, kernels and what else starts once are started before.
    """
    import fastsim
    from fastsim.formats.hepmc import Writer
    from fastsim.production.store import Store
    from generators.hadrons.step import Hadronize
    from generators.rests.step import AddRest

    named = {
        "hadrons of the hard partons": (Hadronize, "step"),
        "the rest": (AddRest, "step"),
        "HepMC3": (Writer, "write"),
        "chunk kept while it runs": (Store, "save"),
    }
    spent: defaultdict[str, float] = defaultdict(float)

    def timed(name: str, function: Any) -> Any:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += time.thread_time() - start

        return run

    words: dict[str, Any] = {"event": "full", "rest": library, "model": model, "threads": 1, "force": True}
    fastsim.generate(source, output, num_events=1, **words)
    with ExitStack() as stack:
        for name, (owner, method) in named.items():
            stack.enter_context(patch.object(owner, method, timed(name, getattr(owner, method))))
        start = time.process_time()
        events = fastsim.generate(source, output, **words).events
        total = time.process_time() - start
    spent["all else"] = total - sum(spent.values())
    for name, each in sorted(spent.items(), key=lambda part: -part[1]):
        yield f"{name}: {1e3 * each / events:.3f} ms an event"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", nargs="+", choices=PROCESSES, default=["dijets", "z-jet", "ttbar"])
    parser.add_argument("--num", type=int, nargs=2, default=(512, 2048), help="events of the short and of the long run")
    parser.add_argument("--parts", action="store_true", help="also show which parts of the model's run take the time")
    parser.add_argument("--models", nargs="+", default=["hadron-tree"])
    parser.add_argument("--folder", type=Path, required=True, help="of the hard events, which are made once")
    options = parser.parse_args()
    few, many = options.num
    print("| process | source | start / s | ms an event | 20,000 events / s | times Pythia | with the library |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for process in options.processes:
        for row in rows(process, (few, many), options.folder, options.models):
            print(row, flush=True)
        if options.parts:
            source, library, output = (
                options.folder / f"{process}-{many}{end}" for end in (".lhe.gz", ".h5", ".hepmc3")
            )
            print("", *parts(source, library, output, options.models[0]), sep="\n", flush=True)


if __name__ == "__main__":
    main()
