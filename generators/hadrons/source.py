"""A trained hadron model as a source of hadrons: latent first, primary hadrons given it, decays last."""

from __future__ import annotations

import dataclasses
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.errors import WeightsError
from fastsim.event import Floats, Ints, ParticleSet, Partons
from fastsim.sources.cards import ModelCard
from fastsim.sources.domains import Domain
from generators.hadrons.latent import NUM_CONDITION
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.latent_sampler import LatentSampler
from generators.hadrons.likelihood import primary_hadrons, summed, tokens_of_sets, with_carriers
from generators.hadrons.primary import PrimarySource
from generators.nn.devices import checked

_EXTRAS = "latent_model.extras_flow."
_RESPONSES = "latent_model.count_model.responses."
"""What tunes do to counts directly: without an effect at the start, in a model whose other has none."""
_GATES = ("net.gates", "latent_model.gates")
"""Columns of parameters: they follow from which there are, and are no weights to take from another model."""


class PrimaryModel(PrimarySource, nn.Module):
    """A source of primary hadrons that can be trained: see :class:`~generators.hadrons.primary.PrimarySource`."""

    load_options: ClassVar[frozenset[str]] = frozenset()
    """Keyword arguments that :meth:`from_card` takes in addition to ``device``."""
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    """Kinds of torch devices that the model runs on."""
    tune_columns: ClassVar[Mapping[str, int]] = {"latent_model": NUM_CONDITION}
    """Place of the first parameter of tunes among the inputs of the networks that have them."""

    def __init__(
        self, name: str, domain: Domain, latent: LatentModel, precision: str, parameters: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self._describe(name, domain, parameters)
        self.latent_model, self.precision = latent, precision

    @property
    def latent_sampler(self) -> LatentSampler:
        return self.latent_model.sampler

    def take_weights(self, other: PrimaryModel) -> None:
        """Take the weights of a model of the same sizes; parameters of tunes that it has not begin without an effect.

        Raises:
            ValueError: if the sizes differ, or ``other`` has parameters of tunes that this model has not.
        """
        if lost := [name for name in other.tune_parameters if name not in self.tune_parameters]:
            raise ValueError(f"{other.name} depends on {lost[0]}, and this model does not")
        theirs = other.state_dict()
        given = {
            k: self._widened(k, theirs[k], own, other)
            for k, own in self.state_dict().items()
            if k not in _GATES and (k in theirs or not k.startswith(_RESPONSES))
        }
        self.load_state_dict({k: given.get(k, own) for k, own in self.state_dict().items()})

    def _widened(self, name: str, given: Tensor, own: Tensor, other: PrimaryModel) -> Tensor:
        """Return a tensor of another model with inputs for the parameters of tunes that only this model has."""
        wider = [axis for axis in range(own.dim()) if own.dim() == given.dim() and own.shape[axis] != given.shape[axis]]
        if len(wider) != 1 or own.shape[wider[0]] - given.shape[wider[0]] != len(self.tune_parameters) - len(
            other.tune_parameters
        ):
            return given  # as it fits, or as load_state_dict refuses it
        (axis,), first = wider, self.tune_columns[name.split(".")[0]]
        num = len(other.tune_parameters)
        result = torch.ones_like(own) if name.endswith(".std") else torch.zeros_like(own)
        columns = list(range(given.shape[axis]))
        places = [first + self.tune_parameters.index(each) for each in other.tune_parameters]
        after = first + len(self.tune_parameters)
        places = [*columns[:first], *places, *range(after, after + len(columns) - first - num)]
        return result.index_copy(axis, torch.tensor(places), given)

    def only_tunes_learn(self) -> None:
        """Let nothing but the weights of the parameters of tunes learn from now on.

        What these weights are multiplied with is zero at Monash in a model that was made to depend on tunes: there it
        stays as it is.

        Raises:
            ValueError: if the model depends on no tune.
        """
        num = len(self.tune_parameters)
        if not num:
            raise ValueError(f"only_tunes: {self.name} depends on no tune")
        without = type(self).build(self.name, self.domain, {**self.config(), "tune": []})
        shapes = {name: weight.shape for name, weight in without.named_parameters()}
        for name, weight in self.named_parameters():
            if name.startswith(_RESPONSES):
                continue
            wider = [axis for axis, size in enumerate(shapes[name]) if weight.shape[axis] != size]
            if not wider:
                weight.requires_grad_(False)
                continue
            own = torch.zeros_like(weight)
            own.narrow(wider[0], self.tune_columns[name.split(".")[0]], num).fill_(1.0)
            weight.register_hook(own.mul)  # type: ignore[no-untyped-call]

    @classmethod
    @abstractmethod
    def build(cls, name: str, domain: Domain, config: Mapping[str, Any]) -> Self:
        """Return an untrained model with the sizes and settings in ``config``."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the sizes and settings that :meth:`build` takes, as JSON values."""

    def log_likelihood(
        self, partons: Partons, particles: ParticleSet, *, numbers: Ints | None = None, whole_events: bool = False
    ) -> Floats:
        """Compute the log-density of the primary hadrons of N partons, (N,); see :meth:`HadronSource.log_likelihood`.

        The measure is that of the model's ``log_prob``. Which hadron carries the parton's quark is summed over.
        """
        density = getattr(self, "log_prob", None)
        if density is None:
            return super().log_likelihood(partons, particles)
        self.refuse_outside(partons)
        if len(partons) == 0:
            return np.zeros(0)
        names = np.arange(len(partons)) if numbers is None else numbers
        primary = primary_hadrons(particles, names)
        tokens = tokens_of_sets(partons, primary, names, whole_events=whole_events)
        copies, source = with_carriers(dataclasses.replace(tokens, tune=self.vectors(len(tokens))))
        return summed(density(copies), source, len(tokens))

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save: parameters in float16, which halves the file, scales and edges as they are.

        A model whose tokens do not depend on the extras of the latent goes without their flow.
        """
        small = {name for name, _ in self.named_parameters()}
        kept = {k: v for k, v in self.state_dict().items() if self.has_extras or not k.startswith(_EXTRAS)}
        return {k: (v.half() if k in small else v).contiguous() for k, v in kept.items()}

    @classmethod
    def from_card(cls, card: ModelCard, weights: Path, *, device: str = "cpu", **options: Any) -> Self:
        """Return the model of a card and its verified weights file.

        Raises:
            WeightsError: if config and weights do not fit each other.
            FastsimError: if models of this kind do not run on ``device``, or it is not there.
        """
        from safetensors.torch import load_file

        checked(device, cls.devices, card.name)
        assert isinstance(card.domain, Domain)  # cards of these kinds have no other
        try:
            model = cls.build(card.name, card.domain, {**card.config, **options})
            state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()}
            if not model.has_extras:
                state |= {k: v for k, v in model.state_dict().items() if k.startswith(_EXTRAS)}
            model.load_state_dict(state)
        except (TypeError, RuntimeError, ValueError) as error:
            line = " ".join(str(error).split())
            raise WeightsError(f"{weights}: weights and card of {card.name} do not fit: {line[:200]}") from error
        model.card, model.sha256 = card, card.sha256
        model.move(device)
        return model.eval()

    def move(self, device: str) -> None:
        """Move the networks that a device other than the CPU is for to it; latents and decays stay on the CPU."""

    def save(self, folder: Path, *, version: str, training: dict[str, Any]) -> Path:
        """Write card and weights under the model's name, and return the path of the card.

        Args:
            folder: the folder to write to.
            version: version of the weights.
            training: how the model was trained, as JSON values. Validation figures are added to the card later.
        """
        from fastsim.sources import cards

        json.dumps(training)  # a card holds JSON values only
        card = ModelCard(self.name, self.kind, version, self.config(), self.domain, training)
        return cards.save(card, self.tensors(), folder)
