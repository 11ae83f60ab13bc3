"""``fastsim doctor``: facts about the machine and the installation for a bug report."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from fastsim.cli.options import debug_option

NUM_BYTES = 64 << 20
"""Bytes written to measure the speed of a folder."""


@click.command("doctor", short_help="Versions, processor, threads, data, write speed: for bug reports.")
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False))
@debug_option
def command(folder: str) -> None:
    """Print what a bug report should say of this machine and installation; write speed is that of FOLDER.

    \b
    Examples:
      fastsim doctor
      fastsim doctor /scratch/$USER
    """
    for name, value in facts(Path(folder)):
        click.echo(f"{name:<18} {value}")


def facts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield names and values of facts as they are found; the speed of writing is measured in ``folder``."""
    from fastsim.production.manifest import versions
    from fastsim.production.options import available_cpus
    from fastsim.registry import geant4_status

    yield "python", f"{platform.python_version()} ({platform.python_implementation()}, {platform.machine()})"
    yield "system", platform.platform()
    yield from versions().items()
    yield "processor", _processor()
    yield "cpus", f"{available_cpus()} of {os.cpu_count()}"
    yield "memory", _memory()
    named = [f"{key}={os.environ[key]}" for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if key in os.environ]
    yield "threads set by", ", ".join(named) or "nothing"
    yield from _torch()
    yield from _models()
    yield "geant4", geant4_status()
    yield "write speed", _write_speed(folder)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError):
        return "unknown"


def _torch() -> Iterator[tuple[str, str]]:
    """Yield torch's number of threads, processor instructions, and speed with bfloat16."""
    import torch

    yield "torch threads", str(torch.get_num_threads())
    yield "torch cpu", torch.backends.cpu.get_cpu_capability()
    # a product in bfloat16 that is no faster than one in float32 means that the processor emulates it
    seconds = {kind: _product(kind) for kind in (torch.float32, torch.bfloat16)}
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    yield "bfloat16", f"{ratio:.1f} times the speed of float32"


def _product(kind: object) -> float:
    """Return the seconds of a product of two matrices of 512 rows, the best of five."""
    import torch

    matrix = torch.ones(512, 512, dtype=kind)  # type: ignore[call-overload]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return min(times)


def _models() -> Iterator[tuple[str, str]]:
    """Yield version and checksum of each model that ships, or what is wrong with it."""
    from fastsim.errors import FastsimError
    from fastsim.sources.cards import available, load

    for name in available():
        try:
            card, _ = load(name)
            yield f"model {name}", f"version {card.version}, {card.sha256[:12]}, intact"
        except FastsimError as error:
            yield f"model {name}", str(error)


def _write_speed(folder: Path) -> str:
    """Measure how fast a file is written in a folder."""
    block = os.urandom(1 << 20)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".fastsim-doctor-") as file:
            start = time.perf_counter()
            for _ in range(NUM_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            seconds = time.perf_counter() - start
    except OSError as error:
        return f"{folder.resolve()}: {error.strerror}"
    return f"{NUM_BYTES / seconds / 1e6:,.0f} MB/s in {folder.resolve()}"
