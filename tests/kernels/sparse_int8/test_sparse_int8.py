"""Convolutions of levels: every variant equals the reference bit for bit, and the reference whole numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_cases import every_level_variant, needs_kernels, run_region
from level_cases import level_cases, level_regions

from wieldy.claims.sparse_int8 import EIGHT_BITS, SEVEN_BITS, Bytes, LevelCase, scales_of, weight_of
from wieldy.core.errors import KernelError
from wieldy.kernels.native import IN_PAIRS
from wieldy.kernels.region.ops import Concat, GlobalMean, LevelConv, Levels, Op, Pooling
from wieldy.kernels.sparse_int8 import call
from wieldy.kernels.sparse_int8.check import fits_pairs
from wieldy.kernels.sparse_int8.reference import levels_of, numbers_of, sparse_int8, sums

SHAPES = 250  # for each variant
threads = st.integers(1, 3)


def quick(count):  # type: ignore[no-untyped-def]
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def run(case: LevelCase, variant: str, count: int = 1) -> np.ndarray:
    """Run between canaries; levels go in and come out as numbers of scale 1."""
    op, levels = case.op, call.levels_at_unit_scale(case.op)
    read = {"x": case.x} | ({} if case.residual is None else {"residual": case.residual})
    inputs = {name: numbers_of(of, levels[name]) if name in levels else of for name, of in read.items()}
    (found,) = run_region(
        inputs, [op], ["out"], variant="portable", threads=count, levels=levels, level_variant=variant
    )
    return found if op.numbers else levels_of(found, levels["out"])


@needs_kernels
@every_level_variant
def test_any_shape_equals_the_reference_bit_for_bit(variant):  # type: ignore[no-untyped-def]
    @quick(SHAPES)
    @given(case=level_cases(SEVEN_BITS if variant in IN_PAIRS else EIGHT_BITS), count=threads)
    def check(case: LevelCase, count: int) -> None:
        expected = sparse_int8(case.x, case.op, case.residual)
        np.testing.assert_array_equal(run(case, variant, count), expected, strict=True)

    check()


@needs_kernels
@every_level_variant
def test_the_call_by_name_returns_the_same(variant):  # type: ignore[no-untyped-def]
    @quick(30)
    @given(case=level_cases(SEVEN_BITS), count=threads)
    def check(case: LevelCase, count: int) -> None:
        found = call.sparse_int8(case.x, case.op, case.residual, variant=variant, threads=count)
        np.testing.assert_array_equal(found, run(case, variant, count), strict=True)

    check()


def after(x: Bytes, ops: list[Op], levels: dict[str, Levels], first: str = "v0") -> dict[str, np.ndarray]:
    """Return every value of a region by the references, one operation after the other."""
    values: dict[str, np.ndarray] = {first: x}
    for op in ops:
        if isinstance(op, Concat):
            values[op.target] = np.concatenate([values[name] for name in op.sources], axis=1)
            continue
        assert isinstance(op, LevelConv)
        values[op.target] = sparse_int8(values[op.source], op, values[op.residual] if op.residual else None)
    return values


@needs_kernels
@every_level_variant
def test_a_region_equals_its_references_one_after_the_other(variant):  # type: ignore[no-untyped-def]
    @quick(80)
    @given(region=level_regions(), count=threads, turned=st.booleans())
    def check(region, count, turned) -> None:  # type: ignore[no-untyped-def]
        numbers, ops, levels = region
        values = after(levels_of(numbers, levels["v0"]), ops, levels)
        outputs = [op.target for op in ops]
        found = run_region(
            {"v0": numbers}, ops, outputs, variant="portable", threads=count, levels=levels,
            level_variant=variant, channels_last=("v0", *outputs) if turned else (),
        )  # fmt: skip
        for name, array in zip(outputs, found, strict=True):
            np.testing.assert_array_equal(array, numbers_of(values[name], levels[name]))

    check()


def layer_of(source: str, target: str, channels: tuple[int, int], levels: dict[str, Levels], **changes):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(channels)
    wide, kernel = channels[0], changes.pop("kernel", (1, 1))
    return LevelConv(
        source, target, weight_of(rng, (*channels, *kernel), SEVEN_BITS, 0.5),
        rng.integers(-500, 500, wide).astype(np.int32), scales_of(rng, wide), pad=levels[source].zero,
        zero=levels[target].zero, low=-levels[target].zero, high=255 - levels[target].zero, **changes,
    )  # fmt: skip


@needs_kernels
@every_level_variant
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [3, 14, 15, 17, 31, 33])
def test_joined_levels_lie_as_a_convolution_past_their_edges_reads_them(variant, width, stride):  # type: ignore[no-untyped-def]
    known, other = Levels(0.5, 7), Levels(0.25, 100)
    levels = {"x": known, "a": known, "b": known, "joined": known, "y": other}
    ops: list[Op] = [
        layer_of("x", "a", (4, 8), levels),
        layer_of("x", "b", (6, 8), levels, kernel=(3, 3), padding=(1, 1)),
        Concat(("a", "x", "b"), "joined"),
        layer_of("joined", "y", (5, 18), levels, kernel=(3, 3), padding=(2, 2), dilation=(2, 2),
                 stride=(stride, stride)),
    ]  # fmt: skip
    x = np.random.default_rng(width).normal(size=(2, 8, 6, width)).astype(np.float32) * 30
    values = after(levels_of(x, known), ops, levels, "x")
    for threads in (1, 3):
        found = run_region(
            {"x": x}, ops, ["joined", "y"], variant="portable", threads=threads, levels=levels,
            level_variant=variant,
        )  # fmt: skip
        for name, array in zip(("joined", "y"), found, strict=True):
            np.testing.assert_array_equal(array, numbers_of(values[name], levels[name]))


@needs_kernels
@pytest.mark.parametrize("channels", [3, 4, 9])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_the_largest_and_the_mean_of_levels_equal_those_of_their_numbers(channels, kernel, stride, padding):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(channels)
    known = Levels(0.37, 20)
    x = rng.normal(size=(2, channels, 9, 12)).astype(np.float32) * 30
    pairs = ((kernel, kernel), (stride, stride), (padding, padding))
    numbers = torch.from_numpy(numbers_of(levels_of(x, known), known))
    wanted = torch.nn.functional.max_pool2d(numbers, kernel, stride, padding).numpy()
    ops: list[Op] = [
        Pooling("x", "pooled", *pairs, (1, 1), False, False, wanted.shape[2:]), GlobalMean("pooled", "mean"),
    ]  # fmt: skip
    for count in (1, 3):
        largest, mean = run_region(
            {"x": x}, ops, ["pooled", "mean"], variant="portable", threads=count,
            levels={"x": known, "pooled": known}, level_variant="portable",
        )  # fmt: skip
        np.testing.assert_array_equal(largest, wanted)
        exact = wanted.astype(np.float64).mean(axis=(2, 3), keepdims=True)
        np.testing.assert_allclose(mean, exact, rtol=3e-7, atol=1e-6)


def test_the_reference_is_whole_number_arithmetic_of_scipy():
    scipy = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1, 3, 9, 8), np.uint8)
    weight = rng.integers(-127, 128, (2, 3, 3, 2)).astype(np.int8)
    op = LevelConv("x", "y", weight, np.int32([7, -9]), np.ones(2, np.float32), padding=(1, 1), pad=100)
    padded = np.pad(x[0].astype(np.int64), ((0, 0), (1, 1), (1, 1)), constant_values=100)
    for row, bias in enumerate((7, -9)):
        wanted = bias + sum(
            scipy.correlate(padded[c], weight[row, c].astype(np.int64), mode="valid", method="direct")
            for c in range(3)
        )
        np.testing.assert_array_equal(sums(x, op)[0, row], wanted)


def test_levels_are_those_of_torch():
    x = np.random.default_rng(1).normal(size=1000).astype(np.float32) * 40
    known = Levels(0.31, 77)
    wanted = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), known.scale, known.zero, 0, 255)
    np.testing.assert_array_equal(numbers_of(levels_of(x, known), known), wanted.numpy())


@needs_kernels
def test_weights_that_leave_sixteen_bits_are_refused_where_products_are_added_in_pairs():
    weight = np.full((1, 2, 1, 1), 65, np.int8)
    op = LevelConv("x", "y", weight, np.zeros(1, np.int32), np.ones(1, np.float32))
    assert not fits_pairs(op)
    assert fits_pairs(replace(op, weight=weight - 1))
    with pytest.raises(KernelError, match="7 bits"):
        call.sparse_int8(np.zeros((1, 2, 1, 1), np.uint8), op, variant="avx2")
    with pytest.raises(KernelError, match="must be one of"):
        call.sparse_int8(np.zeros((1, 2, 1, 1), np.uint8), op, variant="none")
