"""Whole collisions: the Steps that add the rest and pile-up, and the libraries that these are drawn from.

A library is made by Pythia, at a path that is given, or once in the cache of this machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsim.errors import FastsimError
from fastsim.event import RunInfo
from fastsim.formats.atomic import PathLike
from fastsim.production.options import Progress
from fastsim.registry import REFERENCE, installed_version
from fastsim.shipped import sha256_of
from fastsim.sources.collisions import WHOLE, Collisions, is_lepton, is_nucleon
from fastsim.sources.hadrons import TAU0_MAX
from fastsim.sources.pipeline import Step

if TYPE_CHECKING:
    from generators.rests.library import RestLibrary

_log = logging.getLogger(__name__)
_FORMAT = 4
"""Counts up when libraries of rests or collisions are made in another way."""


def collision_steps(
    run: RunInfo,
    collisions: Collisions,
    *,
    source: PathLike | None = None,
    events: Callable[[], tuple[int, int | None]] = lambda: (0, None),
    settings: Sequence[str] = (),
    tau0_max: float = TAU0_MAX,
    jobs: int = 0,
) -> list[Step]:
    """Return the Steps from the hadrons of hard partons to whole collisions; none for lepton beams.

    Args:
        run: the beams.
        collisions: what the events are to hold.
        source: the file of the events, where it can be read again.
        events: gives the number of the first event of the file that is not wanted any more, and that of all its
            events, None if it is not known.
        settings: further lines for Pythia, such as those of a tune.
        tau0_max: particles with a mean proper lifetime times c above this, in mm, are stable.
        jobs: threads, or processes, that make a library that the machine does not have yet.

    Raises:
        FastsimError: if the beams are none that collide so, or a library cannot be read.
    """
    if not collisions.any or all(is_lepton(pdg_id) for pdg_id in run.beam_pdg_id):
        return []
    _check_beams(run)
    steps: list[Step] = []
    if collisions.event == WHOLE:
        from generators.reference.rest_gun import RestGun
        from generators.rests.step import AddRest

        rests = _rests(run, collisions.rest, source, events, tuple(settings), jobs)
        steps.append(AddRest(run, rests, RestGun(run, tuple(settings)), tau0_max))
    if collisions.pileup:
        from generators.pileup.library import CollisionLibrary
        from generators.pileup.step import AddPileUp

        given = collisions.pileup_events
        library = CollisionLibrary(_minimum_bias(run, jobs) if given is None else given)
        if not library.fits(run):
            energies = " and ".join(f"{energy:g}" for energy in library.run.beam_energy)
            raise FastsimError(f"{library.path}: has collisions of beams of {energies} GeV, not those of the input")
        steps.append(AddPileUp(collisions.pileup, library, collisions.beam_spot))
    return steps


def _check_beams(run: RunInfo) -> None:
    """Refuse beams that have no rests.

    Raises:
        FastsimError: if they are none of nucleons, or not known.
    """
    if 0 in run.beam_pdg_id:
        raise FastsimError("the file does not name its beams: whole collisions and pile-up need them; use --event hard")
    if min(run.beam_energy) <= 0:
        raise FastsimError("the file gives no beam energies: whole collisions and pile-up need them; use --event hard")
    if unknown := [pdg_id for pdg_id in run.beam_pdg_id if not is_nucleon(pdg_id)]:
        raise FastsimError(
            f"beams of PDG id {unknown[0]}: whole collisions and pile-up are made of protons and neutrons, and their "
            "antiparticles; use --event hard"
        )


def _rests(
    run: RunInfo,
    rest: PathLike | None,
    source: PathLike | None,
    events: Callable[[], tuple[int, int | None]],
    settings: tuple[str, ...],
    jobs: int,
) -> RestLibrary | None:
    """Return the library of rests for beams, made if need be where none is named; None to have Pythia make them all."""
    from generators.rests.library import RestLibrary

    if rest == REFERENCE:
        return None
    if rest is not None:
        library = rest if isinstance(rest, RestLibrary) else RestLibrary(rest)
        if not library.fits(run, settings):
            _log.warning("%s: has rests of other beams or another tune; Pythia makes those of this input", library.path)
        return library
    if _proton_energy(run) is None:
        _log.warning("no library of rests for beams of these kinds or energies: Pythia makes every rest")
        return None
    if source is None:
        _log.warning("no library of rests for a stream (--rest names one): Pythia makes every rest")
        return None
    stop, size = events()
    paths, firsts = keep_rests(source, stop, size=size, settings=settings, workers=jobs)
    return RestLibrary(paths, firsts=firsts) if paths else None


def _proton_energy(run: RunInfo) -> float | None:
    """Return the centre-of-mass energy in GeV of two protons of equal energies; None for other beams."""
    one, other = run.beam_energy
    same = run.beam_pdg_id == (2212, 2212) and abs(one - other) <= 1e-6 * one
    return one + other if same and 900.0 <= one + other <= 100_000.0 else None


def _minimum_bias(run: RunInfo, jobs: int) -> Path:
    """Return the library of minimum-bias collisions for beams, made if need be.

    Raises:
        FastsimError: if they are no protons of equal energies.
    """
    if (energy := _proton_energy(run)) is None:
        raise FastsimError(
            f"pile-up of beams {run.beam_pdg_id} of {run.beam_energy} GeV: Pythia's is that of protons of equal "
            "energies; give a HepMC file of it (--pileup-events)"
        )
    return make_minimum_bias(None, energy=energy, workers=jobs)


def make_rests(
    output: PathLike,
    source: PathLike | None = None,
    *,
    energy: float | None = None,
    num: int = 6000,
    scale: tuple[float, float] = (8.0, 2500.0),
    seed: int = 0,
    workers: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make a library of rests of collisions with Pythia: for the first events of a file, or for protons over a range.

    Args:
        output: path that ends in .h5.
        source: an LHE file.
        energy: without a file, centre-of-mass energy in GeV.
        num: number of rests.
        scale: without a file, lowest and highest scale of the hard process in GeV; the highest is cut at 0.3 times the
            energy.
        seed: seed of all randomness.
        workers: rests that are made at a time; 0 for one.
        force: replace an existing file.
        progress: called with the numbers of finished and of all rests.

    Returns:
        The path of the file.

    Raises:
        FastsimError: if a value is out of range, a file cannot be read or written, its beams are no nucleons, or not
            one of ``source`` and ``energy`` is given.
    """
    from generators.rests.make import FileCard, RestCard, make_block

    card: FileCard | RestCard
    if (source is None) == (energy is None):
        raise FastsimError("give a file of events, or an energy, to make a library of rests for")
    if source is not None:
        from fastsim.formats import lhe

        _check_beams(lhe.run_info(source))
        card = FileCard(os.fspath(source), min(num, lhe.count(source)), seed)
    else:
        assert energy is not None
        card = RestCard(energy, num, (scale[0], min(scale[1], 0.3 * energy)), seed)
    return _made(card, {}, make_block, "rests", output, workers, force, progress)


def keep_rests(
    source: PathLike,
    stop: int | None = None,
    *,
    size: int | None = None,
    settings: Sequence[str] = (),
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[list[Path], list[int]]:
    """Make what this machine does not have yet of the library of rests that belongs to a file.

    It grows with the events of the file, as :data:`generators.rests.library.STAGES` says.

    Args:
        source: an LHE file.
        stop: number of the first event that is not wanted any more; None for all events of the file.
        size: number of the events of the file, where it is known.
        settings: further lines for Pythia, such as those of a tune.
        workers: rests that are made at a time; 0 for one.
        progress: called with the numbers of finished and of all rests of a part.

    Returns:
        The paths of the files in the cache, none for few events, and of each the number of the first event that draws
        from its rests too.

    Raises:
        FastsimError: if the file cannot be read, its beams are no nucleons, or the cache cannot be written.
    """
    from fastsim.formats import lhe
    from generators.rests.library import STAGES
    from generators.rests.make import FileCard, make_block

    _check_beams(lhe.run_info(source))
    fewest = STAGES[0][1]
    if size is None:
        size = lhe.count(source, None if stop is None else max(stop, fewest), until_damage=True)
    stop = size if stop is None else min(stop, size)
    paths: list[Path] = []
    firsts: list[int] = []
    made, digest = 0, ""
    for first, num in STAGES:
        if stop <= first or size < fewest:
            break
        digest = digest or sha256_of(Path(source))
        card = FileCard(os.fspath(source), num - made, first=made, settings=tuple(settings))
        facts = {"first": made, "num": card.num, "input_sha256": digest, "settings": card.settings}
        what = f"rests of collisions, which events from {first} on draw from,"
        paths.append(_made(card, facts, make_block, "rests", None, workers, False, progress, what))
        firsts.append(first)
        made = num
    return paths, firsts


def make_minimum_bias(
    output: PathLike | None,
    *,
    energy: float,
    num: int = 4000,
    seed: int = 0,
    workers: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make a library of minimum-bias collisions of protons, with Pythia; arguments as of :func:`make_rests`."""
    from generators.reference.minimum_bias import MinimumBiasCard, make_block

    card = MinimumBiasCard(energy, num, seed)
    return _made(card, vars(card), make_block, "minimum-bias", output, workers, force, progress)


def _made(
    card: Any,
    facts: Mapping[str, Any],
    make: Any,
    name: str,
    output: PathLike | None,
    workers: int,
    force: bool,
    progress: Progress | None,
    what: str = "",
) -> Path:
    """Make what a card says, at a path, or once in the cache under a name made of the facts; return its path."""
    from generators.reference.library_file import write_library

    if output is not None:
        write_library(card, make, output, workers=workers, force=force, progress=progress)
        return Path(output)
    from generators.reference.cache import cache_folder, cached

    named = json.dumps({**facts, "format": _FORMAT, "pythia8mc": installed_version("pythia8mc")})
    digest = hashlib.sha256(named.encode()).hexdigest()[:12]

    file = f"{name}-{card.energy:g}-{digest}.h5"
    noun = "minimum-bias collisions" if name == "minimum-bias" else name

    def write(path: Path, parts: Path) -> None:
        place = cache_folder() / file
        _log.warning("making %d %s of %g GeV, once on this machine: %s", card.num, what or noun, card.energy, place)
        shown = progress or _quarters(noun)
        write_library(card, make, path, workers=workers, force=True, keep=parts, progress=shown)

    return cached(file, write)


def _quarters(name: str) -> Progress:
    """Return a progress that logs each quarter of a library that takes longer than seconds."""
    reported = 0

    def report(done: int, total: int | None) -> None:
        nonlocal reported
        if total is not None and total >= 1000 and (quarter := 4 * done // total) > reported:
            reported = quarter
            _log.warning("%d of %d %s are made", done, total, name)

    return report
