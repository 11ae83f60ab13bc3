"""Tunes: values of Pythia's parameters of showers and fragmentation that models of hadrons may be conditioned on.

A tune is written as the parameters that differ from the Monash tune, ``"aLund=0.5 alphaS=0.13"``. Networks see it as a
vector: zero for Monash, with a length of two from the lowest to the highest value of each parameter.

References:
    Skands, Carrazza, Rojo, Tuning PYTHIA 8.1: the Monash 2013 tune, 2014, arXiv:1404.5630 (the defaults).
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
    Sobol', On the distribution of points in a cube and the approximate evaluation of integrals, USSR Comput. Math.
    Math. Phys. 7, 86, 1967 (:func:`design`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from fastsim.errors import FastsimError, InvalidValue
from fastsim.event import Floats

MONASH = "Monash"
"""The text of the tune in which every parameter has its default."""
_ROUNDING = 1e-9
"""Share of a range by which a value may lie outside: rounding of a vector that was made from an end of it."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of tunes.

    Attributes:
        name: as users write it.
        key: of the setting in Pythia.
        default: in the Monash tune.
        low: lowest value of a tune.
        high: highest value of a tune.
        meaning: what it is, with its unit.
        quark: PDG id of the only quark whose hadron it acts on, 0 where it acts on all hadrons.
    """

    name: str
    key: str
    default: float
    low: float
    high: float
    meaning: str
    quark: int = 0

    @property
    def scale(self) -> float:
        """The change of the value that changes the entry of a vector by one: half of the range."""
        return 0.5 * (self.high - self.low)


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("aLund", "StringZ:aLund", 0.68, 0.30, 1.10, "a of the Lund fragmentation function"),
    Parameter("bLund", "StringZ:bLund", 0.98, 0.60, 1.40, "b of the Lund fragmentation function, in GeV^-2"),
    Parameter("sigma", "StringPT:sigma", 0.335, 0.27, 0.40, "width of the hadrons' pT across the string, in GeV"),
    Parameter("StoUD", "StringFlav:probStoUD", 0.217, 0.17, 0.265, "suppression of s quarks relative to u or d"),
    Parameter("QQtoQ", "StringFlav:probQQtoQ", 0.081, 0.06, 0.102, "suppression of diquarks relative to quarks"),
    Parameter("rFactC", "StringZ:rFactC", 1.32, 0.90, 1.75, "r of Bowler's modification for charm", 4),
    Parameter("rFactB", "StringZ:rFactB", 0.855, 0.60, 1.10, "r of Bowler's modification for beauty", 5),
    Parameter("alphaS", "TimeShower:alphaSvalue", 0.1365, 0.1265, 0.1465, "alpha_s(m_Z) of the final-state shower"),
    Parameter("pTmin", "TimeShower:pTmin", 0.5, 0.40, 0.80, "cut-off of the final-state shower, in GeV"),
)
"""All parameters of tunes. Pythia raises a pTmin below 1.1 Lambda of three flavours: 0.40 from alphaS = 0.140 on."""

NAMES: tuple[str, ...] = tuple(parameter.name for parameter in PARAMETERS)
"""Names of all parameters, in their order."""
_BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


def parameter(name: str) -> Parameter:
    """Return the parameter of a name.

    Raises:
        FastsimError: if there is none.
    """
    if name not in _BY_NAME:
        raise FastsimError(f"tune: no parameter {name!r}: there are {', '.join(NAMES)}")
    return _BY_NAME[name]


@dataclass(frozen=True)
class Tune:
    """A value for each parameter of :data:`PARAMETERS`; without arguments, the Monash tune.

    >>> tune = Tune.parse("aLund=0.5 alphaS=0.13")
    >>> tune.settings
    ('StringZ:aLund = 0.5', 'TimeShower:alphaSvalue = 0.13')
    >>> str(tune), str(Tune()), tune["bLund"]
    ('aLund=0.5 alphaS=0.13', 'Monash', 0.98)
    >>> Tune.of_vector(tune.vector()) == tune
    True

    Attributes:
        values: of all parameters, in their order.

    Raises:
        FastsimError: if a value is outside the range of its parameter, or there are not as many values as parameters.
    """

    values: tuple[float, ...] = tuple(parameter.default for parameter in PARAMETERS)

    def __post_init__(self) -> None:
        if len(self.values) != len(PARAMETERS):
            raise FastsimError(f"tune: {len(self.values)} values for {len(PARAMETERS)} parameters: {', '.join(NAMES)}")
        rounded = []
        for known, value in zip(PARAMETERS, self.values, strict=True):
            room = _ROUNDING * known.scale
            if not known.low - room <= value <= known.high + room:
                raise FastsimError(
                    f"tune: {known.name}={value:g} is outside {known.low:g} to {known.high:g}, the range of models of "
                    f"tunes (Monash: {known.default:g})"
                )
            rounded.append(min(max(float(value), known.low), known.high))
        object.__setattr__(self, "values", tuple(rounded))

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Self:
        """Return the tune with some values by the names of their parameters, and Monash's for the others.

        Raises:
            FastsimError: if there is no such parameter, or a value is outside its range.
        """
        for name in values:
            parameter(name)
        return cls(tuple(float(values.get(known.name, known.default)) for known in PARAMETERS))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the tune of a text such as ``"aLund=0.5 alphaS=0.13"``; ``"Monash"`` and none are the default.

        Raises:
            FastsimError: if a word is no ``NAME=NUMBER``, a parameter is unknown or given twice, or its value is
                outside the range.
        """
        words = [] if text.strip() == MONASH else text.replace(",", " ").split()
        values: dict[str, float] = {}
        for word in words:
            name, _, number = word.partition("=")
            known = parameter(name)
            if name in values:
                raise FastsimError(f"tune: {name} is given twice")
            try:
                values[name] = float(number)
            except ValueError:
                raise FastsimError(
                    f"tune: {word!r}: give {name}=NUMBER, with a number from {known.low:g} to {known.high:g}"
                ) from None
        return cls.of(values)

    @classmethod
    def of_vector(cls, vector: ArrayLike, names: Sequence[str] = NAMES) -> Self:
        """Return the tune of a vector: the inverse of :meth:`vector`.

        Args:
            vector: an entry for each of ``names``, (P,).
            names: of the parameters; the others are Monash's.

        Raises:
            FastsimError: if a value is outside its range.
            InvalidValue: if there are not as many entries as names.
        """
        entries = np.asarray(vector, dtype=np.float64)
        if entries.shape != (len(names),):
            raise InvalidValue(f"tune: a vector of shape {entries.shape} for {len(names)} parameters")
        known = [parameter(name) for name in names]
        # twelve digits: the vector of an end of a range gives that end
        return cls.of({p.name: float(f"{p.default + p.scale * x:.12g}") for p, x in zip(known, entries, strict=True)})

    def vector(self, names: Sequence[str] = NAMES) -> Floats:
        """Return what networks see of the tune, an entry for each of ``names``, (P,): see the module."""
        return np.array([(self[name] - parameter(name).default) / parameter(name).scale for name in names])

    def __getitem__(self, name: str) -> float:
        """Return the value of a parameter."""
        parameter(name)
        return self.values[NAMES.index(name)]

    @property
    def changed(self) -> dict[str, float]:
        """The values that differ from Monash's, by name."""
        pairs = zip(PARAMETERS, self.values, strict=True)
        return {p.name: value for p, value in pairs if not math.isclose(value, p.default, rel_tol=1e-9)}

    @property
    def settings(self) -> tuple[str, ...]:
        """The lines for Pythia that make it this tune; none for Monash."""
        return tuple(f"{parameter(name).key} = {value!r}" for name, value in self.changed.items())

    def __str__(self) -> str:
        return " ".join(f"{name}={value!r}" for name, value in self.changed.items()) or MONASH


def tune_of(tune: Tune | str | Mapping[str, float] | None) -> Tune:
    """Return the tune that a text, values by name, or None (Monash) stand for; a tune is returned as it is.

    Raises:
        FastsimError: if a parameter is unknown or its value outside the range.
    """
    if isinstance(tune, Tune):
        return tune
    if tune is None:
        return Tune()
    return Tune.parse(tune) if isinstance(tune, str) else Tune.of(tune)


def design(num: int, names: Iterable[str] = NAMES, *, seed: int) -> list[Tune]:
    """Return tunes that fill the ranges of some parameters evenly: the points of a scrambled Sobol' sequence.

    Args:
        num: number of tunes.
        names: of the parameters that vary; the others stay Monash's.
        seed: of the scrambling.
    """
    from scipy.stats import qmc

    known = [parameter(name) for name in names]
    points = qmc.Sobol(len(known), seed=seed).random_base2(max(num - 1, 1).bit_length())[:num]
    lows, highs = np.array([p.low for p in known]), np.array([p.high for p in known])
    rows = lows + (highs - lows) * points
    return [Tune.of({p.name: float(f"{x:.6g}") for p, x in zip(known, row, strict=True)}) for row in rows]
