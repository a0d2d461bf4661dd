"""Sets of rows and columns: assignment is optimal, turns never lose, planted blocks are found."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wieldy.graph.pivoting import (
    Blocks,
    balanced,
    best_patterns,
    even_sizes,
    find_blocks,
    find_sets,
    greedy_blocks,
    greedy_sets,
    kept_by_blocks,
    kept_by_sets,
    neighbours,
    refine_blocks,
    refine_sets,
    set_sizes,
    set_sums,
)


def scores(seed: int, rows: int, columns: int) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(size=(rows, columns)))


def planted(seed: int, size: int, count: int) -> tuple[np.ndarray, Blocks]:
    rng = np.random.default_rng(seed)
    labels = np.arange(size) * count // size
    blocks = Blocks(rng.permutation(labels), rng.permutation(labels))
    return (scores(seed, size, size) + 0.1) * blocks.mask(), blocks


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(1, 6))
def test_reference_dealing_out_is_the_best_of_all_by_enumeration(seed: int, rows: int) -> None:
    sizes = [2, rows // 2, rows - rows // 2]
    gains = scores(seed, rows, 3)
    places = np.repeat(np.arange(3), sizes)
    best = max(gains[np.arange(rows), np.array(order)].sum() for order in permutations(places, rows))
    found = balanced(gains, sizes)
    assert gains[np.arange(rows), found].sum() == pytest.approx(best)
    assert (np.bincount(found, minlength=3) <= sizes).all()


@pytest.mark.parametrize("seed", range(3))
def test_reference_sets_of_two_come_close_to_the_best_of_all_by_enumeration(seed: int) -> None:
    values = scores(seed, 6, 4)
    every = {tuple(order) for order in permutations([0, 0, 1, 1, 2, 2])}
    best = max(kept_by_sets([values], np.array(sets), [4]) for sets in every)
    found = find_sets([values], [4], 2, search="assignment", starts=8, random=np.random.default_rng(0))
    assert best * 0.95 <= kept_by_sets([values], found, [4]) <= best + 1e-12


@pytest.mark.parametrize("count", [2, 4, 8])
def test_planted_blocks_are_found_whole(count: int) -> None:
    values, blocks = planted(count, 64, count)
    found = find_blocks(values, count, search="assignment", starts=8, random=np.random.default_rng(0))
    assert kept_by_blocks(values, found) == pytest.approx(kept_by_blocks(values, blocks), rel=1e-12)
    np.testing.assert_array_equal(found.mask() & (values > 0), values > 0)


def test_planted_sets_are_found_whole() -> None:
    rng = np.random.default_rng(0)
    sets = rng.permutation(neighbours(64, 8))
    patterns = np.array([rng.permutation(40) < 4 for _ in range(8)])
    values = (scores(0, 64, 40) + 0.1) * patterns[sets]
    found = find_sets([values], [32], 8, search="assignment", starts=8, random=rng)
    assert kept_by_sets([values], found, [32]) == pytest.approx(values.sum())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999), rows=st.integers(6, 30), columns=st.integers(6, 30), count=st.integers(2, 6)
)
def test_no_turn_of_blocks_loses_and_sizes_stay(seed: int, rows: int, columns: int, count: int) -> None:
    values = scores(seed, rows, columns)
    turns = list(refine_blocks(values, greedy_blocks(values, count), count))
    sums = [total for _, total in turns]
    assert sums == sorted(sums)
    for blocks, total in turns:
        assert total == pytest.approx(kept_by_blocks(values, blocks))
        assert np.bincount(blocks.rows).tolist() == even_sizes(rows, count)
        assert np.bincount(blocks.columns).tolist() == even_sizes(columns, count)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(1, 40), height=st.integers(1, 9), two=st.booleans())
def test_no_turn_of_sets_loses_and_sizes_stay(seed: int, rows: int, height: int, two: bool) -> None:
    matrices = [scores(seed + index, rows, 7 + index) for index in range(1 + two)]
    sizes = set_sizes(rows, height)
    kept = [len(sizes) * 3, len(sizes)][: 1 + two]
    start = np.random.default_rng(seed).permutation(neighbours(rows, height))
    turns = list(refine_sets(matrices, start, kept, height))
    sums = [total for _, total in turns]
    assert sums == sorted(sums)
    for sets, _ in turns:
        assert np.bincount(sets).tolist() == sizes
    assert np.bincount(greedy_sets(matrices, kept, height)).tolist() == sizes


@given(seed=st.integers(0, 9999), rows=st.integers(1, 20), kept=st.integers(0, 30))
def test_patterns_keep_the_largest_sums_and_exactly_so_many(seed: int, rows: int, kept: int) -> None:
    values, sets = scores(seed, rows, 5), neighbours(rows, 4)
    patterns, sums = best_patterns(values, sets, kept), set_sums(values, sets)
    assert patterns.sum() == min(kept, sums.size)
    assert kept_by_sets([values], sets, [kept]) == pytest.approx(sums[patterns].sum())
    if patterns.any() and not patterns.all():
        assert sums[patterns].min() >= sums[~patterns].max()


def test_more_searches_never_keep_less_and_the_same_seed_finds_the_same() -> None:
    values = scores(5, 48, 48)

    def kept(starts: int) -> float:
        found = find_blocks(values, 4, search="assignment", starts=starts, random=np.random.default_rng(1))
        return kept_by_blocks(values, found)

    assert kept(1) <= kept(4) <= kept(8) == kept(8)
    greedy = find_blocks(values, 4, search="greedy", starts=8, random=np.random.default_rng(1))
    assert kept_by_blocks(values, greedy) <= kept(1)


def test_edges_of_nothing_but_zeros_and_of_sizes_that_do_not_come_out_even() -> None:
    nothing = np.zeros((9, 5))
    assert kept_by_blocks(nothing, greedy_blocks(nothing, 4, np.random.default_rng(0))) == 0
    values = scores(0, 9, 5)
    found = find_blocks(values, 4, search="assignment", starts=8, random=np.random.default_rng(0))
    assert sorted(np.bincount(found.rows)) == [2, 2, 2, 3]
    assert sorted(np.bincount(found.columns)) == [1, 1, 1, 2]
