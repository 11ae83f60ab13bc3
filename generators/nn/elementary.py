"""Exponentials and logarithms of float32 numbers without a branch: loops over them run in parallel lanes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastsim.compiled import compiled_sums_inside

_ONE, _ROUND, _BIAS, _LOG2E = np.float32(1), np.float32(127.5), np.int32(127), np.float32(1.4426950408889634)
"""The exponent of a float32 is stored with 127 added; exp(x) = 2^(x log2(e))."""
_LEAST = np.float32(-80)
"""Least argument of the exponential; lower ones count as that."""
# 2^f - 1 = f (c0 + f (c1 + ...)), |f| <= 1/2, with the coefficients ln(2)^n / n!: accurate to a few roundings
_C0, _C1, _C2 = np.float32(0.6931471805599453), np.float32(0.2402265069591007), np.float32(0.05550410866482158)
_C3, _C4, _C5 = np.float32(0.009618129107628477), np.float32(0.0013333558146428443), np.float32(0.00015403530393381608)
_LN2, _ROOT_HALF = np.float32(0.6931471805599453), np.int32(0x3F3504F3)
"""log(2), and the bits of sqrt(1/2)."""
_FRACTION, _EXPONENT = np.int32(0x7FFFFF), np.int32(23)
# log((1 + s) / (1 - s)) = 2 s (1 + s^2 (d1 + s^2 (d2 + ...))), |s| < 0.172, with the coefficients 1 / (2n + 1)
_D1, _D2, _D3, _D4 = np.float32(1 / 3), np.float32(1 / 5), np.float32(1 / 7), np.float32(1 / 9)


@intrinsic  # type: ignore[untyped-decorator]
def float_of(typing_context: Any, bits: Any) -> Any:
    """Return the float32 number that 32 bits, an int32, stand for."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def bits_of(typing_context: Any, number: Any) -> Any:
    """Return the 32 bits, an int32, of a float32 number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


@compiled_sums_inside
def exponential(x: Any) -> Any:
    """Return exp(x) of a float32 number below 88, at least exp(-80)."""
    t = max(x, _LEAST) * _LOG2E
    # whole numbers: of floats the order of sums is the compiler's
    whole = np.int32(np.int32(t + _ROUND) - _BIAS)
    f, power = t - np.float32(whole), float_of(np.int32((whole + _BIAS) << _EXPONENT))
    return power + power * f * (_C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * _C5)))))


@compiled_sums_inside
def logarithm(x: Any) -> Any:
    """Return log(x) of a normal positive float32 number: of 2^k m, sqrt(1/2) <= m < sqrt(2), k log(2) + log(m)."""
    bits = np.int32(bits_of(x) - _ROOT_HALF)
    whole = np.int32(bits >> _EXPONENT)
    m = float_of(np.int32((bits & _FRACTION) + _ROOT_HALF))
    s = (m - _ONE) / (m + _ONE)
    y = s * s
    of_m = (s + s) * (_ONE + y * (_D1 + y * (_D2 + y * (_D3 + y * _D4))))
    return np.float32(whole) * _LN2 + of_m
