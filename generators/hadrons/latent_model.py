"""The density of latents (:mod:`generators.hadrons.latent`): a count model and two flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.event import Floats, Ints
from generators.hadrons.count_shapes import NUM_SIDE, least_masses
from generators.hadrons.counts import CountModel
from generators.hadrons.latent import FEATURES, NUM_CONDITION, NUM_TOTAL, OF_CARRIER, Latent, closed_columns, conditions
from generators.hadrons.latent_sampler import LatentSampler
from generators.hadrons.tokens import FLAVOURS, NUM_CONTENT, TYPES
from generators.hadrons.tunes import parameter
from generators.nn.compiled_network import weights_of
from generators.nn.derived import Derived
from generators.nn.flows import SplineFlow

OF_CARRIERS = "of_carriers"
"""Key of the sizes of networks: see :func:`make_latent`, and the networks of trees."""


def make_latent(settings: Mapping[str, Any], tune: Sequence[str] = ()) -> LatentModel:
    """Make a latent model with the sizes of a config, for tunes of the parameters ``tune``; unknown names are refused.

    With "of_carriers" parameters that act on the hadron of one quark are inputs for partons of its flavour alone.
    """
    sizes = dict(settings)
    if sizes.pop(OF_CARRIERS, False):
        quarks = [(NUM_CONDITION + k, parameter(name).quark) for k, name in enumerate(tune)]
        sizes["gates"] = [(k, FLAVOURS.index(quark)) for k, quark in quarks if quark]
    return LatentModel(num_extra=len(tune), **sizes)


def _sampler(model: LatentModel) -> LatentSampler:
    return LatentSampler(weights_of(model))


class LatentModel(nn.Module):
    """p(z | flavour, pT, scale, extra conditions).

    Args:
        num_extra: further numbers of a condition (for example tune parameters).
        count_width: width of the networks of the :class:`~generators.hadrons.counts.CountModel`.
        flow_width: width of the networks of the flows.
        max_size: see the count model.
        max_pions: see the count model.
        max_others: see the count model.
        num_bins: of the flows' splines.
        gates: columns of the condition that are zero but for partons of one flavour, and the columns that say whether a
            parton has it.
        responses: whether the further numbers, which are parameters of tunes, act on means and odds of counts directly
            (:mod:`generators.hadrons.responses`) too.
    """

    _of_carrier: Tensor
    gates: Tensor | None

    def __init__(
        self,
        *,
        num_extra: int = 0,
        count_width: int = 48,
        flow_width: int = 96,
        max_size: int = 256,
        max_pions: int = 63,
        max_others: int = 31,
        num_bins: int = 12,
        gates: Sequence[tuple[int, int]] = (),
        responses: bool = False,
    ) -> None:
        super().__init__()
        self.num_extra = num_extra
        self.register_buffer("gates", torch.tensor(gates) if gates else None)
        num_condition = NUM_CONDITION + num_extra + NUM_SIDE
        self.count_model = CountModel(
            num_condition,
            width=count_width,
            max_size=max_size,
            max_pions=max_pions,
            max_others=max_others,
            tune=(NUM_CONDITION, NUM_CONDITION + num_extra) if responses and num_extra else None,
        )
        num_inputs = num_condition + 3 * len(TYPES) + 2 + OF_CARRIER.shape[1]
        self.context = nn.Sequential(nn.Linear(num_inputs, flow_width), nn.SiLU(), nn.Linear(flow_width, flow_width))
        self.register_buffer("_of_carrier", torch.from_numpy(OF_CARRIER).float(), persistent=False)
        num_extras = len(FEATURES) - NUM_TOTAL
        self._sampler = Derived(_sampler)
        self.total_flow = SplineFlow(NUM_TOTAL, flow_width, width=flow_width, num_bins=num_bins)
        self.extras_flow = SplineFlow(num_extras, flow_width + NUM_TOTAL, width=flow_width, num_bins=num_bins)

    def train(self, mode: bool = True) -> Self:
        """Set the mode as every module does; from then on samples use the weights as they are."""
        self._sampler.forget()
        return super().train(mode)

    @property
    def sampler(self) -> LatentSampler:
        """What draws with the weights as they are."""
        return self._sampler.of(self)

    def condition(
        self, flavour: Ints, pt: Floats, scale: Floats, extra: Floats | Tensor | None = None, side: Floats | None = None
    ) -> Tensor:
        """Compute the conditions (N, C) in float32.

        Args:
            flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
            pt: of the partons, in GeV, (N,).
            scale: where their showers start, in GeV, (N,).
            extra: further conditions, (N, num_extra); of a tensor, gradients are kept.
            side: what is known of the opposite sets, see :func:`side_of`, (N, NUM_SIDE); by default nothing.

        Raises:
            ValueError: if ``extra`` has another shape.
        """
        none = np.zeros((len(pt), 0))
        if not self.num_extra:
            return torch.from_numpy(conditions(flavour, pt, scale, none, side))
        if extra is None or extra.shape != (len(pt), self.num_extra):
            raise ValueError(f"this latent model needs {self.num_extra} extra conditions for each parton")
        given = torch.from_numpy(conditions(flavour, pt, scale, none, side))
        given = torch.cat([given[:, :NUM_CONDITION], torch.as_tensor(extra).float(), given[:, NUM_CONDITION:]], -1)
        return given if self.gates is None else given.masked_fill(self.closed(given), 0.0)

    def closed(self, condition: Tensor) -> Tensor:
        """Return which columns of conditions (N, C) are no inputs for their partons, (N, C)."""
        if self.gates is None:
            return torch.zeros(condition.shape, dtype=torch.bool)
        return torch.from_numpy(closed_columns(condition.detach().numpy(), self.gates.numpy()))

    def _context(self, condition: Tensor, counts: Tensor, carrier: Tensor, opposite: Tensor | None = None) -> Tensor:
        """Compute the context (N, flow_width) of the flows.

        Args:
            condition: of the sets, (N, C).
            counts: of their species, (N, S).
            carrier: species of their carriers, (N,).
            opposite: counts of the species of the opposite sets, (N, S), zeros (or None) where these are not known.
        """
        context: Tensor = self.context(self._context_inputs(condition, counts, carrier, opposite))
        return context

    def _context_inputs(self, condition: Tensor, counts: Tensor, carrier: Tensor, opposite: Tensor | None) -> Tensor:
        """Compute what the network of :meth:`_context` sees, (N, I): the condition first."""
        c = self.count_model.of_types(counts, carrier).float()
        beyond = torch.zeros_like(c) if opposite is None else torch.log1p(self.count_model.of_types(opposite).float())
        n, least = c.sum(-1, keepdim=True), torch.from_numpy(least_masses(counts.numpy())).float()[:, None]
        of_carrier = self._of_carrier[carrier]
        columns = [condition, torch.log1p(c), c / 16, torch.log1p(n), torch.log1p(least), of_carrier, beyond]
        return torch.cat(columns, -1)

    def set_scales(self, features: Tensor) -> None:
        """Set the standardisation of the flows from training features (N, 8)."""
        self.total_flow.set_scales(features[:, :NUM_TOTAL])
        self.extras_flow.set_scales(features[:, NUM_TOTAL:])

    def _with_total(self, context: Tensor, total: Tensor) -> Tensor:
        """Extend a context (N, flow_width) by the standardised features of the total momentum (N, 3)."""
        return torch.cat([context, ((total - self.total_flow.mean) / self.total_flow.std).to(context.dtype)], -1)

    def log_prob(
        self,
        condition: Tensor,
        counts: Tensor,
        carrier: Tensor,
        features: Tensor,
        missing: Tensor | None = None,
        forced: Tensor | None = None,
        opposite: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the factors of log p(z | condition): "counts", "total" and "extras", each (N,).

        Args:
            condition: result of :meth:`condition`, (N, C).
            counts: tokens of each species, (N, S).
            carrier: species of the carriers, S for none, (N,).
            features: columns :data:`FEATURES`, (N, 8).
            missing: quantum numbers that the sets have to have, (N, 8); by default they are free.
            forced: where they are not, (N,).
            opposite: counts of the species of the opposite sets, (N, S), zeros (or None) where these are not known.
        """
        num = len(condition)
        missing = torch.zeros(num, NUM_CONTENT) if missing is None else missing
        forced = torch.zeros(num, dtype=torch.bool) if forced is None else forced
        context = self._context(condition, counts, carrier, opposite)
        total, extras = features[:, :NUM_TOTAL], features[:, NUM_TOTAL:]
        return {
            "counts": self.count_model.log_prob(condition, counts, carrier, missing, forced),
            "total": self.total_flow.log_prob(total, context),
            "extras": self.extras_flow.log_prob(extras, self._with_total(context, total)),
        }

    def total_log_prob(
        self, condition: Tensor, counts: Tensor, carrier: Tensor, features: Tensor, opposite: Tensor | None = None
    ) -> Tensor:
        """Compute the factor "total" of :meth:`log_prob` alone, (N,)."""
        return self.total_flow.log_prob(features[:, :NUM_TOTAL], self._context(condition, counts, carrier, opposite))

    @torch.no_grad()
    def total_log_probs(
        self,
        condition: Tensor,
        steps: Tensor,
        counts: Tensor,
        carrier: Tensor,
        features: Tensor,
        opposite: Tensor | None = None,
    ) -> Tensor:
        """Compute :meth:`total_log_prob` (V, N) under conditions plus V steps, (V, C), without gradients."""
        enter: Any = self.context[0]
        first = enter(self._context_inputs(condition, counts, carrier, opposite))
        moved = first + (steps @ enter.weight[:, : steps.shape[1]].T)[:, None]
        context = self.context[1:](moved.flatten(0, 1))
        of_total: Tensor = self.total_flow.log_prob(features[:, :NUM_TOTAL].repeat(len(steps), 1), context)
        return of_total.view(len(steps), -1)

    def extras_log_prob(
        self, condition: Tensor, counts: Tensor, carrier: Tensor, features: Tensor, opposite: Tensor | None = None
    ) -> Tensor:
        """Compute the factor "extras" of :meth:`log_prob` alone, (N,)."""
        total, extras = features[:, :NUM_TOTAL], features[:, NUM_TOTAL:]
        context = self._context(condition, counts, carrier, opposite)
        return self.extras_flow.log_prob(extras, self._with_total(context, total))

    def loss(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Compute the mean negative log-likelihood of a set, "loss", and its three parts.

        Args:
            batch: the arguments of :meth:`log_prob`.
        """
        parts = {name: -value.mean() for name, value in self.log_prob(*batch).items()}
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def sample(
        self,
        flavour: Ints,
        pt: Floats,
        scale: Floats,
        rng: np.random.Generator,
        extra: Floats | None = None,
        *,
        extras: bool = True,
    ) -> Latent:
        """Draw one latent for each parton: see :meth:`LatentSampler.sample`."""
        return self.sampler.sample(flavour, pt, scale, rng, extra, extras=extras)
