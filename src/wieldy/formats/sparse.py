"""Zeros left out: what remains, and the gaps between.

A tensor (rows, ...) is read as a matrix (rows, columns). `block` neighbouring rows share one pattern: a
column is kept for all of them or for none. With a block of 1 this is compressed sparse rows; a last block
that is not full is filled up with zeros. Three parts are stored:

- `.values`: (kept, block) float32 or float16, block row by block row, columns ascending;
- `.counts`: (block rows,) uint32, how many columns each block row keeps;
- `.gaps`: (n,) uint8, for each kept column how many columns were left out since the one before it, or since
  the row's start: a byte of 255 stands for 255 more and goes on, any other ends the number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import OutsideError, OversizeError, PackingError
from wieldy.kernels.check import LARGEST

GOES_ON = 255


@dataclass(frozen=True)
class BlockRows:
    """A matrix by block rows, as kernels read it.

    Attributes:
        shape: rows and columns.
        block: rows that share a pattern.
        starts: (block rows + 1,) int32; block row i keeps `columns[starts[i]:starts[i + 1]]`, ascending.
        columns: (kept,) int32.
        values: (kept, block) float32.
    """

    shape: tuple[int, int]
    block: int
    starts: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]

    @property
    def density(self) -> float:
        """Stored values over all elements; values that fill up a block count."""
        return self.values.size / max(1, prod(self.shape))


def block_rows(array: NDArray[np.float32], block: int = 1) -> BlockRows:
    """Return the block rows of (rows, ...), leaving out columns that are zero in all rows of a block.

    Raises:
        SchemaError: more than 2^31 - 1 elements.

    Example:
        >>> rows = block_rows(np.array([[0, 2, 0], [0, 3, 1]], np.float32), block=2)
        >>> rows.columns.tolist(), rows.values.tolist()
        ([1, 2], [[2.0, 3.0], [0.0, 1.0]])
    """
    if array.size > LARGEST:
        raise OversizeError(f"sparse: a tensor may have {LARGEST:,} elements; got {array.size:,}.")
    rows = array.shape[0] if array.ndim else 1
    matrix = array.reshape(rows, prod(array.shape[1:]))
    height, width = -(-rows // block), matrix.shape[1]
    padded = np.zeros((height * block, width), np.float32)
    padded[:rows] = matrix
    blocks = padded.reshape(height, block, width)
    where, columns = np.nonzero(blocks.any(axis=1))
    counts = np.bincount(where, minlength=height)
    starts = np.concatenate([[0], np.cumsum(counts)])
    values = np.ascontiguousarray(blocks[where, :, columns])
    return BlockRows((rows, width), block, starts.astype(np.int32), columns.astype(np.int32), values)


def expand(rows: BlockRows) -> NDArray[np.float32]:
    """Return the matrix with its zeros.

    Example:
        >>> matrix = np.array([[0, 2], [3, 0], [0, 0]], np.float32)
        >>> bool((expand(block_rows(matrix, block=2)) == matrix).all())
        True
    """
    height = len(rows.starts) - 1
    blocks = np.zeros((height, rows.block, rows.shape[1]), np.float32)
    where = np.repeat(np.arange(height), np.diff(rows.starts))
    blocks[where, :, rows.columns] = rows.values
    return blocks.reshape(height * rows.block, rows.shape[1])[: rows.shape[0]]


@dataclass(frozen=True)
class SparseFormat:
    """A way to store block rows: how many rows share a pattern, and the dtype of a value."""

    block: int
    dtype: str = "float32"

    suffixes = (".values", ".counts", ".gaps")
    dtypes = ("float32",)

    def encode(self, array: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return the parts to store. Values are rounded to the dtype first; zeros lose their sign.

        Raises:
            SchemaError: a value is too large for float16.
        """
        rows = self._rounded(array)
        return {
            ".values": rows.values.astype(self.dtype),
            ".counts": np.diff(rows.starts).astype(np.uint32),
            ".gaps": encode_gaps(gaps_between(rows.columns, rows.starts)),
        }

    def holds(self, array: NDArray[np.float32]) -> bool:
        """Whether storing loses nothing: every value is one of the dtype.

        Example:
            >>> SparseFormat(1, "float16").holds(np.array([[0.1]], np.float32))
            False
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return bool((array.astype(self.dtype).astype(array.dtype) == array).all())

    def _rounded(self, array: NDArray[np.float32]) -> BlockRows:
        with np.errstate(over="ignore"):
            stored = array.astype(self.dtype)
        if not np.isfinite(stored).all():
            raise PackingError(
                f"sparse: {self.dtype} holds magnitudes up to {np.finfo(self.dtype).max:.0f}; "
                f"got {np.abs(array).max():.6g}. Store float32 values."
            )
        return block_rows(stored.astype(np.float32), self.block)

    def decode(self, parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the tensor from its parts.

        Raises:
            SchemaError: the parts contradict each other or `shape`.
        """
        return expand(self.rows(parts, shape)).reshape(shape)

    def rows(self, parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> BlockRows:
        """Return the block rows from their parts, checked; see `decode`."""
        height, width = (shape[0] if shape else 1), prod(shape[1:])
        if height * width > LARGEST:
            raise OversizeError(
                f"sparse: a tensor may have {LARGEST:,} elements; {shape} has {height * width:,}."
            )
        values, counts, gaps = (parts[suffix] for suffix in self.suffixes)
        _check_parts(self, values, counts, gaps, -(-height // self.block))
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        columns = columns_from(decode_gaps(gaps), starts)
        check_inside("sparse: a column", columns, width)
        if not values.any(axis=1).all():
            raise PackingError("sparse: a column that is kept must hold a value that is not zero.")
        last = height % self.block
        if last and np.any(values[starts[-2] :, last:]):
            raise PackingError("sparse: values that fill up the last block must be zero; some are not.")
        return BlockRows(
            (height, width), self.block, starts.astype(np.int32), columns.astype(np.int32),
            values.astype(np.float32),
        )  # fmt: skip

    def byte_count(self, array: NDArray[np.float32]) -> int:
        """Return the exact bytes of what `encode` yields."""
        rows = self._rounded(array)
        gaps = gaps_between(rows.columns, rows.starts)
        value_bytes = rows.values.size * np.dtype(self.dtype).itemsize
        return value_bytes + 4 * (len(rows.starts) - 1) + int((gaps // GOES_ON + 1).sum())


def encode_gaps(gaps: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return numbers of at least 0 as bytes: as many 255 as fit, then the rest.

    Example:
        >>> encode_gaps(np.array([3, 255, 600])).tolist()
        [3, 255, 0, 255, 255, 90]
    """
    lengths = gaps // GOES_ON + 1
    stream = np.full(int(lengths.sum()), GOES_ON, np.uint8)
    stream[np.cumsum(lengths) - 1] = gaps % GOES_ON
    return stream


def decode_gaps(stream: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the numbers that `encode_gaps` wrote; a number that the end cuts off is left out."""
    totals: NDArray[np.int64] = np.cumsum(stream, dtype=np.int64)[stream != GOES_ON]
    return np.diff(totals, prepend=0)


def gaps_between(columns: NDArray[np.integer[Any]], starts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return how many columns are left out before each one that is kept."""
    before = np.concatenate([[-1], columns[:-1]]).astype(np.int64)[: len(columns)]
    firsts = starts[:-1][np.diff(starts) > 0]
    before[firsts] = -1
    return columns - before - 1


def columns_from(gaps: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the columns from the gaps of all block rows."""
    places: NDArray[np.int64] = np.cumsum(gaps + 1)
    begins: NDArray[np.int64] = np.concatenate([[0], places])[starts[:-1]]
    return places - 1 - np.repeat(begins, np.diff(starts))


def check_inside(what: str, places: NDArray[np.int64], width: int) -> None:
    """Refuse places that do not exist."""
    if len(places) and places.max() >= width:
        raise OutsideError(f"{what} must be below {width}; got {places.max()}.")


def pattern_rules(
    counts: NDArray[Any], gaps: NDArray[Any], height: int, kept: int, what: str
) -> dict[str, bool]:
    """Return what counts and gaps must be, in words, and whether they are; `what` is kept."""
    sound_counts = counts.dtype == np.uint32 and counts.shape == (height,)
    sound_gaps = gaps.dtype == np.uint8 and gaps.ndim == 1 and (not len(gaps) or gaps[-1] != GOES_ON)
    return {
        f"counts must be uint32 ({height},) and add up to the kept {what}s": (
            sound_counts and int(counts.sum(dtype=np.int64)) == kept
        ),
        f"gaps must be uint8 (n,), one number for each kept {what}": (
            sound_gaps and int((gaps != GOES_ON).sum()) == kept
        ),
    }


def _check_parts(
    kind: SparseFormat, values: NDArray[Any], counts: NDArray[Any], gaps: NDArray[Any], height: int
) -> None:
    """Refuse parts of the wrong kind or number."""
    kept = len(values) if values.ndim else 0
    sound_values = values.dtype == kind.dtype and values.shape == (kept, kind.block)
    rules = {f"values must be {kind.dtype} (kept, {kind.block})": sound_values}
    rules |= pattern_rules(counts, gaps, height, kept, "column")
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise PackingError(
            f"sparse: {broken[0]}; got values {values.dtype} {values.shape}, counts {counts.dtype} "
            f"{counts.shape}, gaps {gaps.dtype} {gaps.shape}."
        )
