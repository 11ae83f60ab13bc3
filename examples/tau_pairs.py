"""Make the data of tau_pairs.toml: H -> tau tau against Z -> tau tau, told apart by spin.

Pythia 8 makes g g -> H and q qbar -> Z at 13 TeV, both of the mass and the width of the Z, with leading-order matrix
elements and the spin correlations of its tau decays; initial-state radiation, multiparton interactions and radiation in
the decay are off. Taus go to a pion or a rho and a neutrino, the decays that tell their spin; ``decays="all"`` leaves
them free. Visible products are smeared: charged ones by sigma(pT)/pT = 1% + 0.02% pT/GeV (in quadrature), photons by
sigma(E)/E = 10%/sqrt(E/GeV) + 0.7%, and each component of the missing transverse momentum by 5 GeV. Both taus have
visible transverse momenta above 10 GeV and |eta| < 2.5. Of H as many events are kept in each GeV of the mass of the
pair as of Z: mass alone does not tell.

    python examples/tau_pairs.py tau-pairs.h5 --num 20000

writes the arrays that ``data`` returns, which a pipeline makes by itself when it is first trained.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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
DECAYS = {"all": (), "hadronic": ("15:onMode = off", "15:onIfMatch = 16 -211", "15:onIfMatch = 16 -211 111")}
"""Settings of the decays of the taus."""
TAU, BOSONS, NEUTRINOS = 15, (23, 25), (12, 14, 16)
MAX_PARTICLES = 12
"""Visible particles of an event that are kept, the hardest."""
NUM_OF_TAU = 13
"""Numbers of each tau in ``visible``."""
UNIT = 45.6
"""Momenta are given in half the mass, in GeV."""
FRACTIONS = (0.6, 0.2, 0.2)
"""Of the events, for training, validation and test."""


def make(label: int, num: int, seed: int, decays: str = "hadronic") -> Arrays:
    """Make events of one process that pass the cuts.

    ``true_taus`` are the three-momenta of the taus: what is measured of them and what escaped.

    Args:
        label: 0 for Z, 1 for H.
        num: number of events.
        seed: of Pythia and of the smearing.
        decays: of the taus, one of :data:`DECAYS`.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (*COMMON, *PROCESSES[label], *DECAYS[decays], "Random:setSeed = on", f"Random:seed = {seed + 1}"):
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
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    arrays |= summaries(arrays["visible"])
    arrays["true_taus"] = arrays["whole"][:, [1, 2, 3, 5, 6, 7]] + arrays["true_neutrinos"]
    return arrays


def _within(event: Any) -> bool:
    """Return whether both taus, before they decay, may give what passes the cuts."""
    taus = [event[k] for k in range(event.size()) if event[k].idAbs() == TAU and event[k].isFinal()]
    return len(taus) == 2 and all(tau.pT() > 10.0 and abs(tau.eta()) < 2.6 for tau in taus)


def _event(event: Any, rng: np.random.Generator) -> Arrays | None:
    """Return the arrays of one event, None if it fails the cuts.

    All momenta are in the frame in which the visible products have no momentum along the beam, and those of the tau-
    fly along x: what is left out, rapidity and azimuth of the pair, says nothing of spin. ``visible`` are for each tau,
    first the tau-, momenta of its charged and of its neutral products, the difference of their energies over the sum,
    their mass, whether it went to an electron or a muon, and the number of charged products; then the missing
    transverse momentum. ``true_neutrinos`` are the three-momenta of what escaped of each tau; ``features``, ``mask``
    and ``p4`` the visible particles as a set.
    """
    taus = {}
    for k in range(event.size()):
        if event[k].idAbs() == TAU and event[event[k].mother1()].idAbs() in BOSONS:
            taus[event[k].id()] = k
    if len(taus) != 2:
        return None
    total, escaped = np.zeros(4), np.zeros((2, 4))
    products: list[tuple[int, Any, Floats]] = []  # side, particle, measured momentum
    for side, tau in enumerate((TAU, -TAU)):
        for k in _final(event, taus[tau]):
            particle = event[k]
            p4 = np.array([particle.e(), particle.px(), particle.py(), particle.pz()])
            total += p4
            if particle.idAbs() in NEUTRINOS:
                escaped[side] += p4
            else:
                products.append((side, particle, p4 * _response(particle, rng)))
    whole = [np.sum([p4 for s, _, p4 in products if s == side], axis=0) for side in (0, 1)]
    for p4 in whole:
        pt = np.hypot(p4[1], p4[2])
        if pt < 10.0 or abs(np.arcsinh(p4[3] / pt)) > 2.5:
            return None
    mass = np.sqrt(max(total[0] ** 2 - (total[1:] ** 2).sum(), 0.0))
    if not WINDOW[0] < mass < WINDOW[1]:
        return None
    turn = _frame(whole[0], whole[0] + whole[1])
    missing = (turn @ escaped.sum(0))[1:3] + rng.normal(0.0, 5.0, 2)
    visible: list[Any] = []
    for side in (0, 1):
        mine = [(particle, turn @ p4) for s, particle, p4 in products if s == side]
        charged = sum((p4 for particle, p4 in mine if particle.isCharged()), np.zeros(4))
        neutral = sum((p4 for particle, p4 in mine if not particle.isCharged()), np.zeros(4))
        both = charged + neutral
        own_mass = np.sqrt(max(both[0] ** 2 - (both[1:] ** 2).sum(), 0.0))
        flags = [any(particle.idAbs() == lepton for particle, _ in mine) for lepton in (11, 13)]
        number = sum(particle.isCharged() for particle, _ in mine)
        visible += [charged / UNIT, neutral / UNIT, [(charged[0] - neutral[0]) / both[0], own_mass, *flags, number]]
    order = sorted(products, key=lambda entry: -np.hypot(entry[2][1], entry[2][2]))[:MAX_PARTICLES]
    p4_set, features = np.zeros((MAX_PARTICLES, 4)), np.zeros((MAX_PARTICLES, 10))
    for place, (side, particle, p4) in enumerate(order):
        p4_set[place] = p4 = turn @ p4
        kind = [particle.charge(), 1.0 - 2.0 * side, *(particle.idAbs() == pdg for pdg in (22, 11, 13))]
        features[place] = [*kind, np.log(np.hypot(p4[1], p4[2])), *(p4[1:] / UNIT), p4[0] / UNIT]
    return {
        "visible": np.concatenate([*visible, missing / UNIT]).astype(np.float32),
        "missing": (missing / UNIT).astype(np.float32),
        "true_neutrinos": (escaped @ turn.T)[:, 1:].reshape(-1).astype(np.float32) / np.float32(UNIT),
        "features": features.astype(np.float32),
        "mask": np.arange(MAX_PARTICLES) < len(order),
        "p4": p4_set.astype(np.float32),
        "mass": np.float32(mass),
    }


def summaries(visible: NDArray[Any]) -> Arrays:
    """Return what the visible products say of the spins of the taus, by hand, and their momenta as a whole.

    In the rest frame of what is visible, with z along the products of the tau-, x in the plane of the beam and y across
    it, the difference q of the momenta of charged and neutral products analyses the spin of a tau that went to a rho:
    along z as it is, across with the sign and size of the difference of the energies in the laboratory.

    Args:
        visible: as of an event, (N, 28).

    Returns:
        ``spin``, (N, 10): q across z (x, y) and along it of tau- and tau+, the products of both x and of both y, the
        cosine of z to the beam, and the visible mass over that of the pair; ``whole``, (N, 8): the visible
        four-momenta.
    """
    width = NUM_OF_TAU
    sides = [visible[:, width * k : width * (k + 1)].astype(np.float64) for k in (0, 1)]
    charged, neutral = ([side[:, first : first + 4] for side in sides] for first in (0, 4))
    whole = [np.asarray(c + n, dtype=np.float64) for c, n in zip(charged, neutral, strict=True)]
    pair: Floats = whole[0] + whole[1]
    z = _unit(_at_rest(whole[0], pair)[:, 1:])
    beam = np.array([0.0, 0.0, 1.0])
    x = _unit(beam - z[:, 2:] * z)
    y = np.cross(z, x)
    columns = []
    for side, c, n in zip(sides, charged, neutral, strict=True):
        q = (_at_rest(c, pair) - _at_rest(n, pair))[:, 1:]
        # of a pion the difference is all of its momentum, which analyses the spin along z alone
        rho = (n[:, 0] > 0) * side[:, 8] * UNIT
        columns += [rho * (q * x).sum(1), rho * (q * y).sum(1), (q * z).sum(1)]
    products = [columns[0] * columns[3], columns[1] * columns[4]]
    mass = np.sqrt(np.maximum(pair[:, 0] ** 2 - (pair[:, 1:] ** 2).sum(1), 0.0)) * UNIT / MASS
    spin = np.stack([*columns, *products, z[:, 2], mass], axis=1)
    return {"spin": spin.astype(np.float32), "whole": np.concatenate(whole, axis=1).astype(np.float32)}


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.sqrt((vectors**2).sum(1, keepdims=True)))


def _at_rest(p4: Floats, frame: Floats) -> Floats:
    """Boost four-momenta (N, 4) into the rest frames of massive ones (N, 4)."""
    p = frame[:, 1:]
    mass = np.sqrt(frame[:, 0] ** 2 - (p**2).sum(1))
    along = (p * p4[:, 1:]).sum(1)
    scale = (along / (frame[:, 0] + mass) - p4[:, 0]) / mass
    return np.concatenate([((frame[:, 0] * p4[:, 0] - along) / mass)[:, None], p4[:, 1:] + scale[:, None] * p], axis=1)


def _frame(first: Floats, pair: Floats) -> Floats:
    """Return the matrix (4, 4) to where a pair does not move along the beam, and its first particle flies along x."""
    beta = pair[3] / pair[0]
    gamma = 1.0 / np.sqrt(1.0 - beta**2)
    boost = np.array([[gamma, 0, 0, -gamma * beta], [0, 1, 0, 0], [0, 0, 1, 0], [-gamma * beta, 0, 0, gamma]])
    c, s = first[1:3] / np.hypot(first[1], first[2])
    rotation = np.array([[1, 0, 0, 0], [0, c, s, 0], [0, -s, c, 0], [0, 0, 0, 1]])
    return np.asarray(rotation @ boost)


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


def write(path: Path, num: int, seed: int, decays: str = "hadronic", workers: int = 1) -> None:
    """Write about ``num`` events, half of each kind, to an HDF5 file; with two workers, both kinds at once."""
    import h5py

    if workers > 1:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            z, h = pool.map(make, (0, 1), *([value] * 2 for value in (num // 2, seed, decays)))
    else:
        z, h = (make(label, num // 2, seed, decays) for label in (0, 1))
    arrays = matched(z, h, np.random.default_rng(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    partial.replace(path)


def data(
    *, num: int = 20000, seed: int = 1, decays: str = "hadronic", folder: str = "runs/tau-pairs"
) -> dict[str, Arrays]:
    """Return events for training, validation and test; they are made with Pythia when first asked for."""
    import h5py

    path = Path(folder) / f"events-{decays}-{num}-{seed}.h5"
    if not path.is_file():
        write(path, num, seed, decays)
    with h5py.File(path) as file:
        arrays = {name: file[name][()] for name in file}
    # hadronic decays have six visible particles at most: places that no event fills are left out
    filled = int(arrays["mask"].any(0).sum())
    arrays |= {name: arrays[name][:, :filled] for name in ("features", "mask", "p4")}
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
    parser.add_argument("--decays", choices=tuple(DECAYS), default="hadronic", help="of the taus")
    parser.add_argument("--workers", type=int, default=1, help="2 makes both kinds at once, with the same result")
    args = parser.parse_args()
    write(args.output, args.num, args.seed, args.decays, args.workers)


if __name__ == "__main__":
    main()
