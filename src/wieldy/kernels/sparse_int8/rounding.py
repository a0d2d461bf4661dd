"""From a sum to a level: the four ways in which libraries round, each bit for bit.

A sum (int32) times a positive multiplier M, rounded to a whole number:

- `gemmlowp`: M as M0 2^s with M0 of 31 bits; a high product that rounds halves up, then a shift that rounds
  halves away from zero (Jacob et al., "Quantization and Training of Neural Networks for Efficient
  Integer-Arithmetic-Only Inference", CVPR 2018, section 2.2; gemmlowp's fixedpoint.h).
- `ruy`: the same product, then a shift that rounds halves up.
- `single_away`: one product in float64, halves away from zero.
- `single_even`: one product in float32, halves to even: what vector units do, and our kernels with them.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Model = Literal["gemmlowp", "ruy", "single_away", "single_even"]
Sums = NDArray[np.int64]
BITS = 31


def fixed_point(multiplier: float) -> tuple[int, int]:
    """Return M0 and s with multiplier = M0 2^(s - 31), 2^30 <= M0 < 2^31; zeros where it is below 2^-32.

    Example:
        >>> fixed_point(0.5), fixed_point(0.75)
        ((1073741824, 0), (1610612736, 0))
    """
    mantissa, shift = np.frexp(np.float64(multiplier))
    whole = int(np.floor(mantissa * 2.0**BITS + 0.5))
    if whole == 2**BITS:
        whole, shift = whole // 2, shift + 1
    return (0, 0) if shift < -BITS else (whole, int(shift))


def _high_product(a: Sums, whole: int) -> Sums:
    """Return round(a * whole / 2^31), halves up: 64 bits, then a division that truncates."""
    product = a * whole
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    total = product + nudge
    found: Sums = np.where(total >= 0, total >> BITS, -(-total >> BITS))
    return found


def _fixed(sums: Sums, multiplier: float) -> tuple[Sums, int]:
    whole, shift = fixed_point(multiplier)
    return _high_product(sums << max(shift, 0), whole), max(-shift, 0)


def gemmlowp(sums: Sums, multiplier: float) -> Sums:
    """Return the rounded products; a tie of the shift goes away from zero."""
    high, right = _fixed(sums, multiplier)
    mask = (1 << right) - 1
    rest, threshold = high & mask, (mask >> 1) + (high < 0)
    found: Sums = (high >> right) + (rest > threshold)
    return found


def ruy(sums: Sums, multiplier: float) -> Sums:
    """Return the rounded products; a tie of the shift goes up."""
    high, right = _fixed(sums, multiplier)
    found: Sums = (high + (1 << right >> 1)) >> right
    return found


def single_away(sums: Sums, multiplier: float) -> Sums:
    """Return the products rounded once, in float64; a tie goes away from zero."""
    product = sums * np.float64(multiplier)
    found: Sums = (np.sign(product) * np.floor(np.abs(product) + 0.5)).astype(np.int64)
    return found


def single_even(sums: Sums, multiplier: float) -> Sums:
    """Return the products rounded in float32 and then to a whole number; a tie goes to the even one."""
    found: Sums = np.rint(sums.astype(np.float32) * np.float32(multiplier)).astype(np.int64)
    return found


MODELS: dict[Model, Callable[[Sums, float], Sums]] = {
    "gemmlowp": gemmlowp,
    "ruy": ruy,
    "single_away": single_away,
    "single_even": single_even,
}
