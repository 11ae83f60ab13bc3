"""The parton gun: flavours and ranges from which partons are drawn, written as one line of text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import Partons
from fastsim.event.species import parse_flavour

Range = tuple[float, float]

_KEYS = "flavour=u,g pt=20:2000 eta=-2:2 phi=-3.14:3.14 num=1000"


@dataclass(frozen=True)
class Gun:
    """Partons of given flavours, pT log-uniform, eta and phi uniform.

    Attributes:
        flavours: PDG ids, each as likely as the others.
        pt: lowest and highest transverse momentum in GeV.
        eta: lowest and highest pseudorapidity.
        phi: lowest and highest azimuth in rad.
        num: number of partons.

    >>> gun = Gun.parse("flavour=u,ubar,g pt=20:2000 num=5")
    >>> gun.flavours, gun.pt, gun.num
    ((2, -2, 21), (20.0, 2000.0), 5)
    >>> len(gun.partons(np.random.default_rng(1)))
    5
    """

    flavours: tuple[int, ...] = (1, 2, 3, 4, 5, -1, -2, -3, -4, -5, 21)
    pt: Range = (20.0, 2000.0)
    eta: Range = (-2.0, 2.0)
    phi: Range = (-math.pi, math.pi)
    num: int = 1000

    @classmethod
    def parse(cls, text: str) -> Gun:
        """Read a gun from words ``key=value`` or ``key=low:high``.

        Args:
            text: such as ``flavour=u,g pt=20:2000 eta=-2:2 phi=-3.14:3.14 num=1000``; flavours are names or PDG
                ids, pT in GeV; a single value (``pt=100``) fixes it; what is not given has its default.

        Raises:
            FastsimError: naming the word that is wrong and what is allowed.
        """
        values: dict[str, object] = {}
        for word in text.split():
            key, equals, value = word.partition("=")
            name = "flavours" if key in ("flavour", "flavours", "flavor") else key
            if not equals or name not in ("flavours", "pt", "eta", "phi", "num"):
                raise FastsimError(f"gun: {word!r} is not understood; write for example {_KEYS!r}")
            if name in values:
                raise FastsimError(f"gun: {word!r} gives {key} a second time")
            if name == "flavours":
                values[name] = _flavours(value)
            elif name == "num":
                values[name] = _count(word, value)
            else:
                values[name] = _range(word, value, name)
        return cls(**values)  # type: ignore[arg-type]

    def partons(self, rng: np.random.Generator, num: int | None = None) -> Partons:
        """Draw ``num`` partons with randomness from ``rng``; by default as many as :attr:`num`."""
        size = self.num if num is None else num
        flavour = rng.choice(np.array(self.flavours, dtype=np.int64), size)
        pt = np.exp(rng.uniform(math.log(self.pt[0]), math.log(self.pt[1]), size))
        eta, phi = rng.uniform(*self.eta, size), rng.uniform(*self.phi, size)
        return Partons.from_pt_eta_phi(flavour, np.clip(pt, *self.pt), eta, phi)

    def __str__(self) -> str:
        """Return the text that :meth:`parse` reads back as the same gun."""
        ranges = " ".join(f"{k}={low!r}:{high!r}" for k, (low, high) in self._ranges.items())
        return f"flavour={','.join(map(str, self.flavours))} {ranges} num={self.num}"

    @property
    def _ranges(self) -> dict[str, Range]:
        return {"pt": self.pt, "eta": self.eta, "phi": self.phi}


def _flavours(value: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(parse_flavour(name) for name in value.split(",")))
    except ValueError as error:
        raise FastsimError(f"gun: flavour={value}: {error}") from error


def _count(word: str, value: str) -> int:
    try:
        num = int(float(value)) if float(value) == int(float(value)) else 0
    except (ValueError, OverflowError):
        num = 0
    if num < 1:
        raise FastsimError(f"gun: {word!r}: the number of partons must be a positive integer")
    return num


def _range(word: str, value: str, name: str) -> Range:
    limits = {"pt": (1e-3, 1e5), "eta": (-10.0, 10.0), "phi": (-2 * math.pi, 2 * math.pi)}[name]
    unit = {"pt": " GeV", "eta": "", "phi": " rad"}[name]
    try:
        numbers = [float(number) for number in value.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 2
    allowed = f"give low:high or one value within {limits[0]:.4g}:{limits[1]:.4g}{unit}"
    if len(numbers) != 2 or not limits[0] <= numbers[0] <= numbers[1] <= limits[1]:
        raise FastsimError(f"gun: {word!r} is not a range; {allowed}")
    return numbers[0], numbers[1]
