"""The models of hadrons, part by part, as torch modules: parton -> latent -> primary hadrons -> final particles.

Sets are padded: momenta (N, K, 4), PDG ids (N, K), masks (N, K). Momenta are in float64: in float32 a hadron of a TeV
would not be on its mass shell. All randomness of a call follows from normal numbers ``noise`` (N, 4): equal noise gives
equal draws. A module's ``inputs`` and ``outputs`` are names and shapes, without the first dimension.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastsim.errors import PipelineError
from fastsim.event import ParticleSet, Partons, offsets_from_counts
from fastsim.event.species import PARTON_MASSES
from fastsim.networks.layers import Shape
from fastsim.sources.hadrons import HadronSource
from generators.decays.carried import carried
from generators.hadrons.derivative import latent_of
from generators.hadrons.flow.drafts import Draft
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.latent import FEATURES, NUM_TOTAL, Latent
from generators.hadrons.source import PrimaryModel
from generators.hadrons.tokens import SPECIES, condition
from generators.nn.noise import NOISE, generator_of

PARTON: dict[str, Shape] = {"parton_p4": (4,), "parton_id": ()}
PARTICLES: dict[str, Shape] = {
    "particle_p4": ("particles", 4),
    "particle_id": ("particles",),
    "particle_mask": ("particles",),
}
PRIMARY: dict[str, Shape] = {"primary_p4": ("primary", 4), "primary_id": ("primary",), "primary_mask": ("primary",)}


class HadronPart(nn.Module):
    """A part of what a source of hadrons does.

    Args:
        source: the source; its weights stay as they are, and are no part of the module's state.
        log_prob: whether the last output is the log-probability of what was drawn and has no derivative itself.

    Raises:
        PipelineError: if the source has no such part, or no such probability.
    """

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    needs: ClassVar[type] = HadronSource
    has_log_prob: ClassVar[tuple[type, ...]] = ()

    def __init__(self, source: HadronSource, *, log_prob: bool = False) -> None:
        super().__init__()
        if not isinstance(source, self.needs):
            raise PipelineError(f"{source.name} has no part {self.part!r}: models of hadrons with a latent have")
        if log_prob and not isinstance(source, self.has_log_prob):
            raise PipelineError(f"{source.name}: its part {self.part!r} has no log_prob")
        if isinstance(source, nn.Module):
            source.requires_grad_(False)
        self._held, self.log_prob = (source,), log_prob  # in a tuple: no module of this one
        if log_prob:
            self.outputs = {**self.outputs, f"log_prob_{self.part}": ()}

    part: ClassVar[str]

    @property
    def source(self) -> Any:
        """The source."""
        return self._held[0]


class LatentPart(HadronPart):
    """Parton -> latent: counts of species (S,), carrier, total four-momentum in the axis frame, features (F,).

    Total and features are differentiable in the parton for the counts that were drawn; ``log_prob`` is that of these.
    """

    part, needs, has_log_prob = "latent", PrimaryModel, (PrimaryModel,)

    def __init__(self, source: HadronSource, *, log_prob: bool = False) -> None:
        self.inputs = {**PARTON, "noise_latent": NOISE}
        self.outputs = _latent_shapes(source)
        super().__init__(source, log_prob=log_prob)

    def forward(self, p4: Tensor, pdg_id: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """Draw the latents of N partons."""
        partons = partons_of(p4, pdg_id)
        latent = self.source.latent(partons, rng=generator_of(noise))
        counts, carrier = torch.from_numpy(latent.counts), torch.from_numpy(latent.carrier)
        if not (self.log_prob or _wanted(p4)):
            return counts, carrier, torch.from_numpy(latent.total), torch.from_numpy(latent.features)
        total, features, log_prob = latent_of(self.source.latent_model, condition(partons)[0], _pt(p4), latent)
        return (counts, carrier, total, features, *((log_prob.double(),) if self.log_prob else ()))


class PrimaryPart(HadronPart):
    """Parton and latent -> primary hadrons. Those of the diffusion model are differentiable in parton and latent.

    Where derivatives may be wanted its network is computed in float32, else in the precision of the model.
    """

    part, needs = "primary", PrimaryModel

    def __init__(self, source: HadronSource, *, log_prob: bool = False) -> None:
        self.inputs = {**PARTON, **_latent_shapes(source), "noise_primary": NOISE}
        self.outputs = PRIMARY
        super().__init__(source, log_prob=log_prob)

    def forward(
        self,
        p4: Tensor,
        pdg_id: Tensor,
        counts: Tensor,
        carrier: Tensor,
        total: Tensor,
        features: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the primary hadrons of N partons from their latents."""
        partons, rng = partons_of(p4, pdg_id), generator_of(noise)
        arrays = (counts.numpy(), carrier.numpy(), _array(total), _array(features))
        if isinstance(self.source, PrimaryFlow):
            self.source.refuse_outside(partons)
            drawn = self.source.draft(partons, rng=rng, latent=Latent(*arrays))
            transverse, pz = _pt(p4), p4.double()[:, 3]
            mass = torch.tensor([PARTON_MASSES[abs(int(i))] for i in pdg_id], dtype=torch.float64)
            drawn = replace(
                drawn,
                pt=transverse,
                rapidity=torch.asinh(pz / (transverse**2 + mass**2).sqrt()),
                phi=torch.atan2(p4[:, 2].double(), p4[:, 1].double()),
                features=features.double(),
                azimuth=torch.atan2(total[:, 2].double(), total[:, 1].double()),
            )
            momenta = self._momenta(drawn, _wanted(p4, total, features))
            return padded(momenta, drawn.pdg_id, drawn.tokens.counts)
        self.source.refuse_outside(partons)
        sets, _ = self.source.draw_with_latent(partons, rng, Latent(*arrays))
        return padded(torch.from_numpy(sets.p4), sets.pdg_id, sets.counts)

    def _momenta(self, drawn: Draft, precise: bool) -> Tensor:
        """Compute the momenta of a draft, for derivatives in float32."""
        if not precise:
            momenta: Tensor = self.source.momenta(drawn)
            return momenta
        flow = self.source.flow
        precision = flow.config.network.precision
        flow.set_precision("float32")
        try:
            momenta = self.source.momenta(drawn)
        finally:
            flow.set_precision(precision)
        return momenta


class DecaysPart(HadronPart):
    """Primary hadrons -> final particles, differentiable in the momenta for the decays that were drawn."""

    part = "decays"

    def __init__(self, source: HadronSource, *, log_prob: bool = False) -> None:
        self.inputs = {**PRIMARY, "noise_decays": NOISE}
        self.outputs = PARTICLES
        super().__init__(source, log_prob=log_prob)

    def forward(self, p4: Tensor, pdg_id: Tensor, mask: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decay the hadrons of N sets."""
        momenta = p4.double()[mask]
        primary = set_of(momenta, pdg_id[mask], mask)
        final = self.source.decay(primary, generator_of(noise))
        result = torch.from_numpy(final.p4)
        if momenta.requires_grad and final.history is not None:
            result = carried(momenta, primary, final, self.source.tau0_max)
        return padded(result, final.pdg_id, final.counts)


class HadronsPart(HadronPart):
    """Parton -> final particles, of any source.

    Those of the diffusion model are differentiable in the parton for the counts of species, masses and decays that
    were drawn; ``log_prob`` is that of the counts. Other sources have no derivatives.
    """

    part, has_log_prob = "hadrons", (PrimaryFlow,)

    def __init__(self, source: HadronSource, *, log_prob: bool = False) -> None:
        self.inputs = {**PARTON, "noise_hadrons": NOISE}
        self.outputs = PARTICLES
        super().__init__(source, log_prob=log_prob)
        if isinstance(source, PrimaryFlow):
            self.latent, self.primary = LatentPart(source, log_prob=log_prob), PrimaryPart(source)
            self.decays = DecaysPart(source)

    def forward(self, p4: Tensor, pdg_id: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """Draw the final particles of N partons."""
        if isinstance(self.source, PrimaryFlow):
            counts, carrier, total, features, *log_prob = self.latent(p4, pdg_id, noise)
            primary = self.primary(p4, pdg_id, counts, carrier, total, features, noise + 1)
            return (*self.decays(*primary, noise + 2), *log_prob)
        sets = self.source.sample(partons_of(p4, pdg_id), rng=generator_of(noise))
        return padded(torch.from_numpy(sets.p4), sets.pdg_id, sets.counts)


PARTS: dict[str, type[HadronPart]] = {cls.part: cls for cls in (HadronsPart, LatentPart, PrimaryPart, DecaysPart)}
"""The parts by name; the first is what a source is as a whole."""


def partons_of(p4: Tensor, pdg_id: Tensor) -> Partons:
    """Return partons of four-momenta (N, 4) in GeV and PDG ids (N,)."""
    return Partons(pdg_id.numpy().astype(np.int64), _array(p4))


def set_of(p4: Tensor, pdg_id: Tensor, mask: Tensor) -> ParticleSet:
    """Return the sets of members (M, 4) and (M,) that a mask (N, K) has."""
    offsets = offsets_from_counts(mask.sum(1).numpy())
    return ParticleSet(offsets, pdg_id.numpy().astype(np.int64), _array(p4))


def padded(p4: Tensor, pdg_id: NDArray[Any], counts: NDArray[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ragged sets of M members as momenta (N, K, 4), PDG ids (N, K), 0 outside, and the mask (N, K)."""
    mask = torch.arange(int(counts.max(initial=1))) < torch.from_numpy(np.asarray(counts))[:, None]
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    ids[mask] = torch.from_numpy(pdg_id)
    return p4.new_zeros((*mask.shape, 4)).masked_scatter(mask[..., None], p4), ids, mask


def _latent_shapes(source: HadronSource) -> dict[str, Shape]:
    num = len(FEATURES) if getattr(source, "has_extras", True) else NUM_TOTAL
    shapes: dict[str, Shape] = {"latent_counts": (len(SPECIES),), "latent_carrier": ()}
    return {**shapes, "latent_total": (4,), "latent_features": (num,)}


def _pt(p4: Tensor) -> Tensor:
    return (p4.double()[:, 1] ** 2 + p4.double()[:, 2] ** 2).sqrt()


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.detach().double().numpy()


def _wanted(*tensors: Tensor) -> bool:
    """Return whether derivatives by one of some tensors may be wanted."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
