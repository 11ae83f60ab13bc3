"""The contract of a source: something that draws a result for each of N inputs within its domain.

Pythia, Geant4, libraries of what these made, and trained models are sources. A subclass gives ``name``, ``kind``,
``domain`` and a method that draws; that inputs lie in the domain, that randomness comes from ``rng``, and that there is
one result an input is checked here, once, for all.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, OutOfDomain
from fastsim.sources.cards import ModelCard

X = TypeVar("X")
X_contra = TypeVar("X_contra", contravariant=True)

RNG = np.random.Generator | int | None
"""The source of randomness: a Generator to draw from, a seed, or None for one that differs from call to call."""


def generator(rng: RNG, seed: int | None = None) -> np.random.Generator:
    """Return a Generator as Scientific Python's SPEC 7 says: None gives a new one, a seed always the same draws.

    Args:
        rng: a Generator, which is used as it is; a seed; or None for fresh randomness from the system.
        seed: the name of ``rng`` in fastsim 0.1; not both.

    Raises:
        FastsimError: if both are given, or what is given is neither.

    >>> generator(3).integers(100) == generator(3).integers(100)
    True
    """
    if rng is not None and seed is not None:
        raise FastsimError("rng and seed are two names of one thing: give rng alone")
    try:
        return np.random.default_rng(seed if rng is None else rng)
    except (TypeError, ValueError) as error:
        raise FastsimError(f"rng={rng if seed is None else seed!r}: give a Generator, a seed, or None") from error


class Region(Protocol[X_contra]):
    """The inputs that a source is valid for."""

    def contains(self, inputs: X_contra, /) -> NDArray[np.bool_]:
        """Return which of N inputs lie inside, shape (N,)."""

    def describe(self, inputs: X_contra, row: int, /) -> str:
        """Return a phrase that names one of the inputs."""


class Source(ABC, Generic[X]):
    """Something that draws one result, such as a set of hadrons, for each of N inputs, such as partons.

    Chunks of events are sampled in threads, and a source may be sent to other processes: it keeps no state from one
    call to the next that changes a result, and can be pickled.

    Attributes:
        name: its name in files and messages.
        kind: what sort of source it is, such as "tree" or "library".
        domain: the inputs that the source is valid for.
        owns_processes: whether it computes in worker processes of its own, so that no others should be started.
        card: the card of a trained model; None for other sources.
        sha256: checksum of the file that holds its weights or stored sets; None if there is none.
    """

    name: str
    kind: ClassVar[str] = "source"
    domain: Region[X]
    owns_processes: bool = False
    card: ModelCard | None = None
    sha256: str | None = None

    def refuse_outside(self, inputs: X) -> None:
        """Raise OutOfDomain if one of the inputs lies outside :attr:`domain`, naming the first."""
        outside = np.flatnonzero(~self.domain.contains(inputs))
        if len(outside):
            row = int(outside[0])
            raise OutOfDomain(
                f"{self.domain.describe(inputs, row)} is outside the domain of {self.name}: {self.domain}"
            )

    @property
    def provenance(self) -> dict[str, str]:
        """What an output says about the source: version and checksum of a trained model, checksum of a library."""
        values = {} if self.card is None else {"version": self.card.version}
        return values if self.sha256 is None else {**values, "sha256": self.sha256}

    @property
    def source(self) -> Self:
        """The source itself: in fastsim 0.1 models were wrappers about their source."""
        return self

    def close(self) -> None:
        """End the worker processes, where there are any."""

    def __repr__(self) -> str:
        version = "" if self.card is None else f" {self.card.version}"
        return f"<{self.name}{version}: {self.kind} for {self.domain}>"
