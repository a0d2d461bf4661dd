"""Weights of levels as the entries of products: four input channels at one tap, a word."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wieldy.kernels.region.ops import LevelConv, Size

BYTES = 4  # channels of a word


def words(size: Size) -> Size:
    """Return the size of a value whose channels lie four in a word."""
    return Size(-(-size.channels // BYTES), size.height, size.width)


def word_of(level: int) -> int:
    """Return four equal levels as an int32.

    Example:
        >>> word_of(1), word_of(255)
        (16843009, -1)
    """
    return int(np.full(BYTES, level, np.uint8).view(np.int32)[0])


@dataclass(frozen=True)
class LevelEntries:
    """The blocks of a weight that are not all zeros, row after row.

    Attributes:
        starts: (rows + 1,) int32: where each row's begin. A row is a channel, or four that share a pattern.
        rows, words, taps: (entries,) int32: of each entry its row, the word of input channels, and the tap.
        entries: (entries, 1 or 4) int32: four signed bytes, for each channel of the row.
    """

    starts: NDArray[np.int32]
    rows: NDArray[np.int32]
    words: NDArray[np.int32]
    taps: NDArray[np.int32]
    entries: NDArray[np.int32]


def entries_of(op: LevelConv) -> LevelEntries:
    """Return the entries of a convolution, rows up to a multiple of four.

    Example:
        >>> weight = np.zeros((4, 8, 1, 1), np.int8)
        >>> weight[1, 5] = 3
        >>> own = LevelConv("x", "y", weight, np.zeros(4, np.int32), np.ones(4, np.float32))
        >>> found = entries_of(own)
        >>> found.starts.tolist(), found.words.tolist(), found.entries.view(np.int8).tolist()
        ([0, 0, 1, 1, 1], [1], [[0, 3, 0, 0]])
    """
    tall, taps = BYTES if op.shared else 1, op.kernel[0] * op.kernel[1]
    channels, inputs = op.weight.shape[:2]
    channel, place = np.divmod(np.flatnonzero(op.weight), inputs * taps)
    own, tap = np.divmod(place, taps)
    read = own + channel // (channels // op.groups) * inputs
    across = -(-inputs * op.groups // BYTES)
    keys = (channel // tall * across + read // BYTES) * taps + tap
    kept, where = np.unique(keys, return_inverse=True)
    entries = np.zeros((len(kept), tall, BYTES), np.int8)
    entries[where, channel % tall, read % BYTES] = op.weight.ravel()[np.flatnonzero(op.weight)]
    row, place = np.divmod(kept, across * taps)
    word, tap = np.divmod(place, taps)
    rows = -(-channels // BYTES) * BYTES // tall
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
    starts, row, word, tap = (part.astype(np.int32) for part in (starts, row, word, tap))
    return LevelEntries(starts, row, word, tap, entries.view(np.int32)[:, :, 0])
