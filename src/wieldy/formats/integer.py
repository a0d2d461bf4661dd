"""Whole numbers with one scale for each output channel: a weight (rows, ...) as int8 levels times scales.

Two parts:
- `.levels`: int8 of the tensor's shape, from -L to L, L = 127 for 8 bits and 63 for 7 (levels are symmetric,
  so that zero is zero);
- `.scales`: (rows,) float32, positive, of at most 16 significant bits, so that level times scale is exact in
  float32. The largest level of a row is L, unless the row is zero (then its scale is 1): so scales follow
  from the numbers alone, and storing what was read gives the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import PackingError

SCALE_BITS = 16


def rounded_scales(scales: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return scales with 16 significant bits, none of them smaller than before.

    Example:
        >>> float(rounded_scales(np.array([1.0 + 2**-20]))[0]) == 1.0 + 2**-15
        True
    """
    mantissa, exponent = np.frexp(np.asarray(scales, np.float64))
    fine = np.ceil(mantissa * 2**SCALE_BITS) / 2**SCALE_BITS
    return np.asarray(np.ldexp(fine, exponent), np.float32)


@dataclass(frozen=True)
class IntegerFormat:
    """Levels of so many bits. `encode` is exact where `holds` says so, and refuses otherwise."""

    bits: int
    suffixes: ClassVar[tuple[str, ...]] = (".levels", ".scales")
    dtypes = ("float32",)

    @property
    def largest(self) -> int:
        """The largest level."""
        return int(2 ** (self.bits - 1) - 1)

    def scales(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Return the scale of each row of an array that lies on such a grid."""
        top = np.abs(array.reshape(len(array), -1)).max(axis=1, initial=0.0).astype(np.float64)
        return np.where(top > 0, top / self.largest, 1.0).astype(np.float32)

    def levels(self, array: NDArray[Any]) -> NDArray[np.int8]:
        """Return the level of each number."""
        found = np.rint(array.astype(np.float64) / _by_row(self.scales(array), array.ndim))
        return np.asarray(found, np.int8)

    def holds(self, array: NDArray[Any]) -> bool:
        """Whether the array lies on such a grid, so that nothing is lost."""
        if array.ndim < 2 or array.dtype != np.float32:
            return False
        scales = self.scales(array)
        fine = np.array_equal(rounded_scales(scales), scales)
        return fine and np.array_equal(_product(self.levels(array), scales), array)

    def encode(self, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the parts to store.

        Raises:
            SchemaError: the array does not lie on the grid.
        """
        if not self.holds(array):
            raise PackingError(
                f"int{self.bits}: must be levels up to {self.largest} times one scale a row; these numbers "
                "are not. Quantize the network first, or store it dense."
            )
        return {".levels": self.levels(array), ".scales": self.scales(array)}

    def decode(self, parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the array from its parts.

        Raises:
            SchemaError: the parts break the contract.
        """
        levels, scales, name = parts[".levels"], parts[".scales"], f"int{self.bits}"
        if levels.dtype != np.int8 or levels.shape != shape or len(shape) < 2:
            raise PackingError(f"{name}: .levels must be int8 {shape}; got {levels.dtype} {levels.shape}.")
        if scales.dtype != np.float32 or scales.shape != shape[:1]:
            raise PackingError(f"{name}: .scales must be float32 {shape[:1]}; got {scales.shape}.")
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise PackingError(f"{name}: .scales must be positive and finite.")
        array = _product(levels, scales)
        if (
            not np.isfinite(array).all()
            or not self.holds(array)
            or not np.array_equal(self.scales(array), scales)
        ):
            raise PackingError(
                f"{name}: each row's largest level must be {self.largest}, and its scale of at most "
                f"{SCALE_BITS} significant bits."
            )
        return array

    def byte_count(self, array: NDArray[Any]) -> int:
        """Return the exact bytes of what `encode` yields.

        Example:
            >>> IntegerFormat(8).byte_count(np.zeros((2, 3), np.float32))
            14
        """
        return array.size + 4 * len(array)


def _by_row(scales: NDArray[np.float32], axes: int) -> NDArray[np.float64]:
    return scales.astype(np.float64).reshape(-1, *(1,) * (axes - 1))


def _product(levels: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # of a hostile scale; what overflows is refused
        return (levels.astype(np.float32) * scales.reshape(-1, *(1,) * (levels.ndim - 1))).astype(np.float32)
