"""The sparse convolution: every variant against the reference within its contract, and against torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_cases import (
    Case,
    cases,
    conv_of,
    dense_weight,
    every_variant,
    needs_kernels,
    run_region,
    sparse_normal,
)

from wieldy.kernels.sparse_conv import call, reference

pytestmark = [needs_kernels, every_variant]
SHAPES = 230  # for each variant and block: 2,070 on a CPU with three variants
every_block = pytest.mark.parametrize("block", [1, 4, 8])
threads = st.integers(1, 3)


def quick(count):  # type: ignore[no-untyped-def]
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def run(case: Case, variant: str, count: int = 1) -> np.ndarray:
    return run_region(case.inputs, [case.op], ["out"], variant=variant, threads=count)[0]


def assert_keeps_its_contract(found: np.ndarray, case: Case) -> None:
    expected = reference.sparse_conv(case.x, case.op, case.residual)
    assert found.shape == expected.shape
    error = np.abs(found.astype(np.float64) - expected)
    excess = error - reference.error_bound(case.x, case.op, case.residual)
    assert (excess <= 0).all(), f"{(excess > 0).sum()} results are off, the worst by {excess.max():.3g}"


@every_block
def test_any_shape_is_within_the_contract_of_the_reference(variant, block):  # type: ignore[no-untyped-def]
    @quick(SHAPES)
    @given(case=cases(block), count=threads)
    def check(case: Case, count: int) -> None:
        assert_keeps_its_contract(run(case, variant, count), case)

    check()


@every_block
def test_a_dense_convolution_of_torch_gives_the_same(variant, block):  # type: ignore[no-untyped-def]
    @quick(30)
    @given(case=cases(block), count=threads)
    def check(case: Case, count: int) -> None:
        op = case.op
        expected = torch.nn.functional.conv2d(
            torch.from_numpy(case.x), torch.from_numpy(dense_weight(op, case.x.shape[1])),
            torch.from_numpy(op.bias), op.stride, op.padding, op.dilation, op.groups,
        ).numpy()  # fmt: skip
        expected = (expected + (0 if case.residual is None else case.residual)).clip(op.low, op.high)
        found = run(case, variant, count)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))

    check()


@every_block
def test_the_call_by_name_returns_what_the_region_does_bit_for_bit(variant, block):  # type: ignore[no-untyped-def]
    @quick(30)
    @given(case=cases(block), count=threads)
    def check(case: Case, count: int) -> None:
        found = call.sparse_conv(case.x, case.op, case.residual, variant=variant, threads=count)
        np.testing.assert_array_equal(found, run(case, variant, count), strict=True)

    check()


@every_block
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_rows_of_many_entries_that_are_summed_in_parts_keep_the_contract(variant, block, kernel, count):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(kernel)
    x = rng.normal(size=(2, 256, 6, 7)).astype(np.float32)
    op = conv_of(
        sparse_normal(rng, (9, 256, kernel, kernel), 0.9), block, padding=(kernel // 2,) * 2, low=0.0
    )
    residual = rng.normal(size=(2, 9, 6, 7)).astype(np.float32)
    case = Case(x, replace(op, residual="residual"), residual)
    assert_keeps_its_contract(run(case, variant, count), case)


@every_block
@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (47, 53)])
def test_images_of_many_tiles_keep_the_contract(variant, block, shape):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 3, *shape)).astype(np.float32)
    case = Case(x, conv_of(sparse_normal(rng, (10, 3, 3, 3), 0.3), block, padding=(1, 1), high=1.0), None)
    for count in (1, 2, 3):
        assert_keeps_its_contract(run(case, variant, count), case)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("multiplier", [1, 2, 4])
@pytest.mark.parametrize("width", [7, 40])
def test_a_convolution_of_each_channel_by_itself_keeps_the_contract(variant, stride, multiplier, width):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 11, 9, width)).astype(np.float32)
    for block in {1, 4 if multiplier == 4 else 1}:
        weight = sparse_normal(rng, (11 * multiplier, 1, 3, 3), 0.4)
        op = conv_of(weight, block, stride=(stride, stride), padding=(1, 1), groups=11)
        for count in (1, 3):
            assert_keeps_its_contract(run(Case(x, op, None), variant, count), Case(x, op, None))


def test_groups_that_give_one_channel_each_but_read_several_keep_the_contract(variant):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 12, 8, 9)).astype(np.float32)
    for groups in (1, 2, 3):
        op = conv_of(sparse_normal(rng, (groups, 12 // groups, 3, 3), 0.5), padding=(1, 1), groups=groups)
        assert_keeps_its_contract(run(Case(x, op, None), variant, 2), Case(x, op, None))


@every_block
def test_a_layer_of_zeros_gives_its_bias(variant, block):  # type: ignore[no-untyped-def]
    bias = np.arange(5, dtype=np.float32)
    op = conv_of(np.zeros((5, 2, 3, 3), np.float32), block, padding=(1, 1), bias=bias, high=3.0)
    found = run(Case(np.ones((2, 2, 4, 6), np.float32), op, None), variant)
    np.testing.assert_array_equal(found, np.broadcast_to(bias.clip(max=3)[:, None, None], found.shape))


@every_block
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_reaches_exactly_what_its_kept_weights_reach(variant, block, value):  # type: ignore[no-untyped-def]
    @quick(25)
    @given(case=cases(block), seed=st.integers(0, 99))
    def check(case: Case, seed: int) -> None:
        x = case.x.copy()
        x.flat[np.random.default_rng(seed).integers(x.size)] = value
        with np.errstate(invalid="ignore"):
            expected = reference.sparse_conv(x, case.op, case.residual)
        found = run(Case(x, case.op, case.residual), variant)
        special = ~np.isfinite(expected)
        np.testing.assert_array_equal(found[special], expected[special].astype(np.float32))
        assert np.isfinite(found[~special]).all()

    check()


@every_block
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_makes_what_it_makes_in_a_dense_convolution(variant, block, value):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(6)
    x = rng.normal(size=(1, 3, 6, 7)).astype(np.float32)
    weight = sparse_normal(rng, (9, 3, 2, 2), 1)
    weight[4, 1, 0, 1] = value
    found = run(Case(x, conv_of(weight, block), None), variant)
    expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight)).numpy()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(found[np.isinf(expected)], expected[np.isinf(expected)])


@every_block
def test_the_bound_is_not_met_by_results_that_are_a_little_off(variant, block):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(7)
    x = rng.normal(size=(1, 3, 6, 7)).astype(np.float32)
    case = Case(x, conv_of(sparse_normal(rng, (9, 3, 3, 3), 1), block), None)
    found = run(case, variant)
    found[0, 3, 2, 2] += 3 * reference.error_bound(x, case.op)[0, 3, 2, 2]
    with pytest.raises(AssertionError, match="1 results are off"):
        assert_keeps_its_contract(found, case)
