"""Memory of long runs of ``fastsim generate``, from first to last event: the table of docs/production.md.

A million partons of a gun to HDF5, a hundred thousand events of an LHE file that repeats a short one, hadrons of their
hard partons alone, and two hundred thousand whole collisions of such a file. The memory of
the command and its workers (resident, from /proc) is sampled four times a second; the peak in each tenth of the
run shows whether it grows. Afterwards ``fastsim verify`` reads the output, and numbers and weights of the events are
compared with the input's.

    python -m bench.endurance --workers 1
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.validation.hadron_document import fill, table
from fastsim.errors import FastsimError
from fastsim.formats import hdf5, lhe

INTERVAL = 0.25
"""Seconds between two looks at the memory."""
PARTS = 10
"""Parts of a run whose peaks are compared."""
FASTSIM = (sys.executable, "-m", "fastsim.cli")

MemoryReading = tuple[float, int, int]
"""Time (s, UNIX) and resident bytes of the command and of all its workers."""


def repeated(source: Path, target: Path, num_events: int) -> None:
    """Write an LHE file of ``num_events`` events: the events of ``source`` over and over, as they are."""
    opened = gzip.open if source.suffix == ".gz" else open
    with opened(source, "rt", encoding="utf-8") as file:
        head, *events = file.read().split("<event")
    events = [f"<event{text.partition('</event>')[0]}</event>\n" for text in events]
    with target.open("w", encoding="utf-8") as file:
        file.write(head)
        for number in range(num_events):
            file.write(events[number % len(events)])
        file.write("</LesHouchesEvents>\n")


def resident(pid: int) -> int:
    """Read the resident bytes of a process; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def descendants(pid: int) -> Iterator[int]:
    """Yield the ids of the processes that a process has started, and of theirs."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            ids = children.read_text().split()
        except OSError:  # the thread has ended
            continue
        for child in map(int, ids):
            yield child
            yield from descendants(child)


def watched(words: list[str]) -> list[MemoryReading]:
    """Run a command to its end, and record its memory over time.

    Raises:
        FastsimError: if it fails.
    """
    samples = []
    process = subprocess.Popen(words)
    while process.poll() is None:
        samples.append((time.time(), resident(process.pid), sum(map(resident, descendants(process.pid)))))
        time.sleep(INTERVAL)
    if process.returncode != 0:
        raise FastsimError(f"exit status {process.returncode}: {' '.join(words)}")
    return samples


def chunk_times(log: Path) -> list[float]:
    """Read from the JSON lines of a run's log when each chunk was written (UNIX seconds)."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [datetime.fromisoformat(line["time"]).timestamp() for line in lines if line["event"] == "chunk"]


def peaks(samples: list[MemoryReading], chunks: list[float], parts: int = PARTS) -> list[int]:
    """Find the highest memory, of the command and its workers together, in parts of the run after the first chunk.

    Each part has equally many chunks; the last goes on to the end of the command.

    Args:
        samples: memory over time.
        chunks: times at which chunks were written, in UNIX seconds.
        parts: number of parts.

    Returns:
        Bytes, for each part in which memory was looked at.
    """
    edges = [chunks[0], *(part[-1] for part in np.array_split(chunks[1:], parts) if len(part))]
    edges[-1] = np.inf
    parts_of_run = [[own + others for at, own, others in samples if low <= at < high] for low, high in pairwise(edges)]
    return [max(part) for part in parts_of_run if part]


def check_events(path: Path, source: Path) -> None:
    """Check that the events of an HDF5 file have the numbers and weights of an LHE file's.

    Raises:
        FastsimError: if they differ.
    """
    for written, given in zip(hdf5.read_events(path)[1], lhe.read(source)[1], strict=True):
        if not (np.array_equal(written.number, given.number) and np.array_equal(written.weights, given.weights)):
            raise FastsimError(f"{path}: numbers or weights differ from the input's after event {given.number[0]}")


def row(what: str, source: str, output: Path, options: list[str]) -> list[str]:
    """Measure one run and write its row of the table.

    Args:
        what: name of the run.
        source: arguments of the command that name its input, separated by line breaks.
        output: file to write.
        options: further arguments of the command.
    """
    log = output.with_name(output.name + ".log")
    start = time.perf_counter()
    words = ["generate", *source.split("\n"), "-o", str(output), "--log-json", str(log), *options]
    samples = watched([*FASTSIM, *words])
    minutes = (time.perf_counter() - start) / 60
    subprocess.run([*FASTSIM, "verify", str(output)], check=True, stdout=subprocess.DEVNULL)
    chunks = chunk_times(log)
    by_part = peaks(samples, chunks)
    growth = max(by_part[1:], default=by_part[0]) / by_part[0] - 1
    highest = [max(sample[k] for sample in samples) / 2**20 for k in (1, 2)]
    size = output.stat().st_size / 2**20
    return [
        what,
        f"{len(chunks)}",
        f"{minutes:.1f} min",
        f"{size:,.0f} MiB",
        f"{highest[0]:,.0f}",
        f"{highest[1]:,.0f}",
        " ".join(f"{peak / 2**20:,.0f}" for peak in by_part),
        f"{growth:+.1%}",
    ]


HEADER = (
    "run",
    "chunks",
    "time",
    "output",
    "command, peak MiB",
    "workers, peak MiB",
    f"both, peak MiB in each {PARTS}th of the run",
    "highest over first",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partons", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument(
        "--collisions", type=int, default=200_000, help="whole ones; final particles, some 4 GB of them"
    )
    parser.add_argument("--input", type=Path, default=Path("data/examples/pp_dijet.lhe.gz"), help="to be repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes instead of threads")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of production.md")
    options = parser.parse_args()
    how = ["--workers", str(options.workers)] if options.workers else ["--threads", str(options.threads)]
    hard, rows = ["--event", "hard", *how], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.partons:
            gun = f"flavour=1,2,3,4,5,21 pt=20:2000 eta=-2:2 num={options.partons}"
            what = f"{options.partons:,} partons (gun), {' '.join(how)}"
            rows.append(row(what, f"--gun\n{gun}", folder / "partons.h5", hard))
        wholes = ["--event", "full", "--record", "final", *how]
        for what, num, words in (("events", options.events, hard), ("whole collisions", options.collisions, wholes)):
            if num:
                source, output = folder / f"{num}.lhe", folder / f"{num}.h5"
                repeated(options.input, source, num)
                rows.append(row(f"{num:,} {what} (LHE), {' '.join(how)}", str(source), output, words))
                check_events(output, source)
                output.unlink()
    text = table(HEADER, rows)
    print(text, end="")
    fill(options.docs / "production.md", "endurance", text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
