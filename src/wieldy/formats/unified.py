"""Blocks of numbers that share one magnitude: a sign for each number, one float for all of them.

A tensor (rows, ...) is read as a matrix (rows, columns) and cut into blocks from its top left corner, one
row of blocks after the other; what the blocks' shape leaves over at the right and at the bottom is the rest.
A block is free, unified (all magnitudes have the same bits, and are not zero) or pruned (all are zero): its
numbers say which, so nothing but the tensor is needed to store it. Four parts are stored:

- `.kinds`: (ceil(blocks / 4),) uint8, two bits a block from the lowest on: 0 free, 1 unified, 2 pruned;
- `.magnitudes`: (unified,) float32, positive;
- `.signs`: (ceil(unified x size / 8),) uint8, one bit a number from the lowest on: 1 where it is negative;
- `.values`: (n,) float32, the free blocks' numbers, then the rest at the right, then that at the bottom.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import OversizeError, PackingError
from wieldy.kernels.check import LARGEST

FREE, UNIFIED, PRUNED = 0, 1, 2
KIND_BITS = 2
Array = NDArray[np.float32]


@dataclass(frozen=True)
class UnifiedFormat:
    """Blocks of `rows` x `columns` numbers, at least two. What comes back is equal; zeros lose their sign."""

    rows: int
    columns: int

    suffixes = (".kinds", ".magnitudes", ".signs", ".values")
    dtypes = ("float32",)

    @property
    def size(self) -> int:
        """Numbers in a block."""
        return self.rows * self.columns

    def holds(self, array: NDArray[Any]) -> bool:
        """Whether storing loses nothing: it holds any float32."""
        return array.dtype == np.float32

    def kinds(self, array: Array) -> NDArray[np.uint8]:
        """Return (blocks,) the kind of each block.

        Example:
            >>> UnifiedFormat(1, 2).kinds(np.array([[1, -1, 0, 0, 2, 3]], np.float32)).tolist()
            [1, 2, 0]
        """
        return _kinds(self._blocks(_matrix(array)))

    def encode(self, array: Array) -> dict[str, NDArray[Any]]:
        """Return the parts to store."""
        matrix = _matrix(array)
        blocks = self._blocks(matrix)
        kinds = _kinds(blocks)
        unified, free = blocks[kinds == UNIFIED], blocks[kinds == FREE]
        return {
            ".kinds": _packed(np.stack([kinds & 1, kinds >> 1], axis=1)),
            ".magnitudes": np.abs(unified[:, 0]),
            ".signs": _packed(unified < 0),
            ".values": np.concatenate([part.ravel() for part in (free, *self._rest(matrix))]),
        }

    def decode(self, parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Array:
        """Return the tensor from its parts.

        Raises:
            SchemaError: the parts contradict each other or `shape`, or `encode` would not yield them.
        """
        height, width = (shape[0] if shape else 1), prod(shape[1:])
        if height * width > LARGEST:
            raise OversizeError(
                f"unified: a tensor may have {LARGEST:,} elements; {shape} has {height * width:,}."
            )
        down, across = height // self.rows, width // self.columns
        kinds = _checked_kinds(parts[".kinds"], down * across)
        negative = self._checked(parts, kinds, height * width - down * across * self.size)
        free, rest = np.split(parts[".values"], [int((kinds == FREE).sum()) * self.size])
        blocks = np.zeros((down * across, self.size), np.float32)
        magnitudes = parts[".magnitudes"][:, None]
        blocks[kinds == UNIFIED] = np.where(negative, -magnitudes, magnitudes)
        blocks[kinds == FREE] = free.reshape(-1, self.size)
        if not np.array_equal(_kinds(blocks), kinds):
            raise PackingError("unified: a free block must differ in its magnitudes; one does not.")
        return self._joined(blocks, rest, height, width).reshape(shape)

    def byte_count(self, array: Array) -> int:
        """Return the exact bytes of what `encode` yields.

        Example:
            >>> array = np.array([[1, -1, 0, 0, 2, 3, 9]], np.float32)  # the last number is left over
            >>> UnifiedFormat(1, 2).byte_count(array) == 1 + 4 + 1 + 4 * (2 + 1)
            True
        """
        kinds = self.kinds(array)
        unified, free = (int((kinds == kind).sum()) for kind in (UNIFIED, FREE))
        rest = array.size - kinds.size * self.size
        kind_bytes, sign_bytes = _bytes(KIND_BITS * kinds.size), _bytes(unified * self.size)
        return kind_bytes + 4 * unified + sign_bytes + 4 * (free * self.size + rest)

    def _blocks(self, matrix: Array) -> Array:
        """Map (rows, columns) to (blocks, size)."""
        down, across = matrix.shape[0] // self.rows, matrix.shape[1] // self.columns
        inner = matrix[: down * self.rows, : across * self.columns]
        cut = inner.reshape(down, self.rows, across, self.columns).swapaxes(1, 2)
        return cut.reshape(down * across, self.size)

    def _rest(self, matrix: Array) -> tuple[Array, Array]:
        """Return views of what no block covers, at the right and at the bottom."""
        bottom = matrix.shape[0] // self.rows * self.rows
        right = matrix.shape[1] // self.columns * self.columns
        return matrix[:bottom, right:], matrix[bottom:]

    def _joined(self, blocks: Array, rest: Array, height: int, width: int) -> Array:
        """Return the matrix from its blocks and the rest."""
        down, across = height // self.rows, width // self.columns
        matrix = np.empty((height, width), np.float32)
        inner = blocks.reshape(down, across, self.rows, self.columns).swapaxes(1, 2)
        matrix[: down * self.rows, : across * self.columns] = inner.reshape(
            down * self.rows, across * self.columns
        )
        right, bottom = self._rest(matrix)
        right[...] = rest[: right.size].reshape(right.shape)
        bottom[...] = rest[right.size :].reshape(bottom.shape)
        return matrix

    def _checked(
        self, parts: Mapping[str, NDArray[Any]], kinds: NDArray[np.uint8], rest: int
    ) -> NDArray[np.bool_]:
        """Refuse parts of the wrong kind or number; return which numbers of unified blocks are negative."""
        unified, free = (int((kinds == kind).sum()) for kind in (UNIFIED, FREE))
        wanted: dict[str, tuple[Any, int]] = {
            ".magnitudes": (np.float32, unified),
            ".signs": (np.uint8, _bytes(unified * self.size)),
            ".values": (np.float32, free * self.size + rest),
        }
        for suffix, (dtype, length) in wanted.items():
            _check_part(suffix, parts[suffix], dtype, length)
        magnitudes = parts[".magnitudes"]
        if not (np.isfinite(magnitudes).all() and (magnitudes > 0).all()):
            raise PackingError("unified: .magnitudes must be positive and finite.")
        return _unpacked(".signs", parts[".signs"], unified * self.size).reshape(unified, self.size)


def _matrix(array: Array) -> Array:
    rows = array.shape[0] if array.ndim else 1
    return array.reshape(rows, prod(array.shape[1:]))


def _kinds(blocks: Array) -> NDArray[np.uint8]:
    magnitudes = np.abs(blocks)
    equal = (magnitudes == magnitudes[:, :1]).all(axis=1)
    found = np.where(equal, np.where(magnitudes[:, 0] == 0, PRUNED, UNIFIED), FREE)
    return found.astype(np.uint8)


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _packed(bits: NDArray[Any]) -> NDArray[np.uint8]:
    return np.packbits(bits.ravel(), bitorder="little")


def _unpacked(suffix: str, part: NDArray[np.uint8], count: int) -> NDArray[np.bool_]:
    """Return so many bits of a part whose length was checked; those that fill up its last byte must be 0."""
    bits = np.unpackbits(part, bitorder="little").astype(bool)
    if bits[count:].any():
        raise PackingError(f"unified: bits that fill up the last byte of {suffix} must be 0; some are not.")
    return bits[:count]


def _checked_kinds(part: NDArray[Any], count: int) -> NDArray[np.uint8]:
    """Return the kinds of so many blocks from their part."""
    _check_part(".kinds", part, np.uint8, _bytes(KIND_BITS * count))
    bits = _unpacked(".kinds", part, KIND_BITS * count).reshape(count, KIND_BITS)
    kinds = (bits[:, 0] + 2 * bits[:, 1]).astype(np.uint8)
    if (kinds > PRUNED).any():
        raise PackingError(f"unified: a kind must be {FREE}, {UNIFIED} or {PRUNED}; got {kinds.max()}.")
    return kinds


def _check_part(suffix: str, part: NDArray[Any], dtype: Any, length: int) -> None:
    if part.dtype != dtype or part.shape != (length,):
        raise PackingError(
            f"unified: {suffix} must be {np.dtype(dtype).name} ({length},); got {part.dtype} {part.shape}."
        )
