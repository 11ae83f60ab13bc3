"""The density that a tree model gives to given token sets, as a function of the tune.

Trees, coordinates and Jacobians of the sets do not depend on the tune: they are computed once, and the networks are
evaluated for every tune that is asked for. Gradients with respect to the tune are torch's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fastsim.errors import InvalidValue
from fastsim.event import Floats, Ints
from generators.hadrons.count_shapes import least_masses
from generators.hadrons.latent import MASS, NUM_CONDITION, RECOIL, Latent, side_of, total_log_jacobian
from generators.hadrons.tokens import NUM_CONTENT, SPECIES, TokenSample, parton_energy
from generators.hadrons.tree.splittings import splittings
from generators.hadrons.tree.tune_rows import kinds_of, log_probs

if TYPE_CHECKING:
    from generators.hadrons.tree.model import PrimaryTree

_ROWS = 16384
"""Splittings whose density is computed at once, with what torch keeps for their gradients."""
_ROWS_ALONE = 4096
"""Splittings whose density is computed at once without gradients."""
_SETS = 192
"""Sets whose counts' density is computed at once."""


@dataclass(frozen=True)
class _Latents:
    """What the density of the latents of R readings is computed from.

    Attributes:
        of_counts: the arguments of :meth:`CountModel.log_prob`, of R rows each.
        of_total: the first arguments of :meth:`LatentModel.total_log_prob`, of R rows each.
        second: which are second hemispheres, which have no total momentum of their own, (R,).
        opposite: counts of the opposite hemispheres, (R, S); None without pairs.
    """

    of_counts: tuple[Tensor, ...]
    of_total: tuple[Tensor, ...]
    second: Tensor
    opposite: Tensor | None


class TreeDensity:
    """log p(tokens | parton, tune) of N token sets, for any tune.

    ``density(tune)`` gives it as an array, :meth:`log_prob` as a tensor that can be differentiated, :meth:`gradient`
    with its derivatives, block by block. The measure is that of :meth:`PrimaryTree.log_prob`.

    With ``pairs``, the sets 2i and 2i + 1 are the hemispheres of one colour singlet, and the density is that of the
    pair, (N / 2,), in which the second hemisphere has what the first one lacks::

        p(pair) = p(c1) p(c2 | c1) p(P | c1, c2) p(tokens 1 | c1, P) p(tokens 2 | c2, recoil of P)

    with c the species counts and P the total four-momentum of the first.

    With ``source``, several sets are readings of one, which differ in the carrier of the parton's quark
    (:func:`generators.hadrons.likelihood.with_carriers`); the density then is the sum over the readings. The carriers
    of the two hemispheres of a pair are independent given the rest, so that their sums multiply.

    Args:
        model: the tree model.
        sample: N sets in the axis frame; their own tunes are not looked at.
        pairs: whether they are pairs.
        source: the set that each of them is a reading of, rising from 0, (N,); by default they are N sets.

    Raises:
        InvalidValue: if pairs are asked for of an odd number of sets.
    """

    def __init__(
        self, model: PrimaryTree, sample: TokenSample, *, pairs: bool = False, source: Ints | None = None
    ) -> None:
        from generators.hadrons.tree.model import log_jacobian

        self._source = np.arange(len(sample)) if source is None else np.asarray(source)
        num = int(self._source[-1]) + 1 if len(self._source) else 0
        if pairs and num % 2:
            raise InvalidValue(f"{num} token sets are no pairs of hemispheres")
        self._model, self._group, self._own = model, 1 + pairs, sample
        self._size = num // self._group
        width = len(model.tune_parameters)
        sample = replace(sample, tune=np.zeros((len(sample), width)))
        self._rows, tree, nodes = splittings(sample)
        self._set = tree.set_index[nodes]
        self._num_context = self._rows.context.shape[1] - width
        energy = parton_energy(sample.flavour, sample.pt)
        counts = sample.species_counts()
        single = counts.sum(-1) == 1
        opposite = least_masses(counts)[self._opposite] if pairs else None
        latent = Latent.of(sample, energy, opposite)
        of_total = total_log_jacobian(latent, energy, opposite)
        # what is no degree of freedom was noise in training
        latent.features[single, MASS] = model.latent_model.total_flow.mean[MASS]
        if pairs:
            latent.features[single[self._opposite], RECOIL] = model.latent_model.total_flow.mean[RECOIL]
        self._latent = latent
        of_sets = np.bincount(self._set, log_jacobian(self._rows, tree, nodes), len(sample))
        self._jacobian = of_sets + np.where(self._second, 0.0, of_total)

    @property
    def _second(self) -> NDArray[np.bool_]:
        """Which sets are second hemispheres, (N,): none without ``pairs``."""
        return np.asarray(self._source % self._group == 1)

    @property
    def _opposite(self) -> Ints:
        """A reading of the opposite hemisphere of each set, (N,), with ``pairs``."""
        return np.searchsorted(self._source, self._source ^ 1)

    def __len__(self) -> int:
        return self._size

    def __call__(self, tune: ArrayLike | None = None) -> Floats:
        """Return the log-density, (N,).

        Args:
            tune: vectors of tunes, of all (P,) or one for each (N, P); by default where the model stands.

        Raises:
            InvalidValue: if the vectors have another shape.
        """
        vectors = self._tensor(tune)
        if vectors.ndim == 1:
            return np.asarray(self.at(vectors.numpy()[None])[0])
        with torch.no_grad():
            return np.asarray(self.log_prob(vectors).numpy())

    def at(self, tunes: ArrayLike) -> Floats:
        """Return the log-densities (V, N) at several tunes: what does not depend on the tune is computed once.

        Args:
            tunes: vectors of tunes, one or more, (V, P).

        Raises:
            InvalidValue: if the vectors have another shape.
        """
        vectors, width = self._tensor(tunes), len(self._model.tune_parameters)
        if vectors.ndim != 2 or vectors.shape[1] != width:
            raise InvalidValue(
                f"vectors of tunes of shape {tuple(vectors.shape[1:])} for {self._size} sets: give ({width},) or "
                f"({self._size}, {width})"
            )
        with torch.no_grad():
            return np.stack([self._summed(each).numpy() for each in self._at(vectors)])

    def log_prob(self, tune: Tensor) -> Tensor:
        """Compute the log-density (N,) in float64, which torch can differentiate with respect to the tune.

        All sets at once: for many, :meth:`gradient` keeps the memory small.

        Args:
            tune: vectors of tunes, of all (P,) or one for each (N, P).

        Raises:
            InvalidValue: if the vectors have another shape.
        """
        width = len(self._model.tune_parameters)
        if tune.shape not in ((width,), (self._size, width)):
            raise InvalidValue(
                f"vectors of tunes of shape {tuple(tune.shape)} for {self._size} sets: give ({width},) or "
                f"({self._size}, {width})"
            )
        return self._summed(self._readings(tune.expand(self._size, width)))

    def gradient(self, tune: ArrayLike | None = None) -> tuple[Floats, Floats]:
        """Compute the log-density (N,) and its derivatives by the vectors of the tunes (N, P), the score of each set.

        Args:
            tune: vectors of tunes, of all (P,) or one for each (N, P); by default where the model stands.
        """
        width = len(self._model.tune_parameters)
        vectors = self._tensor(tune).expand(self._size, width)
        values, slopes = [np.zeros(0)], [np.zeros((0, width))]
        for rows in self._blocks():
            block = self.block(rows)
            own = vectors[rows].clone().requires_grad_(True)
            value = block.log_prob(own)
            (slope,) = torch.autograd.grad(value.sum(), own)
            values.append(value.detach().numpy())
            slopes.append(slope.double().numpy())
        return np.concatenate(values), np.concatenate(slopes)

    def block(self, chosen: slice) -> TreeDensity:
        """Return the density of some of the sets, or pairs, without computing their trees anew."""
        start, stop, _ = chosen.indices(self._size)
        readings = np.flatnonzero((self._source >= start * self._group) & (self._source < stop * self._group))
        return self._some(readings, self._source[readings] - start * self._group, stop - start)

    def chosen(self, rows: NDArray[np.bool_]) -> TreeDensity:
        """Return the density of the sets, or pairs, of a mask (N,)."""
        readings = np.flatnonzero(rows[self._source // self._group])
        place = np.cumsum(np.repeat(rows, self._group)) - 1
        return self._some(readings, place[self._source[readings]], int(rows.sum()))

    def likely(self, tune: ArrayLike | None = None, least: float = 1e-3) -> TreeDensity:
        """Return the density without the readings that are unlikely at a tune.

        What is left out is the same at all tunes, so that densities at several tunes can be compared.

        Args:
            tune: vector of the tune, (P,); by default where the model stands.
            least: share of the density of its set below which a reading is left out.
        """
        if not self._ambiguous:
            return self
        readings = np.flatnonzero(self._shares(self._values(tune)) >= least)
        return self._some(readings, self._source[readings], self._size)

    def drawn(self, tune: ArrayLike | None, rng: np.random.Generator) -> tuple[TreeDensity, Floats]:
        """Draw one reading of each set, as likely as it is at a tune; return its density, and that at the tune, (N,).

        With x a set and c its reading, p_B(x, c) / p_A(x, c) has the mean p_B(x) / p_A(x) over readings that are drawn
        with p_A(c | x): weights for other tunes cost one reading a set.

        Args:
            tune: vector of the tune A, (P,); None for where the model stands.
            rng: all randomness.
        """
        values, readings, density = self._values(tune), np.arange(len(self._source)), self
        if self._ambiguous:
            total = np.cumsum(self._shares(values))
            first = np.searchsorted(self._source, np.arange(self._size * self._group))
            last = np.append(first[1:], len(self._source)) - 1
            start = np.where(first > 0, total[first - 1], 0.0)
            chosen = np.searchsorted(total, start + rng.random(len(first)) * (total[last] - start), side="right")
            readings = np.clip(chosen, first, last)
            density = self._some(readings, np.arange(len(readings)), self._size)
        return density, values[readings].reshape(-1, self._group).sum(axis=1)

    def log_ratios(self, tune: ArrayLike, others: ArrayLike, rng: np.random.Generator) -> Floats:
        """Compute log p_B / p_A (V, N) of one reading of each set, which is drawn as likely as it is at the tune A.

        Args:
            tune: vector of the tune A, (P,).
            others: vectors of the tunes B, (V, P).
            rng: all randomness.
        """
        if self._ambiguous:
            density, before = self.drawn(tune, rng)
            return density.at(others) - before
        before, *values = self.at(np.stack([np.asarray(tune), *np.asarray(others)]))
        return np.asarray(np.stack(values) - before)

    @property
    def _ambiguous(self) -> bool:
        """Whether a set has several readings."""
        return len(self._source) > self._size * self._group

    def _values(self, tune: ArrayLike | None) -> Floats:
        """Compute the log-densities (R,) of the readings at the vector of a tune (P,)."""
        with torch.no_grad():
            return np.asarray(self._at(self._tensor(tune)[None])[0].numpy())

    def _shares(self, values: Floats) -> Floats:
        """Return the shares (R,) of the readings in the densities of their sets, from their logarithms (R,)."""
        top = np.full(self._size * self._group, -np.inf)
        np.maximum.at(top, self._source, values)
        share = np.exp(values - top[self._source])
        return np.asarray(share / np.bincount(self._source, share)[self._source])

    def _some(self, readings: Ints, source: Ints, size: int) -> TreeDensity:
        """Return the density of ``size`` sets, or pairs, with some readings, which are of the sets ``source``."""
        place = np.full(len(self._source), -1)
        place[readings] = np.arange(len(readings))
        rows = np.flatnonzero(place[self._set] >= 0)
        part = object.__new__(TreeDensity)
        part._model, part._group, part._num_context = self._model, self._group, self._num_context
        part._own, part._latent, part._jacobian = self._own[readings], self._latent[readings], self._jacobian[readings]
        part._source, part._size = source, size
        part._rows, part._set = self._rows.rows(torch.from_numpy(rows)), place[self._set[rows]]
        return part

    def _blocks(self) -> list[slice]:
        """Return slices of the sets, or pairs, with about as many splittings as are computed at once."""
        of_row = self._source[self._set] // self._group
        before = np.cumsum(np.bincount(of_row, minlength=self._size)) // _ROWS
        edges = [*np.flatnonzero(np.diff(before, prepend=-1)), self._size]
        return [slice(int(start), int(stop)) for start, stop in pairwise(edges)]

    def _at(self, tunes: Tensor) -> Tensor:
        """Compute the log-densities (V, R) of the readings at tunes (V, P) of all sets, without gradients."""
        values = torch.zeros(len(tunes), len(self._own), dtype=torch.float64)
        of_rows = log_probs(self._model.net, self._rows, tunes)
        values.index_add_(1, torch.from_numpy(self._set), of_rows.double())
        return values + torch.from_numpy(self._jacobian) + self._latents_at(tunes)

    def _readings(self, tune: Tensor) -> Tensor:
        """Compute the log-densities (R,) of the readings at the tunes (N, P) of the sets, or pairs."""
        of_set = tune[torch.from_numpy(self._source // self._group)]
        at_once = _ROWS if torch.is_grad_enabled() else _ROWS_ALONE
        log_q = torch.cat(
            [self._splittings(of_set, rows) for rows in torch.split(torch.arange(len(self._rows)), at_once)]
        )
        of_sets = torch.zeros(len(self._own), dtype=torch.float64)
        of_sets = of_sets.index_add(0, torch.from_numpy(self._set), log_q.double())
        return of_sets + torch.from_numpy(self._jacobian) + self._latents(of_set)

    def _tensor(self, tune: ArrayLike | None) -> Tensor:
        return torch.from_numpy(np.asarray(self._model.vector if tune is None else tune, dtype=np.float64)).float()

    def _splittings(self, of_set: Tensor, rows: Tensor) -> Tensor:
        """Compute the log-densities (R,) of some splittings at the tunes (N, P) of their sets."""
        part = self._rows.rows(rows)
        if of_set.shape[1]:
            own = of_set[torch.from_numpy(self._set)[rows]].float()
            part = replace(part, context=torch.cat([part.context[:, : self._num_context], own], -1))
        return self._model.net.log_prob(part)

    def _latents(self, of_set: Tensor) -> Tensor:
        """Compute the log-densities (R,) of counts and total momenta at the tunes (R, P) of the readings."""
        model, known = self._model.latent_model, self._known(of_set)
        values = torch.cat(
            [
                model.count_model.log_prob(*(x[rows] for x in known.of_counts))
                for rows in torch.split(torch.arange(len(of_set)), _SETS)
            ]
        )
        first = torch.nonzero(~known.second)[:, 0]
        opposite = None if known.opposite is None else known.opposite[first]
        of_total: Any = (*(x[first] for x in known.of_total), opposite)
        total = model.total_log_prob(*of_total)
        return values.double().index_add(0, first, total.double())

    def _latents_at(self, tunes: Tensor) -> Tensor:
        """Compute the log-densities (V, R) of counts and total momenta at tunes (V, P), without gradients."""
        model, known = self._model.latent_model, self._known(tunes[:1].expand(len(self._own), -1))
        steps = torch.zeros(len(tunes), known.of_counts[0].shape[1])
        steps[:, NUM_CONDITION : NUM_CONDITION + tunes.shape[1]] = tunes - tunes[:1]
        values = torch.zeros(len(tunes), len(self._own), dtype=torch.float64)
        # readings of a set with carriers of one species have the same latent
        key = self._source * (len(SPECIES) + 1) + self._latent.carrier
        _, some, place = np.unique(key, return_index=True, return_inverse=True)
        # what a tune adds is the same for rows with the same gates
        kinds, kind = kinds_of(model.closed(known.of_counts[0]), model.gates is not None)
        for number, closed in enumerate(kinds):
            rows = torch.from_numpy(some)[kind[some] == number]
            seen, of_rows = steps.masked_fill(closed, 0.0), [x[rows] for x in known.of_counts]
            values[:, rows] = model.count_model.log_probs(of_rows[0], seen, *of_rows[1:]).double()
            of_first = rows[~known.second[rows]]
            for first in torch.split(of_first, max(_ROWS_ALONE // len(tunes), 1)) if len(of_first) else ():
                opposite = None if known.opposite is None else known.opposite[first]
                condition, *others = (x[first] for x in known.of_total)
                of_total: Any = condition, seen, *others, opposite
                values[:, first] += model.total_log_probs(*of_total).double()
        return values[:, torch.from_numpy(some[place])]

    def _known(self, of_set: Tensor) -> _Latents:
        """Return what the density of latents at the tunes (R, P) of the readings is computed from."""
        own, latent, model = self._own, self._latent, self._model.latent_model
        counts, carrier = torch.from_numpy(latent.counts), torch.from_numpy(latent.carrier)
        features, second = torch.from_numpy(latent.features).float(), torch.from_numpy(self._second)
        known = own.flavour, own.pt, own.scale
        missing = torch.zeros(len(own), NUM_CONTENT, dtype=torch.int64)
        given, opposite = model.condition(*known, of_set), None
        condition = given
        if self._group == 2:
            # what the first hemisphere lacks is what the second has
            others = self._opposite
            side = side_of(latent.content, latent.counts[others])
            missing = torch.where(second[:, None], torch.from_numpy(latent.content), missing)
            given = model.condition(*known, of_set, side=side)
            condition, opposite = torch.where(second[:, None], given, condition), counts[torch.from_numpy(others)]
        of_counts = condition, counts, carrier, missing, second
        return _Latents(of_counts, (given, counts, carrier, features), second, opposite)

    def _summed(self, values: Tensor) -> Tensor:
        """Sum the densities, given by their logarithms (R,), of the readings of each set; multiply those of pairs."""
        num = self._size * self._group
        if self._ambiguous:
            source = torch.from_numpy(self._source)
            top = torch.full((num,), -torch.inf, dtype=values.dtype)
            top = top.scatter_reduce(0, source, values.detach(), "amax")
            summed = torch.zeros_like(top).index_add(0, source, (values - top[source]).exp())
            values = top + summed.log()
        return values.view(-1, self._group).sum(-1)
