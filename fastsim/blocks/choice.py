"""A choice among candidates that can stand for each other.

This module imports torch and tensordict: import it inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from fastsim.blocks.block import Block, listed
from fastsim.errors import PipelineError
from fastsim.networks.layers import Shape


class Choice(Block):
    """Several blocks with the same outputs, of which one is to be chosen; itself a Block.

    What it runs is set by :attr:`path`: the label of one candidate, or weights (C,) with which the outputs of all
    candidates are mixed.

    >>> def candidate(kind):
    ...     return Block(kind, {"p4": ("n", 4), "mask": ("n",)}, {"logit": ()}, name=kind, options={"width": 8})
    >>> tagger = Choice({"deep sets": candidate("deep-sets"), "mixer": candidate("mixer")}, name="tagger")
    >>> tagger.path = "mixer"
    >>> tagger(p4=torch.zeros(2, 3, 4), mask=torch.ones(2, 3, dtype=torch.bool)).shape
    torch.Size([2])

    Args:
        candidates: the blocks, by label.
        name: its name as a block.

    Raises:
        PipelineError: if there are fewer than two candidates, or their outputs, or shapes of one input, differ.
    """

    def __init__(self, candidates: Mapping[str, Block], *, name: str = "choice") -> None:
        TensorDictModuleBase.__init__(self)
        if len(candidates) < 2:
            raise PipelineError(f"choice {name!r} has {len(candidates)} candidates: there is nothing to choose")
        self.name = name
        self.kind, self.options = "choice", {}
        self.labels = tuple(candidates)
        self.candidates = nn.ModuleList(candidates.values())
        self.path: str | Tensor = self.labels[0]
        first = candidates[self.labels[0]]
        self.inputs: dict[str, Shape] = {}
        self.outputs = dict(first.outputs)
        for label, block in candidates.items():
            if dict(block.outputs) != self.outputs:
                raise PipelineError(
                    f"choice {name!r}: candidate {label!r} gives {listed(block.outputs)}, but {self.labels[0]!r} gives "
                    f"{listed(self.outputs)}"
                )
            for key, shape in block.inputs.items():
                if self.inputs.setdefault(key, shape) != shape:
                    raise PipelineError(
                        f"choice {name!r}: candidate {label!r} takes {key!r} of shape {shape}, others of "
                        f"{self.inputs[key]}"
                    )
        self.in_keys = list(self.inputs)
        self.out_keys = list(self.outputs)

    def compute(self, values: dict[str, Tensor]) -> None:
        """Add the outputs of the candidate on the path, or of the mixture of all, to inputs of the right shapes."""
        if isinstance(self.path, str):
            self[self.path].compute(values)
            return
        results = []
        for block in self.candidates:
            own = {key: values[key] for key in self.inputs}
            cast("Block", block).compute(own)
            results.append(own)
        for key in self.outputs:
            values[key] = torch.tensordot(self.path, torch.stack([own[key] for own in results]), dims=1)

    def __getitem__(self, label: str) -> Block:
        """Return the candidate of a label.

        Raises:
            PipelineError: if there is none.
        """
        if label not in self.labels:
            raise PipelineError(f"choice {self.name!r} has no candidate {label!r}: there are {', '.join(self.labels)}")
        return cast("Block", self.candidates[self.labels.index(label)])

    def candidate(self, combination: Mapping[str, str]) -> Block:
        """Return the candidate that a combination, of a label for the name of each choice, has chosen.

        Raises:
            PipelineError: if the combination lacks this choice, or there is no such candidate.
        """
        if self.name not in combination:
            raise PipelineError(f"choice {self.name!r} is not made: give one of {', '.join(self.labels)}")
        return self[combination[self.name]]

    def config(self) -> dict[str, Any]:
        """Return what :func:`fastsim.blocks.files.build` makes an equal choice of, apart from its weights."""
        candidates = {label: self[label].config() for label in self.labels}
        return {"kind": "choice", "name": self.name, "candidates": candidates}

    def __repr__(self) -> str:
        return f"<Choice {self.name}: {' | '.join(self.labels)}>"
