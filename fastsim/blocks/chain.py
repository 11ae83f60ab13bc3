"""Blocks that hand their outputs on by name.

This module imports torch and tensordict: import it inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn
from torch.autograd import grad

from fastsim.blocks.block import Block, fits
from fastsim.blocks.choice import Choice
from fastsim.blocks.noise import is_drawn
from fastsim.errors import PipelineError
from fastsim.networks.layers import Shape

LOG_PROB = "log_prob"
"""How the name of an output begins that is the log-probability of what a block drew."""


class Chain(Block):
    """Blocks run one after the other, each on what the input and earlier blocks give; itself a Block.

    The inputs of the chain are what its blocks need and none of them gives; its outputs are all that they give. Blocks
    may be listed in any order: each is put after those whose outputs it needs, and else they stay in theirs.

    >>> import torch
    >>> regress = Block("mlp", {"visible": (8,)}, {"taus": (8,)}, name="regress")
    >>> classify = Block("mlp", {"visible": (8,), "taus": (8,)}, {"logit": ()}, name="classify")
    >>> chain = Chain([classify, regress], name="tau pairs")
    >>> chain
    <Chain tau pairs: regress, classify>
    >>> chain.inputs, list(chain.outputs)
    ({'visible': (8,)}, ['taus', 'logit'])
    >>> taus, logit = chain(visible=torch.zeros(3, 8))

    Args:
        blocks: the blocks; a :class:`Choice` and a Chain are blocks too.
        name: its name as a block.

    Raises:
        PipelineError: if two blocks have one name or one output, need each other, or hand on a quantity of a shape that
            does not fit.
    """

    def __init__(self, blocks: Sequence[Block], *, name: str = "chain") -> None:
        TensorDictModuleBase.__init__(self)
        if not blocks:
            raise PipelineError(f"chain {name!r} has no blocks")
        self.name = name
        self.kind, self.options = "chain", {}
        self._order = tuple(_ordered(blocks))
        self.blocks = nn.ModuleList(self._order)
        self.inputs: dict[str, Shape] = {}
        self.outputs: dict[str, Shape] = {}
        for block in self:
            for key, wanted in block.inputs.items():
                given = self.outputs.get(key, self.inputs.get(key))
                if given is None:
                    self.inputs[key] = wanted
                elif not fits(given, wanted):
                    source = next((b.name for b in self if key in b.outputs), None)
                    giver = "another block takes" if source is None else f"block {source!r} gives"
                    raise PipelineError(f"block {block.name!r} takes {key!r} of shape {wanted}, but {giver} {given}")
            self.outputs.update(block.outputs)
        self.in_keys = list(self.inputs)
        self.out_keys = list(self.outputs)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._order)

    def compute(self, values: dict[str, Tensor]) -> None:
        """Add the outputs of all blocks to inputs that are there and of the right shapes."""
        for block in self._order:
            block.compute(values)

    def _taker(self, key: str) -> str:
        return next(block._taker(key) for block in self if key in block.inputs)

    def requiring(self, inputs: Mapping[str, Shape], outputs: Sequence[str] = ()) -> Self:
        """Return the chain itself if it can be run on some inputs and gives some outputs.

        Random inputs whose sizes are fixed, or those of another input, need not be there:
        :func:`fastsim.blocks.noise.with_noise` draws them.

        Args:
            inputs: the shapes of what is there.
            outputs: names of what is wanted.

        Raises:
            PipelineError: naming the block whose input is missing or of another shape, or the output that no block
                gives.
        """
        for block in self:
            for key, wanted in block.inputs.items():
                if key not in self.inputs or (key not in inputs and is_drawn(key, self.inputs)):
                    continue
                if key not in inputs:
                    present = ", ".join([*inputs, *self.outputs])
                    raise PipelineError(
                        f"block {block.name!r} needs {key!r}, which neither the data nor a block gives "
                        f"(present: {present})"
                    )
                if not fits(inputs[key], wanted):
                    raise PipelineError(
                        f"block {block.name!r} takes {key!r} of shape {wanted}, but the data has {inputs[key]}"
                    )
        for key in outputs:
            if key not in self.outputs and key not in inputs:
                raise PipelineError(f"no block of {self.name!r} gives {key!r}: there are {', '.join(self.outputs)}")
        return self

    def gradient(self, batch: TensorDictBase, of: str, by: str, *, scores: bool = True) -> Tensor:
        r"""Compute the derivative of the sum of a quantity by an input, event by event, through all blocks between.

        It is the derivative for the random numbers in the batch. Where a block draws what is discrete and gives its
        log-probability, an output whose name begins with ``log_prob``, the score is added, so that the mean over draws
        is the derivative of the mean of the quantity f,

        .. math:: \frac{\mathrm{d}}{\mathrm{d}x} E[f] = E\left[\frac{\partial f}{\partial x} +
                  (f - b) \frac{\partial \ln p}{\partial x}\right]

        with b the mean of f in the other events, 0 if there are none.

        Args:
            batch: the inputs, N events.
            of: name of an output; its values in an event are added up.
            by: name of an input (N, ...).
            scores: whether to add the scores; without, what is discrete is held as it was drawn.

        Returns:
            A tensor of the shape of the input.

        Raises:
            PipelineError: if there is no such output or input, or a block between them cannot be differentiated: the
                message names it.

        References:
            Schulman, Heess, Weber, Abbeel, Gradient estimation using stochastic computation graphs, 2015,
            arXiv:1506.05254.
        """
        if by not in self.inputs:
            raise PipelineError(f"{by!r} is no input of {self.name!r}: there are {', '.join(self.inputs)}")
        if of not in self.outputs:
            raise PipelineError(f"no block of {self.name!r} gives {of!r}: there are {', '.join(self.outputs)}")
        batch = batch.clone(recurse=False)
        start = batch[by].detach().clone().requires_grad_()
        for key in self.inputs:
            batch[key] = start if key == by else batch[key].detach()
        depends, likelihoods, discrete = {by}, list[str](), False
        lost: dict[str, str] = {}  # quantities behind a block without derivatives, and this block
        for block in self._flat():
            batch = block(batch)
            broken = next((lost[key] for key in block.inputs if key in lost), None)
            found: set[str] = set()
            if depends.intersection(block.inputs):
                found = {key for key in block.outputs if _depends(batch[key], start)}
                scored = [key for key in found if key.startswith(LOG_PROB)]
                likelihoods += scored if scores else []
                discrete = discrete or bool(scored)
                found -= {key for key in block.outputs if key.startswith(LOG_PROB) and key != of}
                if not (found or scored):
                    broken = broken or block.name
            if broken is not None:
                lost |= dict.fromkeys(block.outputs, broken)
            depends |= found
            if of in block.outputs:
                break
        if of in lost:
            raise PipelineError(f"{of!r} has no derivative by {by!r}: block {lost[of]!r} is not differentiable")
        if of not in depends and not likelihoods:
            held = "what is between them is discrete" if discrete else "no block between them takes it"
            raise PipelineError(f"{of!r} has no derivative by {by!r}: {held}")
        values = batch[of].reshape(len(start), -1).sum(1)
        total = values.sum() if of in depends else start.new_zeros(())
        if likelihoods:
            weights = values.detach().double()
            if len(start) > 1:
                weights = (weights - weights.mean()) * (len(start) / (len(start) - 1))
            total = total + torch.stack([(weights * batch[key]).sum() for key in likelihoods]).sum()
        result: Tensor = grad(total, start)[0]
        return result

    def _flat(self) -> Iterator[Block]:
        """Yield the blocks, those of chains among them one by one."""
        for block in self:
            if isinstance(block, Chain):
                yield from block._flat()
            else:
                yield block

    def choices(self) -> dict[str, Choice]:
        """Return the choices among the blocks by name, those of chains among them too."""
        return {block.name: block for block in self._flat() if isinstance(block, Choice)}

    def chosen(self, combination: Mapping[str, str]) -> Chain:
        """Return the chain, of the same modules, with a candidate in place of each choice.

        Args:
            combination: the label of a candidate for the name of each choice.

        Raises:
            PipelineError: if a choice is missing, or has no such candidate.
        """
        blocks: list[Block] = []
        for block in self:
            if isinstance(block, Choice):
                blocks.append(block.candidate(combination))
            elif isinstance(block, Chain):
                blocks.append(block.chosen(combination))
            else:
                blocks.append(block)
        return Chain(blocks, name=self.name)

    def config(self) -> dict[str, Any]:
        """Return what :func:`fastsim.blocks.files.build` makes an equal chain of, apart from its weights."""
        return {"kind": "chain", "name": self.name, "blocks": [block.config() for block in self]}

    def __repr__(self) -> str:
        return f"<Chain {self.name}: {', '.join(block.name for block in self)}>"


def _depends(value: Tensor, start: Tensor) -> bool:
    """Return whether a tensor was computed from another in a way that can be differentiated."""
    if not value.requires_grad:
        return False
    (found,) = grad(value.sum(), start, retain_graph=True, allow_unused=True)
    return found is not None


def _ordered(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks, each after those whose outputs it needs.

    Raises:
        PipelineError: if names or outputs are there twice, or blocks need each other.
    """
    giver: dict[str, Block] = {}
    names: set[str] = set()
    for block in blocks:
        if block.name in names:
            raise PipelineError(f"two blocks have the name {block.name!r}")
        names.add(block.name)
        for key in block.outputs:
            if key in giver:
                raise PipelineError(f"blocks {giver[key].name!r} and {block.name!r} both give {key!r}: rename one")
            giver[key] = block
    done: list[Block] = []
    waiting = list(blocks)
    while waiting:
        ready = next((b for b in waiting if not any(giver.get(key) in waiting for key in b.inputs)), None)
        if ready is None:
            # who waits for whom, from any of those that are left: the way must come back to itself
            way = [waiting[0]]
            while way.count(way[-1]) == 1:
                way.append(next(giver[key] for key in way[-1].inputs if giver.get(key) in waiting))
            circle = way[way.index(way[-1]) :]
            raise PipelineError(f"blocks need each other: {' <- '.join(repr(block.name) for block in circle)}")
        waiting.remove(ready)
        done.append(ready)
    return done
