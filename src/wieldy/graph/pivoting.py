"""Rows and columns sorted so that large scores gather in blocks: assignment, without torch.

Two templates. Diagonal: rows and columns are dealt into as many equal sets, and a score is kept where its row
and its column are in sets of the same number. Tiles: rows are dealt into sets of equal height, each set
shares one pattern of columns, and the columns of sets with the largest sums are kept.

Both are searched in turns. With the columns (or patterns) held, rows are dealt out anew by balanced linear
assignment; with the rows held, so are the columns, or the best patterns are taken. Each turn is optimal for
what it holds, so what is kept never falls; where it no longer rises, the search ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wieldy.core.optional import need

Scores = NDArray[np.float64]  # (rows, columns), not negative
Sets = NDArray[np.intp]  # for each row, or column, the number of its set
Sides = tuple[Sets, Sets]  # of rows, and of inputs
Search = Literal["greedy", "assignment"]
RISE = 1e-12  # relative; less is rounding


@dataclass(frozen=True)
class Blocks:
    """The diagonal template: which set each row and each column is in."""

    rows: Sets
    columns: Sets

    def mask(self) -> NDArray[np.bool_]:
        """Return (rows, columns): what is kept."""
        return np.asarray(self.rows[:, None] == self.columns[None])


def balanced(gains: Scores, sizes: Sequence[int]) -> Sets:
    """Deal rows into sets of at most `sizes`, so that the sum of `gains` (rows, sets) is largest.

    Cost: one linear assignment of rows to places, at worst cubic in the rows.

    Example:
        >>> balanced(np.array([[3.0, 0.0], [2.0, 0.0], [2.0, 1.0]]), [2, 1]).tolist()
        [0, 0, 1]
    """
    need("scipy.optimize", "compress", "matrix pivoting")
    from scipy.optimize import linear_sum_assignment

    owners = np.repeat(np.arange(len(sizes)), sizes)
    _, places = linear_sum_assignment(gains[:, owners], maximize=True)
    return np.asarray(owners[places], np.intp)


def even_sizes(count: int, sets: int) -> list[int]:
    """Return the sizes of so many sets; where they do not come out even, the first have one more.

    Example:
        >>> even_sizes(10, 4)
        [3, 3, 2, 2]
    """
    return [count // sets + (number < count % sets) for number in range(sets)]


def kept_by_blocks(scores: Scores, blocks: Blocks) -> float:
    """Return the sum of the scores that a diagonal template keeps."""
    return float(scores[blocks.mask()].sum())


def refine_blocks(scores: Scores, blocks: Blocks, count: int) -> Iterator[tuple[Blocks, float]]:
    """Yield the template with its sum after each turn, while the sum rises; the first is as given."""
    best = kept_by_blocks(scores, blocks)
    yield blocks, best
    turns, still = 0, 0
    while still < 2:  # both sides in vain
        if turns % 2 == 0:
            gains = scores @ np.eye(count)[blocks.columns]
            found = Blocks(balanced(gains, even_sizes(len(scores), count)), blocks.columns)
        else:
            gains = scores.T @ np.eye(count)[blocks.rows]
            found = Blocks(blocks.rows, balanced(gains, even_sizes(scores.shape[1], count)))
        turns, total = turns + 1, kept_by_blocks(scores, found)
        still = 0 if total > best * (1 + RISE) else still + 1
        if not still:
            blocks, best = found, total
            yield blocks, best


def greedy_blocks(scores: Scores, count: int, rng: np.random.Generator | None = None) -> Blocks:
    """Find blocks one after another: from the largest entry that is free, rows and columns in turns.

    Args:
        scores: with at least `count` rows and columns.
        count: of blocks.
        rng: draws the entries to begin with, the large ones more often, instead of taking the largest.
    """
    rows, columns = (np.full(size, count - 1, np.intp) for size in scores.shape)
    free_rows, free_columns = (np.arange(size) for size in scores.shape)
    sizes = zip(*(even_sizes(size, count) for size in scores.shape), strict=True)
    for block, (height, width) in enumerate(list(sizes)[:-1]):
        chosen = _dense_part(scores[np.ix_(free_rows, free_columns)], height, width, rng)
        rows[free_rows[chosen[0]]], columns[free_columns[chosen[1]]] = block, block
        free_rows, free_columns = np.delete(free_rows, chosen[0]), np.delete(free_columns, chosen[1])
    return Blocks(rows, columns)


def _dense_part(
    scores: Scores, height: int, width: int, rng: np.random.Generator | None
) -> tuple[Sets, Sets]:
    """Return the rows and columns of a part with a large sum, best rows and best columns in turns."""
    flat = scores.ravel()
    start = rng.choice(flat.size, p=flat / flat.sum()) if rng and flat.any() else flat.argmax()
    columns = np.array([int(start) % scores.shape[1]])
    best = -1.0
    while True:
        rows = _largest(scores[:, columns].sum(axis=1), height)
        columns = _largest(scores[rows].sum(axis=0), width)
        total = float(scores[np.ix_(rows, columns)].sum())
        if total <= best * (1 + RISE):
            return rows, columns
        best = total


def find_blocks(
    scores: Scores,
    count: int,
    *,
    search: Search,
    starts: int,
    random: np.random.Generator,
    begin: Blocks | None = None,
) -> Blocks:
    """Return the diagonal template that keeps most of several searches.

    Args:
        scores: how dear each entry is.
        count: of blocks.
        search: "greedy" ends with the greedy blocks; "assignment" refines them, and others.
        starts: how many searches: the first from `begin`, the next greedy, others from drawn entries.
        random: draws them.
        begin: a template to start from, such as the one found before.

    Cost: `starts` times some ten assignments of all rows and of all columns.
    """
    if search == "greedy":
        return greedy_blocks(scores, count)
    firsts = [] if begin is None else [begin]
    firsts.append(greedy_blocks(scores, count))
    firsts += [greedy_blocks(scores, count, random) for _ in range(starts - len(firsts))]
    ends = [list(refine_blocks(scores, first, count))[-1] for first in firsts[: max(1, starts)]]
    return max(ends, key=lambda end: end[1])[0]


def set_sizes(rows: int, height: int) -> list[int]:
    """Return the sizes of sets of rows: all of `height` but the last, which may have fewer.

    Example:
        >>> set_sizes(18, 8)
        [8, 8, 2]
    """
    return [min(height, rows - start) for start in range(0, rows, height)]


def neighbours(rows: int, height: int) -> Sets:
    """Return the sets of rows that stand side by side."""
    return np.arange(rows) // height


def set_sums(scores: Scores, sets: Sets) -> Scores:
    """Add up the rows of each set: (sets, columns).

    A set of fewer rows counts as if it were full: else few rows would lose nearly all of their columns.

    Example:
        >>> set_sums(np.array([[3.0, 0.0], [1.0, 2.0], [0.0, 1.5]]), np.array([0, 0, 1])).tolist()
        [[4.0, 2.0], [0.0, 3.0]]
    """
    sizes = np.bincount(sets)
    return np.asarray((np.eye(len(sizes))[sets].T @ scores) * (sizes.max() / sizes)[:, None])


def best_patterns(scores: Scores, sets: Sets, kept: int) -> NDArray[np.bool_]:
    """Return (sets, columns): the `kept` columns of sets with the largest sums; ties go by position.

    Example:
        >>> best_patterns(np.array([[3.0, 0.0], [1.0, 2.0], [0.0, 1.5]]), np.array([0, 0, 1]), 2).tolist()
        [[True, False], [False, True]]
    """
    sums = set_sums(scores, sets)
    found = np.zeros(sums.size, bool)
    found[np.argsort(-sums, axis=None, kind="stable")[:kept]] = True
    return found.reshape(sums.shape)


def seen_from(squares: Scores, sets: Sides, side: int) -> Scores:
    """Return (channels of one side, sets of the other side and places of the kernel): sums over those sets.

    Args:
        squares: (rows, inputs, kernel).
        sets: of the rows, and of the inputs.
        side: which one.

    Example:
        >>> squares = np.arange(8.0).reshape(2, 4, 1)
        >>> sets = neighbours(2, 1), neighbours(4, 2)
        >>> seen_from(squares, sets, 0).tolist()
        [[1.0, 5.0], [9.0, 13.0]]
        >>> seen_from(squares, sets, 1).tolist()
        [[0.0, 4.0], [1.0, 5.0], [2.0, 6.0], [3.0, 7.0]]
    """
    turned = squares if side == 0 else squares.transpose(1, 0, 2)  # (channels, others, kernel)
    others = sets[1 - side]
    if len(others) == int(others.max()) + 1:  # each by itself
        return turned.reshape(len(turned), -1)
    sums = set_sums(turned.transpose(1, 0, 2).reshape(len(others), -1), others)
    by_set = sums.reshape(len(sums), len(turned), -1)
    return np.asarray(by_set.transpose(1, 0, 2).reshape(len(turned), -1))


def blocks_in(squares: Scores, sets: Sides) -> int:
    """Return how many blocks a layer has at all places of its kernel."""
    return int(np.prod([squares.shape[2], *(of.max() + 1 for of in sets)]))


def mask_of(squares: Scores, sets: Sides, kept: int) -> NDArray[np.bool_]:
    """Return (rows, inputs, kernel): the `kept` blocks with the largest sums."""
    rows, inputs = sets
    pattern = best_patterns(seen_from(squares, sets, 0), rows, kept)
    blocks = pattern.reshape(len(pattern), -1, squares.shape[2])
    return np.asarray(blocks[rows][:, inputs])


def kept_by_sets(scores: Sequence[Scores], sets: Sets, kept: Sequence[int]) -> float:
    """Return the sum of what the best patterns keep, over all matrices whose rows are dealt alike."""
    sums = (-np.sort(-set_sums(of, sets), axis=None) for of in scores)
    return float(sum(of[:count].sum() for of, count in zip(sums, kept, strict=True)))


def refine_sets(
    scores: Sequence[Scores], sets: Sets, kept: Sequence[int], height: int
) -> Iterator[tuple[Sets, float]]:
    """Yield sets of rows with what is kept after each turn, while it rises; the first is as given.

    Args:
        scores: matrices with the same rows, such as those of layers that meet at an add.
        kept: for each, how many columns of sets are kept.
    """
    sizes, best = set_sizes(len(sets), height), kept_by_sets(scores, sets, kept)
    weights = sizes[0] / np.array(sizes)
    yield sets, best
    while True:
        patterns = [best_patterns(of, sets, count) for of, count in zip(scores, kept, strict=True)]
        gains = sum(of @ pattern.T for of, pattern in zip(scores, patterns, strict=True))
        sets = balanced(np.asarray(gains) * weights, sizes)
        total = kept_by_sets(scores, sets, kept)
        if total <= best * (1 + RISE):
            return
        best = total
        yield sets, best


def greedy_sets(scores: Sequence[Scores], kept: Sequence[int], height: int) -> Sets:
    """Find sets one after another: the dearest row that is free, and those that fit its columns best."""
    rows = len(scores[0])
    sets, free = (
        np.full(rows, rows // height if rows % height else rows // height - 1, np.intp),
        np.arange(rows),
    )
    widths = [-(-count * height // rows) for count in kept]
    for number in range(rows // height):
        parts = [of[free] for of in scores]
        chosen = np.array([int(sum(part.sum(axis=1) for part in parts).argmax())])
        for _ in range(3):
            columns = [
                _largest(part[chosen].sum(axis=0), width) for part, width in zip(parts, widths, strict=True)
            ]
            gains = sum(part[:, of].sum(axis=1) for part, of in zip(parts, columns, strict=True))
            chosen = _largest(np.asarray(gains), height)
        sets[free[chosen]] = number
        free = np.delete(free, chosen)
    return sets


def find_sets(
    scores: Sequence[Scores],
    kept: Sequence[int],
    height: int,
    *,
    search: Search,
    starts: int,
    random: np.random.Generator,
    begin: Sets | None = None,
) -> Sets:
    """Return the sets of rows that keep most of several searches; see `find_blocks`.

    The searches begin with `begin`, greedily, with neighbours, and from sets that are drawn.
    """
    if search == "greedy":
        return greedy_sets(scores, kept, height)
    rows = len(scores[0])
    firsts = [] if begin is None else [begin]
    firsts += [greedy_sets(scores, kept, height), neighbours(rows, height)]
    firsts += [random.permutation(neighbours(rows, height)) for _ in range(starts - len(firsts))]
    ends = [list(refine_sets(scores, first, kept, height))[-1] for first in firsts[: max(1, starts)]]
    return max(ends, key=lambda end: end[1])[0]


def _largest(values: NDArray[np.float64], count: int) -> Sets:
    return np.argsort(-values, kind="stable")[:count]
