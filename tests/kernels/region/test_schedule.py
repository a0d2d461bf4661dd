"""Which operations run together: every order and every place they imply is one that gives the same result."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from region_cases import layer, regions

from wieldy.kernels.region.layout import taps
from wieldy.kernels.region.ops import Conv, GlobalMean, Op, Pooling, Size
from wieldy.kernels.region.plan import sizes_of
from wieldy.kernels.region.schedule import Tiling, reads, schedule

TILE = 32


def tiling_of(sizes: dict[str, Size]):  # type: ignore[no-untyped-def]
    return lambda conv: Tiling(TILE, -(-sizes[conv.target].height * sizes[conv.target].width // TILE))


def sizes_of_arrays(inputs):  # type: ignore[no-untyped-def]
    return {name: Size(*array.shape[1:]) for name, array in inputs.items()}


def chains_of(sizes: dict[str, Size], ops: list[Op], outputs: list[str], threads: int = 2):  # type: ignore[no-untyped-def]
    known = sizes_of(sizes, ops)
    return schedule(ops, known, outputs, tiling_of(known), threads)


@settings(max_examples=150, deadline=None)
@given(region=regions(), threads=st.integers(1, 4))
def test_what_an_operation_needs_is_made_before_it(region, threads):  # type: ignore[no-untyped-def]
    inputs, ops, outputs = region
    chains = chains_of(sizes_of_arrays(inputs), ops, outputs, threads)
    assert sorted(op.target for chain in chains for op in chain.ops) == sorted(op.target for op in ops)
    values, splits = set(inputs), set()
    for chain in chains:
        assert {split.source for split in chain.before} <= values
        splits |= set(chain.before)
        assert splits >= set(chain.uses)
        made: set[str] = set()
        for op in chain.ops:
            assert set(reads(op)) <= values | made
            shifted = isinstance(op, Conv) and any(tap.row or tap.column for tap in taps(op))
            assert not (shifted and op.source in made)
            made.add(op.target)
        assert {split.source for split in chain.inside} <= made
        splits |= set(chain.inside)
        values |= made - chain.local


@settings(max_examples=150, deadline=None)
@given(region=regions(), threads=st.integers(1, 4))
def test_a_local_value_is_read_by_its_own_chain_alone(region, threads):  # type: ignore[no-untyped-def]
    inputs, ops, outputs = region
    chains = chains_of(sizes_of_arrays(inputs), ops, outputs, threads)
    for chain in chains:
        others = {name for other in chains if other is not chain for op in other.ops for name in reads(op)}
        others |= {split.source for other in chains for split in other.before}
        assert not chain.local & (others | set(outputs))


def bottleneck(rng: np.random.Generator, stride: int) -> list[Op]:
    return [
        layer(rng, 8, 8, (3, 3), source="x", target="a", padding=(1, 1)),
        layer(rng, 8, 8, (1, 1), source="a", target="b", residual="x"),
        layer(rng, 8, 8, (3, 3), source="b", target="c", padding=(1, 1), stride=(stride, stride)),
        layer(rng, 8, 8, (1, 1), source="b", target="d", stride=(stride, stride)),
        layer(rng, 8, 8, (1, 1), source="b", target="e"),
        GlobalMean("e", "f"),
    ]


def test_strided_readers_share_phases_that_are_made_where_their_source_is():
    first, second, mean = chains_of(
        {"x": Size(8, 16, 16)}, bottleneck(np.random.default_rng(0), 2), ["c", "d", "f"]
    )
    assert [op.target for op in first.ops] == ["a", "b", "e"]
    (split,) = first.inside
    assert (split.source, split.phases) == ("b", ((0, 0), (0, 1), (1, 0), (1, 1)))
    assert first.local == {"a", "b"}
    assert [op.target for op in second.ops] == ["c", "d"]
    assert (second.uses, second.before) == ((split,), ())
    assert [op.target for op in mean.ops] == ["f"]


def test_what_is_asked_for_is_not_local():
    first, *_ = chains_of(
        {"x": Size(8, 16, 16)}, bottleneck(np.random.default_rng(0), 2), ["b", "c", "d", "f"]
    )
    assert first.local == {"a"}


def test_few_positions_are_shared_out_by_rows_and_run_one_layer_at_a_time():
    chains = chains_of({"x": Size(8, 4, 4)}, bottleneck(np.random.default_rng(0), 1), ["c", "d", "f"])
    assert all(len(chain.ops) == 1 and not chain.local for chain in chains)


def test_a_split_of_what_is_pooled_runs_before_its_reader():
    rng = np.random.default_rng(0)
    ops: list[Op] = [
        Pooling("x", "a", (2, 2), (1, 1), (0, 0), (1, 1), False, True, (15, 15)),
        layer(rng, 8, 8, (3, 3), source="a", target="b", stride=(2, 2)),
    ]
    pool, conv = chains_of({"x": Size(8, 16, 16)}, ops, ["b"])
    assert (pool.tiling, pool.inside) == (None, ())
    assert conv.before == conv.uses != ()
