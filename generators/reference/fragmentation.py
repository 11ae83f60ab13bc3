"""A source of hadrons inside Pythia: colour singlets of ``pythia.next()`` that a model fragments in the place of Lund.

Pythia asks for each singlet of an event after its showers. The source gives the primary hadrons of those that it
takes; they are appended as Pythia appends its own, and decay as these do. Lund strings make what the source does not
take: junctions, diquarks, chains of a source that draws pairs alone, masses outside its domain.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
    Ilten, Menzo, Youssef, Zupan, Modeling hadronization using machine learning, 2022, arXiv:2203.04983.
"""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import numpy as np
import pythia8mc

from fastsim.errors import FastsimError, LightSinglet
from fastsim.event import Floats, Ints, ParticleSet
from fastsim.event.kinematics import boost_from, boost_to, mass, rotate_between
from fastsim.event.reconstruction import is_parton
from fastsim.sources.hadrons import ColourChains, HadronSource, PartonPairs

SOURCE, LUND = "source", "Lund"
_STATUS = 83
"""Of a primary hadron from a string; Pythia has 84 too, for those from the end of the string that came last."""
_BEAM = np.array([[0.0, 0.0, 1.0]])
_SEEDS = 2**31


class SourceFragmentation(pythia8mc.LundFragmentation):  # type: ignore[misc]
    """Fragmentation by a source, with Lund strings for what it does not take.

    Args:
        pythia: the generator that asks.
        source: draws pairs (``has_pairs``), or chains of any length (``has_chains``).
        scale: where the showers of the source start, in GeV: below it Pythia's shower is taken to be over.

    Attributes:
        counts: singlets that each of :data:`SOURCE` and :data:`LUND` fragmented so far.
    """

    def __init__(self, pythia: Any, source: HadronSource, scale: float) -> None:
        super().__init__()
        self.source, self.scale, self.counts = source, scale, Counter[str]()
        self._pythia = weakref.ref(pythia)  # Pythia holds this object

    def fragment(self, iSub: int, colConfig: Any, event: Any, isDiff: bool = False, systemRecoil: bool = True) -> bool:
        """Fragment a singlet; Pythia calls this, once with a negative number for an event as a whole."""
        if iSub < 0:
            return bool(super().fragment(iSub, colConfig, event, isDiff, systemRecoil))
        singlet = colConfig[iSub]
        rows = list(singlet.iParton)
        hadrons = None if singlet.hasJunction or isDiff else self._hadrons(event, rows)
        if hadrons is None:
            self.counts[LUND] += 1
            return bool(super().fragment(iSub, colConfig, event, isDiff, systemRecoil))
        self.counts[SOURCE] += 1
        rndm = self._rndm()
        first = event.size()
        for pdg_id, (e, px, py, pz), m in zip(
            hadrons.pdg_id.tolist(), hadrons.p4.tolist(), mass(hadrons.p4).tolist(), strict=True
        ):
            event.append(pdg_id, _STATUS, rows[0], rows[-1], 0, 0, 0, 0, px, py, pz, e, m)
            hadron = event.back()
            hadron.tau(hadron.tau0() * rndm.exp())
        for row in rows:
            event[row].statusNeg()
            event[row].daughters(first, event.size() - 1)
        return True

    def _rndm(self) -> Any:
        pythia = self._pythia()
        assert pythia is not None  # it is what calls
        return pythia.rndm

    def _hadrons(self, event: Any, rows: list[int]) -> ParticleSet | None:
        """Draw the hadrons of the singlet of some rows of the event, in its frame; None if the source does not."""
        partons = [event[row] for row in rows]
        pdg_id = np.array([p.id() for p in partons])
        if not is_parton(pdg_id).all():
            return None
        p4 = np.array([(p.e(), p.px(), p.py(), p.pz()) for p in partons])
        frame = p4.sum(axis=0, keepdims=True)
        rest = boost_from(p4, np.repeat(frame, len(p4), axis=0))
        rng = np.random.default_rng(int(self._rndm().flat() * _SEEDS))
        hadrons = self._chain(pdg_id, rest, rng) if self.source.has_chains else self._pair(pdg_id, rest, frame, rng)
        if hadrons is None:
            return None
        moved = boost_to(hadrons.p4, np.repeat(frame, len(hadrons.p4), axis=0))
        return ParticleSet(hadrons.offsets, hadrons.pdg_id, moved)

    def _chain(self, pdg_id: Ints, rest: Floats, rng: np.random.Generator) -> ParticleSet | None:
        chain = ColourChains(np.array([0, len(pdg_id)]), pdg_id, rest, np.array([self.scale]))
        try:
            return self.source.draw_chains(chain, rng)
        except LightSinglet:
            return None

    def _pair(self, pdg_id: Ints, rest: Floats, frame: Floats, rng: np.random.Generator) -> ParticleSet | None:
        if len(pdg_id) != 2:
            return None
        pair = PartonPairs(pdg_id[None, :], mass(frame), np.array([self.scale]))
        if not self.source.takes(pair)[0]:
            return None
        hadrons = self.source.draw_pairs(pair, rng)
        start = np.broadcast_to(_BEAM, hadrons.p4[:, 1:].shape)
        along = np.broadcast_to(rest[:1, 1:] / np.linalg.norm(rest[0, 1:]), start.shape)
        turned = rotate_between(hadrons.p4[:, 1:], start, along)
        return ParticleSet(hadrons.offsets, hadrons.pdg_id, np.concatenate([hadrons.p4[:, :1], turned], axis=1))


class _Hooks(pythia8mc.UserHooks):  # type: ignore[misc]
    """Give Pythia the fragmentation at the one moment when it takes it."""

    def __init__(self, pythia: Any, fragmentation: SourceFragmentation) -> None:
        super().__init__()
        self._pythia, self._fragmentation = weakref.ref(pythia), fragmentation

    def initAfterBeams(self) -> bool:
        """Hand the fragmentation over; Pythia calls this while it starts."""
        pythia = self._pythia()
        return pythia is not None and bool(pythia.setFragmentationPtr(self._fragmentation))


def put_into(pythia: Any, source: HadronSource, scale: float) -> SourceFragmentation:
    """Let a source fragment what it can inside a Pythia that has not started yet.

    Args:
        pythia: the generator, before its ``init()``.
        source: draws pairs, or chains.
        scale: where the showers of the source start, in GeV.

    Returns:
        The fragmentation, whose counts say how much the source did.

    Raises:
        FastsimError: if the source draws no singlets, or Pythia has started.
    """
    if not (source.has_pairs or source.has_chains):
        raise FastsimError(f"{source.name} draws no colour singlets: it cannot fragment strings inside Pythia")
    if pythia.infoPython().idA() != 0:
        raise FastsimError("this Pythia has started: attach the model before pythia.init()")
    fragmentation = SourceFragmentation(pythia, source, scale)
    hooks = _Hooks(pythia, fragmentation)
    pythia.addUserHooksPtr(hooks)
    weakref.finalize(pythia, _forget, hooks, fragmentation)  # their Python halves live as long as Pythia does
    return fragmentation


def _forget(*_: object) -> None:
    """Do nothing: the arguments of a finalizer are held until it runs."""
