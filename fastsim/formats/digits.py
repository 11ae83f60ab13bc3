"""Numbers to decimal text, compiled: they are put into a buffer of bytes, one after the other.

Python formats about a million floats a second, and a whole collision has 3500. Here eight digits at a time are cut from
64-bit integers, and written as one word: some forty times faster. No branch depends on signs or lengths, which differ
from number to number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastsim.compiled import compiled_inside

Bytes = NDArray[np.uint8]

INTEGER_WIDTH, FLOAT_WIDTH = 20, 22
"""Bytes that an integer of 64 bits and a float of 16 digits take at most."""
TOO_LARGE = 1e99
"""Magnitudes from here on have exponents of three digits, and cannot be written."""
_SMALL = 1e-99
_ZERO = 130
_POWERS = np.array([float(f"1e{k}") for k in range(-_ZERO, _ZERO + 1)])
_EXPONENTS = np.clip(np.floor((np.arange(2048) - 1023) * math.log10(2.0)).astype(np.int64), -_ZERO, _ZERO - 1)
"""Decimal exponents, or one less, of floats by the eleven bits of their binary ones."""
_TENS = np.array([10**k for k in range(17)])
_MINUS, _PLUS, _DOT, _E, _NOUGHT = (ord(sign) for sign in "-+.e0")
# numba makes a product of a division of unsigned integers by a constant
_10, _100, _10_000, _100_000_000 = (np.uint64(10**k) for k in (1, 2, 4, 8))
_LARGER = tuple(np.uint64(10**k) for k in range(1, 8))
_HUNDREDTH, _TENTH = np.uint64(10486), np.uint64(103)  # of 2**20 and 2**10, exact for four and for two digits
_HUNDREDS, _UNITS = np.uint64(0x0000007F0000007F), np.uint64(0x000F000F000F000F)
_NOUGHTS = np.uint64(0x3030303030303030)
_8, _10_BITS, _16, _20, _32, _52 = (np.uint64(k) for k in (8, 10, 16, 20, 32, 52))


@intrinsic  # type: ignore[untyped-decorator]
def _bits(typing: Any, value: Any) -> Any:
    """Return the bits of a float as an unsigned integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.uint64))

    return types.uint64(types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _put_word(typing: Any, text: Any, at: Any, word: Any) -> Any:
    """Put the eight bytes of an unsigned integer into a text at a place."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = context.get_value_type(types.uint64).as_pointer()
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), pointer)
        builder.store(arguments[2], place, align=1)
        return context.get_dummy_value()

    return types.void(text, types.int64, types.uint64), generate


@compiled_inside
def put_integer(text: Bytes, at: int, value: int) -> int:
    """Put an integer in decimal into a text at a place, and return the place after it.

    Args:
        text: the buffer, with :data:`INTEGER_WIDTH` bytes of room.
        at: the place.
        value: the integer.
    """
    text[at] = _MINUS
    at += value < 0
    rest: Any = np.uint64(abs(value))
    if rest < _100_000_000:
        num = 1
        for power in _LARGER:
            num += 1 if rest >= power else 0
        _put_word(text, at, _eight(rest) >> np.uint64(8 * (8 - num)))
        return at + num
    end, left = at + 1, rest
    while left >= _10:
        left //= _10
        end += 1
    for place in range(end - 1, at - 1, -1):
        tenth = rest // _10
        text[place] = _NOUGHT + rest - _10 * tenth
        rest = tenth
    return end


@compiled_inside
def put_float(text: Bytes, at: int, value: float, num_digits: int) -> int:
    """Put a float as ``-1.234567890123456e+02`` into a text at a place, and return the place after it.

    With 16 significant digits the relative error is below 1e-15; magnitudes below 1e-99 are written as zero.

    Args:
        text: the buffer, with :data:`FLOAT_WIDTH` bytes of room.
        at: the place.
        value: of a magnitude below :data:`TOO_LARGE`.
        num_digits: significant digits, 2 to 16.
    """
    text[at] = _MINUS
    at += value < 0
    size = abs(value)
    exponent, mantissa = 0, 0
    if size >= _SMALL:
        exponent = _EXPONENTS[_bits(size) >> _52]
        exponent += size >= _POWERS[_ZERO + exponent + 1]
        mantissa = int(np.rint(size * _POWERS[_ZERO + num_digits - 1 - exponent]))
        if mantissa >= _TENS[num_digits]:  # the last digit was rounded across a power of ten
            exponent += 1
            mantissa = int(np.rint(size * _POWERS[_ZERO + num_digits - 1 - exponent]))
    digits: Any = np.uint64(mantissa * _TENS[16 - num_digits])
    high = digits // _100_000_000
    _put_word(text, at + 1, _eight(high))
    _put_word(text, at + 9, _eight(digits - _100_000_000 * high))
    text[at], text[at + 1] = text[at + 1], _DOT  # the point comes after the first digit
    at += num_digits + 1
    text[at] = _E
    text[at + 1] = _MINUS if exponent < 0 else _PLUS
    tens = abs(exponent) // 10
    text[at + 2], text[at + 3] = _NOUGHT + tens, _NOUGHT + abs(exponent) - 10 * tens
    return at + 4


@compiled_inside
def _eight(value: Any) -> Any:
    """Return the eight digits of an unsigned integer as text, the first in the lowest byte of a word."""
    high = value // _10_000
    fours = high | (value - _10_000 * high) << _32
    hundreds = ((fours * _HUNDREDTH) >> _20) & _HUNDREDS
    twos = hundreds | (fours - _100 * hundreds) << _16
    tens = ((twos * _TENTH) >> _10_BITS) & _UNITS
    return (tens | (twos - _10 * tens) << _8) | _NOUGHTS
