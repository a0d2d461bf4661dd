"""Levels in blocks of four inputs: what the kernels of sparse_int8 multiply, without the blocks of zeros.

A weight (rows, inputs, ...) is cut into blocks of four neighbouring inputs at one place of the kernel, of one
row or of four neighbouring ones that share a pattern; where inputs, or rows, do not fill a block, zeros do.
Four parts:

- `.levels`: (kept, rows of a block, 4) int8, block row by block row, blocks ascending by (inputs, place);
- `.counts`: (block rows,) uint32, how many blocks each keeps;
- `.gaps`: (n,) uint8, how many blocks were left out before each kept one, coded as in formats/sparse.py;
- `.scales`: (rows,) float32, as in formats/integer.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import PackingError
from wieldy.formats.integer import IntegerFormat
from wieldy.formats.sparse import (
    check_inside,
    columns_from,
    decode_gaps,
    encode_gaps,
    gaps_between,
    pattern_rules,
)

INPUTS = 4  # of a block: what one instruction multiplies


@dataclass(frozen=True)
class LevelBlockFormat(IntegerFormat):
    """Levels of so many bits in blocks of `rows` x 4."""

    rows: int = 1
    suffixes: ClassVar[tuple[str, ...]] = (".levels", ".counts", ".gaps", ".scales")

    def encode(self, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the parts to store.

        Raises:
            SchemaError: the array does not lie on the grid.
        """
        dense = super().encode(array)
        blocks = _blocks(dense[".levels"], self.rows)
        row, column = np.nonzero(blocks.any(axis=(2, 3)))
        counts = np.bincount(row, minlength=len(blocks))
        starts = np.concatenate([[0], np.cumsum(counts)])
        return {
            ".levels": np.ascontiguousarray(blocks[row, column]),
            ".counts": counts.astype(np.uint32),
            ".gaps": encode_gaps(gaps_between(column, starts)),
            ".scales": dense[".scales"],
        }

    def decode(self, parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the array from its parts.

        Raises:
            SchemaError: the parts break the contract.
        """
        if len(shape) < 2:
            raise PackingError(f"{self._name}: a tensor must have rows and inputs; got {shape}.")
        levels, counts, gaps = (parts[suffix] for suffix in self.suffixes[:3])
        height, width = -(-shape[0] // self.rows), -(-shape[1] // INPUTS) * prod(shape[2:])
        self._check(levels, counts, gaps, height)
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        columns = columns_from(decode_gaps(gaps), starts)
        check_inside(f"{self._name}: a block", columns, width)
        blocks = np.zeros((height, width, self.rows, INPUTS), np.int8)
        blocks[np.repeat(np.arange(height), np.diff(starts)), columns] = levels
        return super().decode({".levels": self._joined(blocks, shape), ".scales": parts[".scales"]}, shape)

    def byte_count(self, array: NDArray[Any]) -> int:
        """Return the exact bytes of what `encode` yields.

        Example:
            >>> weight = np.zeros((4, 8), np.float32)
            >>> weight[1, 5] = 127.0
            >>> LevelBlockFormat(8, 1).byte_count(weight), LevelBlockFormat(8, 4).byte_count(weight)
            (37, 37)
        """
        return sum(part.nbytes for part in self.encode(array).values())

    @property
    def _name(self) -> str:
        return f"int{self.bits}_{self.rows}x{INPUTS}"

    def _check(self, levels: NDArray[Any], counts: NDArray[Any], gaps: NDArray[Any], height: int) -> None:
        kept = len(levels) if levels.ndim else 0
        rules = {
            f"levels must be int8 (kept, {self.rows}, {INPUTS}), each block with one that is not zero": (
                levels.dtype == np.int8
                and levels.shape == (kept, self.rows, INPUTS)
                and bool(levels.any(axis=(1, 2)).all())
            ),
        } | pattern_rules(counts, gaps, height, kept, "block")
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise PackingError(
                f"{self._name}: {broken[0]}; got levels {levels.dtype} {levels.shape}, counts {counts.dtype} "
                f"{counts.shape}, gaps {gaps.dtype} {gaps.shape}."
            )

    def _joined(self, blocks: NDArray[np.int8], shape: tuple[int, ...]) -> NDArray[np.int8]:
        """Return the levels of a tensor from all its blocks; refuses what fills up and is not zero."""
        inputs, places = -(-shape[1] // INPUTS), prod(shape[2:])
        whole = blocks.reshape(len(blocks), inputs, places, self.rows, INPUTS).transpose(0, 3, 1, 4, 2)
        whole = whole.reshape(len(blocks) * self.rows, inputs * INPUTS, places)
        if whole[shape[0] :].any() or whole[:, shape[1] :].any():
            raise PackingError(
                f"{self._name}: levels that fill up the last block must be zero; some are not."
            )
        return np.ascontiguousarray(whole[: shape[0], : shape[1]].reshape(shape))


def _blocks(levels: NDArray[np.int8], rows: int) -> NDArray[np.int8]:
    """Return (block rows, blocks, rows, 4) of levels (rows, inputs, ...)."""
    height, inputs = levels.shape[:2]
    flat = levels.reshape(height, inputs, -1)
    padded = np.pad(flat, ((0, -height % rows), (0, -inputs % INPUTS), (0, 0)))
    cut = padded.reshape(-1, rows, padded.shape[1] // INPUTS, INPUTS, flat.shape[2])
    turned = cut.transpose(0, 2, 4, 1, 3)
    return turned.reshape(len(turned), -1, rows, INPUTS)
