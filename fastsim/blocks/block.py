"""A block: a torch module with named inputs and outputs.

This module imports torch and tensordict: import it inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from fastsim.blocks import kinds
from fastsim.errors import PipelineError
from fastsim.networks.layers import Shape


class Block(TensorDictModuleBase):
    """A torch module whose inputs and outputs have names and shapes.

    It takes a TensorDict with a first dimension of N events, and writes its outputs there: a quantity of shape
    (4,) is a tensor (N, 4). A set has a named size and a mask beside it: four-momenta ``("particles", 4)`` and mask
    ``("particles",)``. Called with tensors by keyword, it returns tensors. What is random takes its random numbers
    as an input, whose name begins with ``noise``: so gradients and common random numbers pass through.

    >>> import torch
    >>> smear = Block("mlp", {"p4": (4,)}, {"truth": (4,), "latent": (8,)}, name="smear", options={"width": 16})
    >>> truth, latent = smear(p4=torch.zeros(5, 4))
    >>> truth.shape, latent.shape
    (torch.Size([5, 4]), torch.Size([5, 8]))

    Args:
        module: a module that takes the inputs in their order and returns a tensor, or a tuple, of the outputs; or the
            kind of one, which makes it from the shapes: a network of the catalogue (:mod:`fastsim.networks`), the name
            of an entry point of the group ``fastsim.blocks``, or ``package.module:Class``.
        inputs: the shape of each input, without the dimension of the events.
        outputs: the shape of each output.
        name: its name in messages and pictures.
        options: of the kind, JSON values.

    Raises:
        PipelineError: if a shape is none, there is no output, an output has the name of an input, or the kind is
            unknown or refuses its options.
    """

    def __init__(
        self,
        module: nn.Module | str,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        *,
        name: str,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.inputs = {key: _shape(shape, f"block {name!r}: input {key!r}") for key, shape in inputs.items()}
        self.outputs = {key: _shape(shape, f"block {name!r}: output {key!r}") for key, shape in outputs.items()}
        if not self.outputs:
            raise PipelineError(f"block {name!r} has no outputs: give their names and shapes")
        self.kind = module if isinstance(module, str) else None
        self.options = dict(options or {})
        if isinstance(module, str):
            module = kinds.make(module, self.inputs, self.outputs, self.options, f"block {name!r}")
        elif options:
            raise PipelineError(f"block {name!r}: options {sorted(options)} are for a kind, not for a module")
        self.module = module
        self.in_keys = list(self.inputs)
        self.out_keys = list(self.outputs)

    def forward(self, tensordict: TensorDictBase | None = None, **tensors: Tensor) -> Any:
        """Write the outputs into a batch, and return it; of tensors by keyword, return the outputs alone.

        Raises:
            PipelineError: if an input is missing or has another shape, or the module returns something else than its
                outputs.
        """
        # a dictionary is handed from block to block: reads and writes of a TensorDict cost more than a small layer
        values = tensors if tensordict is None else {key: tensordict.get(key, None) for key in self.inputs}
        for key, shape in self.inputs.items():
            value = values.get(key)
            if value is None:
                present = ", ".join(map(str, tensors if tensordict is None else tensordict.keys()))
                raise PipelineError(
                    f"block {self._taker(key)!r} needs {key!r}, which the batch has not (present: {present})"
                )
            if value.shape[1:] != shape:
                self._check("input", self._taker(key), key, shape, value)
        values = dict(values)
        self.compute(values)
        if tensordict is None:
            results = tuple(values[key] for key in self.outputs)
            return results[0] if len(results) == 1 else results
        return tensordict.update({key: values[key] for key in self.outputs})

    def compute(self, values: dict[str, Tensor]) -> None:
        """Add the outputs to inputs that are there and of the right shapes.

        Raises:
            PipelineError: if the module returns something else than the outputs.
        """
        # the attribute of a module is looked up in several steps
        results = self._modules["module"](*[values[key] for key in self.inputs])  # type: ignore[misc]
        if isinstance(results, Tensor):
            results = (results,)
        if len(results) != len(self.outputs):
            raise PipelineError(
                f"block {self.name!r} returned {len(results)} tensors for {len(self.outputs)} outputs: "
                f"{', '.join(self.outputs)}"
            )
        for (key, shape), value in zip(self.outputs.items(), results, strict=True):
            if value.shape[1:] != shape:
                self._check("output", self.name, key, shape, value)
            values[key] = value

    def _taker(self, key: str) -> str:
        """Return the name of the block that takes an input."""
        return self.name

    @staticmethod
    def _check(role: str, name: str, key: str, shape: Shape, value: Tensor) -> None:
        """Raise PipelineError if a tensor has not the shape of a quantity."""
        found = value.shape[1:]
        if len(found) != len(shape) or any(isinstance(b, int) and a != b for a, b in zip(found, shape, strict=True)):
            raise PipelineError(
                f"block {name!r}: {role} {key!r} has shape (events, {', '.join(map(str, found))}), "
                f"must be (events, {', '.join(map(str, shape))})"
            )

    def config(self) -> dict[str, Any]:
        """Return what :func:`fastsim.blocks.files.build` makes an equal block of, apart from its weights.

        Raises:
            PipelineError: if the block was made of a module, not of a kind.
        """
        if self.kind is None:
            raise PipelineError(
                f"block {self.name!r} was made of a {type(self.module).__name__} object, which a card cannot describe: "
                "make it of a kind, such as 'package.module:Class', with options"
            )
        return {
            "kind": self.kind,
            "name": self.name,
            "inputs": {key: list(shape) for key, shape in self.inputs.items()},
            "outputs": {key: list(shape) for key, shape in self.outputs.items()},
            "options": self.options,
        }

    def __repr__(self) -> str:
        return f"<Block {self.name}: {listed(self.inputs)} -> {listed(self.outputs)}>"


def listed(quantities: Mapping[str, Shape]) -> str:
    """Return names and shapes as one text.

    >>> listed({"p4": ("particles", 4), "is_higgs": ()})
    'p4 (particles, 4), is_higgs ()'
    """
    return ", ".join(f"{key} ({', '.join(map(str, shape))})" for key, shape in quantities.items())


def fits(given: Shape, wanted: Shape) -> bool:
    """Return whether a quantity of one shape can be handed to an input of another: a named size fits any.

    >>> fits(("particles", 4), ("n", 4)), fits((4,), (3,)), fits((4,), ("n", 4))
    (True, False, False)
    """
    return len(given) == len(wanted) and all(
        a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(given, wanted, strict=True)
    )


def _shape(values: Any, place: str) -> Shape:
    sizes = tuple(values) if isinstance(values, tuple | list) else None
    if sizes is None or not all(
        isinstance(size, str) or (isinstance(size, int) and not isinstance(size, bool) and size > 0) for size in sizes
    ):
        raise PipelineError(f"{place}: {values!r} is no shape: give whole numbers, or names of sizes that differ")
    return sizes
