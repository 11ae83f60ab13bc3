"""What a chain of blocks costs beyond the same calls by hand.

    python -m bench.chain
    python -m bench.chain --compile

prints, for batches of several sizes, the processor time of two small networks called by hand, twice (the difference is
that of the measurement), as a chain on a TensorDict, and as a chain on tensors by keyword; and what the chain alone
costs, with modules that do nothing. With ``--compile`` the chain is measured as ``torch.compile`` makes it, too, which
needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

SIZES = (256, 1024, 4096)
ROUNDS = 60


def seconds(function: Callable[[], Any], calls: int) -> float:
    """Measure the processor time of a call, in seconds."""
    started = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - started) / calls


def compared(functions: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, tuple[float, float]]:
    """Measure functions in turn, so that they see the same machine.

    Returns:
        For each the least of its seconds over the rounds, which other programs disturb least, and its ratio to that of
        the first function.
    """
    first = next(iter(functions.values()))
    first()
    calls = max(1, round(0.003 / seconds(first, 3)))
    table = [[seconds(function, calls) for function in functions.values()] for _ in range(rounds)]
    least = [min(column) for column in zip(*table, strict=True)]
    return {name: (value, value / least[0]) for name, value in zip(functions, least, strict=True)}


def chains() -> tuple[Any, Any]:
    """Return two networks as in ``examples/tau_pairs.toml``, and two that do nothing, as chains."""
    import torch
    from torch import nn

    from fastsim import Block, Chain

    class Nothing(nn.Module):
        def __init__(self, *results: torch.Tensor) -> None:
            super().__init__()
            self.results = results

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.results

    visible: dict[str, Any] = {"visible": (28,)}
    hidden: dict[str, Any] = {"neutrinos": (6,), "latent": (16,)}
    first, second = (visible, hidden), ({**visible, **hidden}, {"logit": ()})
    networks = [
        Block("mlp", *first, name="neutrinos", options={"width": 64, "latent": "latent"}),
        Block("mlp", *second, name="boson", options={"width": 64}),
    ]
    size = SIZES[0]
    empty = [
        Block(Nothing(torch.zeros(size, 6), torch.zeros(size, 16)), *first, name="neutrinos"),
        Block(Nothing(torch.zeros(size)), *second, name="boson"),
    ]
    return Chain(networks).eval(), Chain(empty)


def measured(chain: Any, size: int, rounds: int = ROUNDS, compiled: Any = None) -> dict[str, tuple[float, float]]:
    """Measure a chain of two blocks, and the same compiled if given, on ``size`` events; see :func:`compared`."""
    import torch
    from tensordict import TensorDict

    one, two = chain
    visible = torch.randn(size, 28)
    batch = TensorDict({"visible": visible}, [size])

    # what a batch holds until the end of the next call, so that memory is used alike: with thousands of events, freeing
    # what the call before gave while this one is under way is 5% faster, for a chain or by hand
    kept: dict[str, Any] = {}

    def by_hand() -> Any:
        neutrinos, latent = one.module(visible)
        logit = two.module(visible, neutrinos, latent)
        kept.update(neutrinos=neutrinos, latent=latent, logit=logit)

    ways: dict[str, Callable[[], Any]] = {
        "by hand": by_hand,
        "again": lambda: by_hand(),
        "TensorDict": lambda: chain(batch),
        "keywords": lambda: kept.update(zip(chain.outputs, chain(visible=visible), strict=True)),
    }
    if compiled is not None:
        ways["compiled"] = lambda: kept.update(zip(chain.outputs, compiled(visible=visible), strict=True))
    with torch.no_grad():
        for way in ways.values():  # what is compiled for this size is so before it is measured
            way()
        return compared(ways, rounds)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--compile", action="store_true", help="measure the chain compiled by torch, too")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks, empty = chains()
    compiled = torch.compile(networks) if arguments.compile else None
    for size in SIZES:
        found = measured(networks, size, rounds, compiled)
        text = ", ".join(f"{name} {1e6 * s:.0f} us ({100 * (ratio - 1):+.1f}%)" for name, (s, ratio) in found.items())
        print(f"{size} events: {text}")
    found = measured(empty, SIZES[0], rounds)
    print("without networks: " + ", ".join(f"{name} {1e6 * s:.1f} us" for name, (s, _) in found.items()))


if __name__ == "__main__":
    main()
