"""Make the data of higgs_pairs.toml: X -> HH -> 4b against QCD, in fat jets of the engine's hadrons.

Pythia 8 makes the hard processes at 13 TeV - g g -> X -> H H -> b b~ b b~ with a scalar X of 1.2 TeV and 1% of width,
and QCD 2 -> 2 scattering with pT > 400 GeV and a mass of 1.0 to 1.4 TeV - and nothing else; ``hadron-tree`` turns their
partons into hadrons. Events have two anti-kt jets (R = 1) with pT > 250 GeV, |eta| < 2.5 and masses of 60 to 180 GeV:
what is far from the mass of H is left out. Subjets are the anti-kt jets (R = 0.2) of each one's constituents. There are
no other partons of the collision, no pile-up and no detector.

    python -m examples.higgs_pairs runs/higgs-pairs

writes a file for every 1,000 generated events and goes on where it was stopped; a pipeline does so by itself when it is
first trained. ``data`` reads them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.make_lhe import BEAM_ENERGY, hard_events

Arrays = dict[str, NDArray[Any]]

PROCESSES = (
    ("HardQCD:all = on", "PhaseSpace:pTHatMin = 400.", "PhaseSpace:mHatMin = 1000.", "PhaseSpace:mHatMax = 1400."),
    (
        "Higgs:useBSM = on",
        "HiggsBSM:gg2H2 = on",
        "35:m0 = 1200.",
        "35:doForceWidth = on",
        "35:mWidth = 12.",
        "35:mMin = 1100.",
        "35:mMax = 1300.",
        "35:onMode = off",
        "35:onIfMatch = 25 25",
        "25:m0 = 125.",
        "25:onMode = off",
        "25:onIfMatch = 5 -5",
    ),
)
"""Settings of Pythia for QCD and for the signal: their place is the label."""
MODEL = "hadron-tree"
CHUNK = 1000
"""Generated events at a time."""
RADIUS, PT_MIN, ETA_MAX, MASSES = 1.0, 250.0, 2.5, (60.0, 180.0)
"""Of the fat jets; pT and masses in GeV."""
SUBJET_RADIUS, SUBJET_PT_MIN = 0.2, 5.0
NUM_CONSTITUENTS, NUM_SUBJETS = 20, 4
"""Of each fat jet, the hardest."""
FRACTIONS = (0.6, 0.15, 0.25)
"""Of the events, for training, validation and test."""


def produce(folder: Path, label: int, num: int, seed: int) -> Arrays:
    """Return events of one kind that pass the cuts; a file for every :data:`CHUNK` generated ones is made if missing.

    Args:
        folder: of the files.
        label: 0 for QCD, 1 for X -> HH.
        num: number of events.
        seed: of Pythia and of the engine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Arrays] = []
    number = 0
    while sum(len(part["mask"]) for part in parts) < num:
        path = folder / f"{('background', 'signal')[label]}-{seed}-{number}.npz"
        if not path.exists():
            partial = path.with_suffix(".partial.npz")
            made: dict[str, Any] = dict(fat_jets(hadrons(label, CHUNK, 1 + 2 * (1000 * seed + number) + label)))
            np.savez_compressed(partial, **made)
            partial.replace(path)
        with np.load(path) as file:
            parts.append(dict(file))
        number += 1
    return {name: np.concatenate([part[name] for part in parts])[:num] for name in parts[0]}


def hadrons(label: int, num: int, seed: int) -> Any:
    """Return the final particles of generated events, a set an event: partons of Pythia, hadrons of the engine."""
    import fastsim

    process, events = hard_events(list(PROCESSES[label]), num, 1, seed)
    init = f"2212 2212 {BEAM_ENERGY:.6e} {BEAM_ENERGY:.6e} 0 0 0 0 3 1"
    text = ['<LesHouchesEvents version="3.0">', "<init>", init, process, "</init>", *events, "</LesHouchesEvents>", ""]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hard.lhe"
        path.write_text("\n".join(text))
        partons: Any = fastsim.read(path)
    return fastsim.hadron_pipeline(MODEL).step(partons, rng=seed).particles


def fat_jets(particles: Any) -> Arrays:
    """Return the arrays of the events with two fat jets.

    Places and transverse momenta are relative to the axis and the pT of the fat jet. ``features`` are, of each
    constituent, Delta eta, Delta phi, ln pT/GeV, ln of the share of pT, charge, and -1 or 1 for the harder or the other
    jet; ``p4`` and ``mask`` belong to them. ``subjets`` are, of each subjet, Delta eta, Delta phi, ln pT/GeV, ln of the
    share of pT, ln m/GeV, ln of the number of constituents, and the jet; ``subjet_mask`` belongs to them.

    Args:
        particles: final particles, a set an event.
    """
    from fastsim.event import ParticleSet, kinematics
    from fastsim.event.species import charges
    from metrics.hadrons.clustering import cluster
    from metrics.hadrons.jets import relative

    jets = cluster(particles, radius=RADIUS, pt_min=PT_MIN, eta_max=ETA_MAX)
    mass = kinematics.mass(jets.axes.p4)
    inside = (mass > MASSES[0]) & (mass < MASSES[1])
    first = np.flatnonzero(jets.event[:-1] == jets.event[1:])
    first = first[inside[first] & inside[first + 1]]
    rows = np.stack([first, first + 1], axis=1).reshape(-1)
    constituents, axes = jets.constituents[rows], jets.axes[rows]
    # leading particles first, as relative() orders them
    index = np.repeat(np.arange(len(rows)), constituents.counts)
    order = np.lexsort((-kinematics.pt(constituents.p4), index))
    constituents = ParticleSet(constituents.offsets, constituents.pdg_id[order], constituents.p4[order])
    found = relative(constituents, axes)
    pt = found.pt_rel * found.parton_pt[index]
    columns = [found.eta_rel, found.phi_rel, np.log(pt), np.log(found.pt_rel), charges(constituents.pdg_id)]
    features, mask = _padded(np.stack(columns, axis=1), constituents.offsets, NUM_CONSTITUENTS)
    p4, _ = _padded(constituents.p4, constituents.offsets, NUM_CONSTITUENTS)
    small = cluster(constituents, radius=SUBJET_RADIUS, pt_min=SUBJET_PT_MIN, max_jets=NUM_SUBJETS)
    offsets = np.searchsorted(small.event, np.arange(len(rows) + 1))
    of_subjets = relative(ParticleSet(offsets, small.axes.pdg_id, small.axes.p4), axes)
    pt = of_subjets.pt_rel * of_subjets.parton_pt[small.event]
    more = [np.log(np.maximum(kinematics.mass(small.axes.p4), 0.1)), np.log(small.constituents.counts)]
    columns = [of_subjets.eta_rel, of_subjets.phi_rel, np.log(pt), np.log(of_subjets.pt_rel), *more]
    subjets, subjet_mask = _padded(np.stack(columns, axis=1), offsets, NUM_SUBJETS)
    return {
        "features": _pairs(features, with_jet=True),
        "mask": mask.reshape(len(first), -1),
        "p4": _pairs(p4),
        "subjets": _pairs(subjets, with_jet=True),
        "subjet_mask": subjet_mask.reshape(len(first), -1),
    }


def _padded(values: NDArray[Any], offsets: NDArray[Any], size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first values (J, size, F) of J sets, 0 beyond their ends, and which there are (J, size)."""
    mask = np.arange(size) < np.diff(offsets)[:, None]
    result = np.zeros((*mask.shape, values.shape[1]))
    result[mask] = values[(offsets[:-1, None] + np.arange(size))[mask]]
    return result, mask


def _pairs(values: NDArray[Any], *, with_jet: bool = False) -> NDArray[np.float32]:
    """Put the sets (J, K, F) of the two jets of an event behind one another, (J/2, 2 K, F or F + 1)."""
    if with_jet:
        jet = np.where(np.arange(len(values)) % 2 == 0, -1.0, 1.0)
        values = np.concatenate([values, np.broadcast_to(jet[:, None, None], (*values.shape[:2], 1))], axis=2)
    return np.asarray(values.reshape(len(values) // 2, -1, values.shape[2]), dtype=np.float32)


def data(*, num: int = 12000, seed: int = 1, folder: str = "runs/higgs-pairs") -> dict[str, Arrays]:
    """Return events for training, validation and test, half of each kind; they are made when first asked for."""
    both = [produce(Path(folder), label, num // 2, seed) for label in (0, 1)]
    arrays = {name: np.concatenate([kind[name] for kind in both]) for name in both[0]}
    arrays["is_signal"] = np.repeat(np.array([0, 1], dtype=np.float32), num // 2)
    order = np.random.default_rng(seed).permutation(len(arrays["is_signal"]))
    edges = [0, *(round(len(order) * float(share)) for share in np.cumsum(FRACTIONS))]
    names = ("train", "validation", "test")
    return {
        split: {name: values[order[low:high]] for name, values in arrays.items()}
        for split, low, high in zip(names, edges[:-1], edges[1:], strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of the events")
    parser.add_argument("--num", type=int, default=12000, help="events that pass the cuts, half of each kind")
    parser.add_argument("--seed", type=int, default=1)
    data(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
