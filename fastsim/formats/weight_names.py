"""Names of event weights that every reader of HepMC3 takes."""

from __future__ import annotations

import re
from collections.abc import Sequence


def safe_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of weights as HepMC3 reads them: without blanks and signs of control, none empty, none twice.

    >>> safe_names(["muR=0.5 muF=1", "", "muR=0.5_muF=1"])
    ('muR=0.5_muF=1', '1', 'muR=0.5_muF=1_2')
    """
    return distinct([re.sub(r"[\s\x00-\x1f\x7f]+", "_", name.strip()) or str(k) for k, name in enumerate(names)])


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of which none is there twice: later ones get a number."""
    taken = set(names)
    result: list[str] = []
    for name in names:
        new, number = name, 2
        while new in result or (new != name and new in taken):
            new, number = f"{name}_{number}", number + 1
        result.append(new)
    return tuple(result)
