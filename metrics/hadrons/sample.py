"""Features of particle sets for the metrics, small enough to keep on disk: a reference is read once, used often."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event import ParticleSet, Partons, offsets_from_counts
from metrics.hadrons import efp, observables
from metrics.hadrons.content import CONTENT, content
from metrics.hadrons.jets import Conditions, Jets, Sets, relative
from metrics.hadrons.origins import Origins, origins
from metrics.hadrons.resonances import grouped_spectra
from metrics.sample import Sample

VERSION = 3
"""Bumped whenever a definition changes, so that an old file is never compared with a new sample."""
CHUNK = 20_000
"""Sets whose features are computed at a time."""
FLAVOUR, LOG_PT = 0, 1
"""Columns of ``Features.condition``."""
SET, PDG_ID, PT_REL, ETA_REL = 0, 1, 2, 3
"""Columns of ``Features.particles``."""


@dataclass(frozen=True)
class Features:
    """Features of N particle sets.

    Attributes:
        efps: energy flow polynomials of the default graphs, (N, 36).
        observables: columns :data:`metrics.hadrons.observables.OBSERVABLES`, (N, 17).
        content: columns :data:`metrics.hadrons.content.CONTENT`, (N, 42).
        counts: particles by species, columns ``SPECIES`` and "other", (N, 34).
        flow: pT_rel in bins of Delta R, (N, 13).
        condition: columns parton id in {1..5, 21} and log(pT_parton / GeV), (N, 2).
        masses: mass spectra of groups of sets, as :func:`metrics.hadrons.resonances.grouped_spectra` gives them.
        particles: set index, PDG id, pT_rel and eta_rel of the K particles of the first sets, for the spectra, (K, 4).
        max_particles: the leading particles kept by EFPs, tau21, C2, D2.
    """

    efps: NDArray[np.float32]
    observables: NDArray[np.float64]
    content: NDArray[np.float32]
    counts: NDArray[np.uint16]
    flow: NDArray[np.float32]
    condition: NDArray[np.float64]
    masses: NDArray[np.float32]
    particles: NDArray[np.float32]
    max_particles: int

    def __len__(self) -> int:
        return len(self.observables)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one observable by its name, shape (N,)."""
        return self.observables[:, list(observables.OBSERVABLES).index(name)]

    @staticmethod
    def concatenate(parts: Sequence[Features]) -> Features:
        """Join several samples, in order.

        Args:
            parts: at least one sample.

        Raises:
            ValueError: if they keep different numbers of leading particles.
        """
        if len({p.max_particles for p in parts}) != 1:
            raise ValueError("features with different max_particles cannot be joined")
        start = np.cumsum([0, *(len(p) for p in parts)])
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS}
        first = np.repeat(start[:-1], [len(p.particles) for p in parts])
        joined["particles"][:, SET] += first
        return Features(**joined, max_particles=parts[0].max_particles)

    def sample(self, jets: Jets | None = None, weights: NDArray[Any] | None = None) -> Sample:
        """Convert to a sample: observables and species counts, embedded by EFPs, given flavour and pT (GeV).

        Args:
            jets: the sets themselves, for metrics of particles.
            weights: of the sets, (N,).

        Returns:
            The sample, of kind "jets".
        """
        named = {name: self.observables[:, k] for k, name in enumerate(observables.OBSERVABLES)}
        groups = observables.group_counts(self.counts)
        named |= {f"number of {name}": groups[:, k] for k, name in enumerate(observables.GROUPS)}
        condition = {"flavour": self.condition[:, FLAVOUR], "pt": np.exp(self.condition[:, LOG_PT].copy())}
        own = {name: self.content[:, k] for k, name in enumerate(CONTENT)}
        return Sample("jets", named, self.efps, condition, weights, jets, content=own)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an .npz file, under a temporary name first, so that a killed run leaves no half file."""
        target = Path(path)
        partial = target.with_suffix(".partial.npz")
        meta = json.dumps({"version": VERSION, "max_particles": self.max_particles})
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        np.savez(partial, meta=np.array(meta), **arrays)
        partial.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Features:
        """Read a file that :meth:`save` wrote.

        Raises:
            ValueError: if the file was written with other definitions.
        """
        with np.load(path, allow_pickle=False) as data:
            meta = json.loads(str(data["meta"]))
            if meta["version"] != VERSION:
                raise ValueError(f"{path}: feature version {meta['version']}, this is {VERSION}: delete it and rerun")
            return cls(**{name: data[name] for name in _ARRAYS}, max_particles=int(meta["max_particles"]))


_ARRAYS = ("efps", "observables", "content", "counts", "flow", "condition", "masses", "particles")
_COLUMNS = ("pdg_id", "pt_rel", "eta_rel", "phi_rel", "pz_rel", "m_rel", "parton_id", "parton_pt")


def jet_sample(
    particles: Sets,
    partons: Conditions,
    *,
    weights: NDArray[Any] | None = None,
    max_particles: int = 50,
    groomed: bool = False,
) -> Sample:
    """Make a sample for every metric from N particle sets, or jets.

    Args:
        particles: ragged sets, p4 in GeV.
        partons: the partons that the sets come from, or the jets' own axes; p4 in GeV.
        weights: of the sets, (N,), of either sign.
        max_particles: leading particles kept for EFPs and ratios of correlators.
        groomed: add the observables of soft drop (:data:`metrics.hadrons.grooming.GROOMED`), through FastJet.

    Returns:
        The sample, whose ``condition`` holds "flavour" and "pt" (GeV) of the partons.

    Raises:
        ValueError: if sets, partons and weights differ in number, or a momentum is not finite.
    """
    offsets = np.asarray(particles.offsets, dtype=np.int64)
    if len(offsets) - 1 != len(partons.pdg_id):
        raise ValueError(f"{len(offsets) - 1} particle sets but {len(partons.pdg_id)} partons")

    def batches() -> Iterator[tuple[ParticleSet, Partons]]:
        for first in range(0, max(len(offsets) - 1, 1), CHUNK):
            own = offsets[first : first + CHUNK + 1]
            rows, flat = slice(first, first + CHUNK), slice(own[0], own[-1])
            if isinstance(particles, ParticleSet) and particles.history is not None:
                sets = particles[rows]
            else:
                sets = ParticleSet(own - own[0], particles.pdg_id[flat], particles.p4[flat])
            yield sets, Partons(partons.pdg_id[rows], partons.p4[rows])

    given = None if weights is None else np.asarray(weights, dtype=np.float64)
    return jet_sample_of(batches(), weights=given, max_particles=max_particles, groomed=groomed)


def jet_sample_of(
    batches: Iterable[tuple[Sets, Conditions]],
    *,
    weights: NDArray[np.float64] | None = None,
    max_particles: int = 50,
    groomed: bool = False,
) -> Sample:
    """Make a sample from one or more batches of particle sets: nothing but the sample itself is held for all of them.

    The sets are kept in the precision of :meth:`metrics.hadrons.jets.Jets.compact`.

    Args:
        batches: particle sets with their partons.
        weights, max_particles, groomed: as in :func:`jet_sample`, of all batches together.

    Returns:
        The sample.

    Raises:
        ValueError: as :func:`jet_sample`.
    """
    tables = _Tables()
    known: list[Origins | None] = []
    for particles, partons in batches:
        jets = relative(particles, partons)
        known.append(origins(particles, partons) if isinstance(particles, ParticleSet) else None)
        values, compact = _features(jets, max_particles, 0, np.float32), jets.compact()
        tables.append({name: getattr(values, name) for name in _ARRAYS})
        tables.append({f"jets {name}": getattr(compact, name) for name in _COLUMNS}, {"jets counts": compact.counts})
        if groomed:
            from metrics.hadrons.grooming import soft_drop

            tables.append(soft_drop(jets))
    events = Jets(
        offsets_from_counts(tables.pop("jets counts")), **{name: tables.pop(f"jets {name}") for name in _COLUMNS}
    )
    sample = Features(**{name: tables.pop(name) for name in _ARRAYS}, max_particles=max_particles).sample(
        events, weights
    )
    every = [part for part in known if part is not None]
    whole = Origins.concatenate(every) if len(every) == len(known) > 0 else None
    return replace(sample, observables={**sample.observables, **tables}, origins=whole)


class _Tables(dict[str, NDArray[Any]]):
    """Tables by name that grow where they are: joining parts would hold all rows twice, and leave holes in memory."""

    def append(self, *parts: Mapping[str, NDArray[Any]]) -> None:
        """Add the rows of each part to the table of its name; all but the first dimension stay the same."""
        for name, rows in (item for part in parts for item in part.items()):
            table = self.setdefault(name, np.empty((0, *rows.shape[1:]), rows.dtype))
            size = len(table)
            table.resize((size + len(rows), *rows.shape[1:]), refcheck=False)  # no other reference exists
            table[size:] = rows


def features(
    particles: Sets,
    partons: Conditions,
    *,
    max_particles: int = 50,
    num_spectra: int = 1_000,
    dtype: type[np.floating[Any]] = np.float32,
) -> Features:
    """Compute features of N particle sets and the partons they come from.

    Args:
        particles: ragged sets, p4 in GeV.
        partons: their partons, p4 in GeV.
        max_particles: leading particles kept for EFPs, tau21, C2 and D2 (everything else takes all).
        num_spectra: keep the particles of this many sets for the spectra; 0: none, and no mass spectra.
        dtype: precision of the pairwise sums.

    Returns:
        The features.

    Raises:
        ValueError: if sets and partons differ in number, or a momentum is not finite.
    """
    return _features(relative(particles, partons), max_particles, num_spectra, dtype)


def _features(jets: Jets, max_particles: int, num_spectra: int, dtype: type[np.floating[Any]]) -> Features:
    powers = efp.efps(jets, max_particles=max_particles, dtype=dtype)
    first = jets[:num_spectra]
    spectra = np.stack([first.index, first.pdg_id, first.pt_rel, first.eta_rel], axis=1)
    return Features(
        efps=powers.astype(np.float32),
        observables=observables.observables(jets, powers, max_particles=max_particles, dtype=dtype),
        content=content(jets).astype(np.float32),
        counts=observables.species_counts(jets),
        flow=observables.energy_flow(jets),
        condition=np.stack([jets.parton_id.astype(np.float64), np.log(jets.parton_pt)], axis=1),
        masses=grouped_spectra(jets if num_spectra else jets[:0]),
        particles=spectra.astype(np.float32),
        max_particles=max_particles,
    )
