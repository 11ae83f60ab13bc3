"""The measurement of what a chain costs."""

from __future__ import annotations

from bench import chain


def test_a_chain_costs_microseconds_beyond_its_modules() -> None:
    networks, empty = chain.chains()
    found = chain.measured(empty, chain.SIZES[0], rounds=3)
    assert list(found) == ["by hand", "again", "TensorDict", "keywords"] and found["by hand"][1] == 1.0
    assert 0 < found["TensorDict"][0] - found["by hand"][0] < 2e-4
    assert len(list(networks)) == 2
