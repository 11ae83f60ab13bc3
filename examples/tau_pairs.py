"""Make the data of tau_pairs.toml: H -> tau tau against Z -> tau tau, told apart by spin.

Pythia 8 makes g g -> H and q qbar -> Z at 13 TeV, both of the mass and the width of the Z, with leading-order matrix
elements and the spin correlations of its tau decays; initial-state radiation, multiparton interactions and radiation in
the decay are off. Visible products are smeared: charged ones by sigma(pT)/pT = 1% + 0.02% pT/GeV (in quadrature),
photons by sigma(E)/E = 10%/sqrt(E/GeV) + 0.7%, and each component of the missing transverse momentum by 5 GeV. Both
taus have visible transverse momenta above 10 GeV and |eta| < 2.5. Of H as many events are kept in each GeV of the mass
of the pair as of Z: mass alone does not tell.

    python examples/tau_pairs.py tau-pairs.h5 --num 20000

writes the arrays that ``data`` returns, which a pipeline makes by itself when it is first trained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

MASS, WIDTH = 91.1876, 2.4952
"""Of both bosons, in GeV (Particle Data Group)."""
WINDOW = (70.0, 110.0)
"""Masses of the pair in GeV."""
COMMON = (
    "Print:quiet = on",
    "Beams:eCM = 13000.",
    "PartonLevel:ISR = off",
    "PartonLevel:FSR = off",
    "PartonLevel:MPI = off",
    # taus decay in a call of their own, where it is worth while
    "HadronLevel:all = off",
)
PROCESSES = (
    (
        "WeakSingleBoson:ffbar2gmZ = on",
        "WeakZ0:gmZmode = 2",
        f"23:mMin = {WINDOW[0]}",
        f"23:mMax = {WINDOW[1]}",
        "23:onMode = off",
        "23:onIfMatch = 15 -15",
    ),
    (
        "HiggsSM:gg2H = on",
        # at the very mass of the Z the width of Pythia's H is not a number, and no event is made
        f"25:m0 = {MASS + 1e-3}",
        f"25:mWidth = {WIDTH}",
        "25:doForceWidth = on",
        f"25:mMin = {WINDOW[0]}",
        f"25:mMax = {WINDOW[1]}",
        "25:onMode = off",
        "25:onIfMatch = 15 -15",
    ),
)
"""Settings of Z and of H: their place is the label."""
TAU, BOSONS, NEUTRINOS = 15, (23, 25), (12, 14, 16)
MAX_PARTICLES = 12
"""Visible particles of an event that are kept, the hardest."""
UNIT = 45.6
"""Momenta are given in half the mass, in GeV."""
FRACTIONS = (0.6, 0.2, 0.2)
"""Of the events, for training, validation and test."""


def make(label: int, num: int, seed: int) -> Arrays:
    """Make events of one process that pass the cuts.

    Args:
        label: 0 for Z, 1 for H.
        num: number of events.
        seed: of Pythia and of the smearing.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (*COMMON, *PROCESSES[label], "Random:setSeed = on", f"Random:seed = {seed + 1}"):
        if not pythia.readString(line):
            raise ValueError(line)
    if not pythia.init():
        raise RuntimeError(f"Pythia refuses {PROCESSES[label]}")
    rng = np.random.default_rng([seed, label])
    rows: list[Arrays] = []
    while len(rows) < num:
        if not pythia.next() or not _within(pythia.event) or not pythia.forceHadronLevel():
            continue
        if (row := _event(pythia.event, rng)) is not None:
            rows.append({**row, "is_higgs": np.asarray(label, dtype=np.float32)})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _within(event: Any) -> bool:
    """Return whether both taus, before they decay, may give what passes the cuts."""
    taus = [event[k] for k in range(event.size()) if event[k].idAbs() == TAU and event[k].isFinal()]
    return len(taus) == 2 and all(tau.pT() > 10.0 and abs(tau.eta()) < 2.6 for tau in taus)


def _event(event: Any, rng: np.random.Generator) -> Arrays | None:
    """Return the arrays of one event, None if it fails the cuts.

    ``visible`` are for each tau, first the tau-, momenta of its charged and of its neutral products, whether it went to
    an electron or a muon, and the number of charged products; then the missing transverse momentum. ``true_neutrinos``
    are the three-momenta of what escaped of each tau; ``features``, ``mask`` and ``p4`` the visible particles as a set.
    """
    taus = {}
    for k in range(event.size()):
        if event[k].idAbs() == TAU and event[event[k].mother1()].idAbs() in BOSONS:
            taus[event[k].id()] = k
    if len(taus) != 2:
        return None
    total = np.zeros(4)
    visible, neutrinos, particles = [], [], []
    missing = np.zeros(2)
    for sign, tau in enumerate((TAU, -TAU)):
        charged, neutral, escaped = np.zeros(4), np.zeros(4), np.zeros(3)
        flags, num_charged = [0.0, 0.0], 0
        for k in _final(event, taus[tau]):
            particle = event[k]
            p4 = np.array([particle.e(), particle.px(), particle.py(), particle.pz()])
            total += p4
            if particle.idAbs() in NEUTRINOS:
                escaped += p4[1:]
                continue
            p4 = p4 * _response(particle, rng)
            if particle.isCharged():
                charged += p4
                num_charged += 1
                flags = [float(particle.idAbs() == 11), float(particle.idAbs() == 13)]
            else:
                neutral += p4
            kind = [particle.charge(), 1.0 - 2.0 * sign, float(particle.idAbs() == 22), *flags]
            particles.append((p4, kind))
        whole = charged + neutral
        pt = np.hypot(whole[1], whole[2])
        if pt < 10.0 or abs(np.arcsinh(whole[3] / pt)) > 2.5:
            return None
        missing += escaped[:2]
        visible += [charged / UNIT, neutral / UNIT, np.array([*flags, num_charged])]
        neutrinos.append(escaped / UNIT)
    missing += rng.normal(0.0, 5.0, 2)
    mass = np.sqrt(max(total[0] ** 2 - (total[1:] ** 2).sum(), 0.0))
    if not WINDOW[0] < mass < WINDOW[1]:
        return None
    particles = sorted(particles, key=lambda entry: -np.hypot(entry[0][1], entry[0][2]))[:MAX_PARTICLES]
    p4_set, features = np.zeros((MAX_PARTICLES, 4)), np.zeros((MAX_PARTICLES, 10))
    for place, (p4, kind) in enumerate(particles):
        pt = np.hypot(p4[1], p4[2])
        p4_set[place] = p4
        features[place] = [*kind, np.log(pt), *(p4[1:] / UNIT), p4[0] / UNIT]
    return {
        "visible": np.concatenate([*visible, missing / UNIT]).astype(np.float32),
        "missing": (missing / UNIT).astype(np.float32),
        "true_neutrinos": np.concatenate(neutrinos).astype(np.float32),
        "features": features.astype(np.float32),
        "mask": np.arange(MAX_PARTICLES) < len(particles),
        "p4": p4_set.astype(np.float32),
        "mass": np.float32(mass),
    }


def _final(event: Any, row: int) -> list[int]:
    """Return the rows of the final particles that a particle decays into."""
    if event[row].isFinal():
        return [row]
    return [k for d in range(event[row].daughter1(), event[row].daughter2() + 1) for k in _final(event, d)]


def _response(particle: Any, rng: np.random.Generator) -> float:
    """Return the measured over the true momentum of a visible particle."""
    if particle.isCharged():
        width = np.hypot(0.01, 2e-4 * particle.pT())
    else:
        width = np.hypot(0.10 / np.sqrt(particle.e()), 0.007)
    return float(max(1.0 + width * rng.normal(), 0.05))


def matched(z: Arrays, h: Arrays, rng: np.random.Generator) -> Arrays:
    """Return the events of both in random order, equally many of each in every GeV of the mass of the pair."""
    edges = np.arange(WINDOW[0], WINDOW[1] + 1.0)
    kept: list[Arrays] = []
    for low in edges[:-1]:
        pair = [np.flatnonzero((arrays["mass"] >= low) & (arrays["mass"] < low + 1.0)) for arrays in (z, h)]
        size = min(map(len, pair))
        for arrays, rows in zip((z, h), pair, strict=True):
            kept.append({name: values[rows[:size]] for name, values in arrays.items()})
    whole = {name: np.concatenate([part[name] for part in kept]) for name in z}
    order = rng.permutation(len(whole["mass"]))
    return {name: values[order] for name, values in whole.items()}


def write(path: Path, num: int, seed: int) -> None:
    """Write about ``num`` events, half of each kind, to an HDF5 file."""
    import h5py

    arrays = matched(make(0, num // 2, seed), make(1, num // 2, seed), np.random.default_rng(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    partial.replace(path)


def data(*, num: int = 20000, seed: int = 1, folder: str = "runs/tau-pairs") -> dict[str, Arrays]:
    """Return events for training, validation and test; they are made with Pythia when first asked for."""
    import h5py

    path = Path(folder) / f"events-{num}-{seed}.h5"
    if not path.is_file():
        write(path, num, seed)
    with h5py.File(path) as file:
        arrays = {name: file[name][()] for name in file}
    size = len(arrays["mass"])
    edges = [0, *(round(size * float(share)) for share in np.cumsum(FRACTIONS))]
    names = ("train", "validation", "test")
    return {
        split: {name: values[low:high] for name, values in arrays.items()}
        for split, low, high in zip(names, edges[:-1], edges[1:], strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="HDF5 file to write")
    parser.add_argument("--num", type=int, default=20000, help="events, half of each kind, before masses are matched")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    write(args.output, args.num, args.seed)


if __name__ == "__main__":
    main()
