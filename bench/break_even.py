"""From how many dijets on ``fastsim generate`` is quicker than ``fastsim reference``, start included, to HepMC3.

Both commands run on files of whole chunks of dijets of the shipped example, in fresh processes, in alternation, with
kernels compiled before; the least of some repeats counts. Time is ``start + events x slope``, by the clock and in time
of the processor (user and system, of all threads). The clock means something on a machine without other work.

    python -m bench.break_even
    python -m bench.break_even --repeats 5 --chunks 1 6
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.start import EVENTS, Cost, measure
from fastsim.production.chunks import EVENTS_PER_CHUNK

COMMANDS = ("generate", "reference")


def dijets(path: Path, num: int) -> Path:
    """Write a file of ``num`` dijets, those of the example over and over, and return its path."""
    head, *events = gzip.decompress(EVENTS.read_bytes()).decode().split("<event>")
    bodies = [body.partition("</event>")[0] for body in events]
    text = "".join(f"<event>{bodies[k % len(bodies)]}</event>\n" for k in range(num))
    path.write_text(f"{head}{text}</LesHouchesEvents>\n")
    return path


def line(few: Cost, many: Cost, sizes: tuple[int, int], kind: str) -> tuple[float, float]:
    """Return the start in s and the slope in s an event of a time of the costs of so many events."""
    low, high = getattr(few, kind), getattr(many, kind)
    slope = (high - low) / (sizes[1] - sizes[0])
    return low - sizes[0] * slope, slope


def break_even(model: tuple[float, float], reference: tuple[float, float]) -> float:
    """Return the number of events at which two lines (start, slope) meet: 0 if the model is ahead from the first on.

    >>> break_even((2.0, 0.001), (1.0, 0.002)), break_even((1.0, 0.001), (2.0, 0.002))
    (1000.0, 0.0)
    """
    if model[1] >= reference[1]:
        return float("inf")
    return max(0.0, (model[0] - reference[0]) / (reference[1] - model[1]))


def measure_all(chunks: tuple[int, int], repeats: int) -> dict[str, list[Cost]]:
    """Return the costs of each command for the two numbers of chunks."""
    sizes = [EVENTS_PER_CHUNK * num for num in chunks]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [dijets(folder / f"{num}.lhe", num) for num in sizes]
        out = ["--force", "-o", str(folder / "out.hepmc3")]
        measure(["-m", "fastsim.cli", "generate", "--event", "hard", str(EVENTS), *out], folder / "kernels")
        rounds: dict[str, list[list[Cost]]] = {command: [[], []] for command in COMMANDS}
        for _ in range(repeats):
            for k, file in enumerate(files):
                for command in COMMANDS:
                    hard = ["--event", "hard"] if command == "generate" else []
                    words = ["-m", "fastsim.cli", command, *hard, str(file), *out]
                    rounds[command][k].append(measure(words, folder / "kernels"))
    return {
        command: [Cost(min(c.processor for c in costs), min(c.wall for c in costs)) for costs in both]
        for command, both in rounds.items()
    }


def table(costs: dict[str, list[Cost]], sizes: tuple[int, int]) -> str:
    """Return starts, slopes and break-even as a Markdown table."""
    lines = ["| time | generate: start / s | ms a dijet | reference: start / s | ms a dijet | break-even |"]
    lines.append("|---|---|---|---|---|---|")
    for kind, label in (("processor", "of the processor"), ("wall", "by the clock")):
        model, reference = (line(costs[name][0], costs[name][1], sizes, kind) for name in COMMANDS)
        cells = [f"{value:.2f}" for start, slope in (model, reference) for value in (start, 1e3 * slope)]
        lines.append(f"| {label} | {' | '.join(cells)} | {break_even(model, reference):,.0f} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--chunks", type=int, nargs=2, default=(1, 6), help="chunks of the short and of the long file")
    options = parser.parse_args(words)
    few, many = options.chunks
    print(table(measure_all((few, many), options.repeats), (EVENTS_PER_CHUNK * few, EVENTS_PER_CHUNK * many)))


if __name__ == "__main__":
    main()
