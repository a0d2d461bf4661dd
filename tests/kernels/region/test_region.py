"""Regions of several operations: equal, bit for bit, to one operation after the other.

All numbers are small integers, so float32 computes them exactly in any order.
"""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_cases import every_variant, needs_kernels, run_region
from region_cases import computed, describe, layer, regions, whole
from torch.nn import functional as F

from wieldy.kernels.region.ops import GlobalMean, Op, Pooling, Size
from wieldy.kernels.region.plan import plan_region

pytestmark = [needs_kernels, every_variant]


def assert_equal_to_one_after_the_other(  # type: ignore[no-untyped-def]
    inputs, ops, outputs, variant, threads=1, channels_last=()
) -> None:
    expected = computed(inputs, ops)
    results = run_region(inputs, ops, outputs, variant=variant, threads=threads, channels_last=channels_last)
    for name, found in zip(outputs, results, strict=True):
        np.testing.assert_array_equal(
            found, expected[name], err_msg=f"{name} of {describe(ops)}", strict=True
        )


def test_any_region_gives_what_one_operation_after_the_other_gives(variant):  # type: ignore[no-untyped-def]
    @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(region=regions(), threads=st.integers(1, 3), data=st.data())
    def check(region, threads, data) -> None:  # type: ignore[no-untyped-def]
        inputs, _, outputs = region
        last = data.draw(st.sets(st.sampled_from([*inputs, *outputs])))
        assert_equal_to_one_after_the_other(*region, variant, threads, last)

    check()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("block", [1, 4, 8])
def test_a_bottleneck_that_adds_what_it_read_runs_in_place(variant, block, threads):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(1)
    x = whole(rng, (2, 16, 17, 19))
    ops: list[Op] = [
        layer(rng, 16, 8, (1, 1), block, target="a"),
        layer(rng, 8, 8, (3, 3), block, source="a", target="b", padding=(1, 1)),
        layer(rng, 8, 16, (1, 1), block, source="b", target="c", residual="x"),
        layer(rng, 16, 16, (1, 1), block, source="c", target="d"),
        GlobalMean("d", "e"),
    ]
    assert_equal_to_one_after_the_other({"x": x}, ops, ["c", "e"], variant, threads)
    sizes = {"x": Size(16, 17, 19)}
    in_place = plan_region(sizes, ops, ["c", "e"], variant=variant, threads=threads).workspace_floats
    apart = plan_region(sizes, ops, ["c", "e", "x"], variant=variant, threads=threads).workspace_floats
    assert in_place < apart


def test_a_residual_that_is_read_again_is_left_as_it_is(variant):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    ops: list[Op] = [
        layer(rng, 8, 8, (3, 3), target="a", padding=(1, 1), residual="x"),
        layer(rng, 8, 8, (3, 3), source="a", target="b", padding=(1, 1), residual="x"),
        layer(rng, 8, 8, (1, 1), source="b", target="c", residual="a"),
    ]
    for outputs in (["c"], ["a", "c"], ["c", "b", "x"]):
        assert_equal_to_one_after_the_other({"x": whole(rng, (2, 8, 15, 15))}, ops, outputs, variant, 2)


def test_a_value_whose_gaps_nobody_cleared_gives_its_place_to_one_that_is_padded(variant):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    for width in range(3, 21):
        ops: list[Op] = [
            layer(rng, 3, 8, (1, 1), target="a", bias=np.ones(8, np.float32)),
            layer(rng, 8, 8, (1, 1), source="a", target="b", bias=np.ones(8, np.float32)),
            Pooling("b", "c", (3, 3), (1, 1), (1, 1), (1, 1), False, False, (7, width)),
            layer(rng, 8, 8, (3, 3), source="c", target="d", padding=(1, 1)),
            layer(rng, 8, 8, (3, 3), source="d", target="e", padding=(2, 2), dilation=(2, 2)),
        ]
        assert_equal_to_one_after_the_other({"x": whole(rng, (2, 3, 7, width))}, ops, ["e"], variant)


POOLINGS = [
    ((2, 2), (2, 2), (0, 0), (1, 1)),
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((3, 2), (1, 2), (1, 0), (1, 1)),
    ((3, 3), (1, 1), (1, 1), (2, 2)),
    ((2, 2), (3, 3), (1, 1), (1, 1)),
    ((5, 3), (2, 3), (2, 1), (1, 2)),
]


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("shape", [(2, 3, 9, 11), (1, 9, 16, 16), (1, 2, 8, 15)])
def test_pooling_is_torchs(variant, shape, pooling, ceil):  # type: ignore[no-untyped-def]
    kernel, stride, padding, dilation = pooling
    x = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    x[0, 0, 3, 4] = np.nan
    tensor = torch.from_numpy(x)
    expected = {(False, False): F.max_pool2d(tensor, kernel, stride, padding, dilation, ceil_mode=ceil)}
    if dilation == (1, 1):
        expected |= {
            (True, counts): F.avg_pool2d(tensor, kernel, stride, padding, ceil, counts)
            for counts in (False, True)
            if not (ceil and counts)
        }
    for (average, counts), result in expected.items():
        op = Pooling("x", "y", kernel, stride, padding, dilation, average, counts, tuple(result.shape[2:]))
        found = run_region({"x": x}, [op], ["y"], variant=variant, threads=2)[0]
        np.testing.assert_allclose(found, result.numpy(), rtol=1e-6, atol=1e-6 if average else 0, strict=True)


@pytest.mark.parametrize("shape", [(2, 3, 9, 11), (1, 9, 1, 1), (1, 2, 8, 15)])
def test_the_mean_of_a_channel_is_that_of_its_pixels_rounded_once(variant, shape):  # type: ignore[no-untyped-def]
    x = whole(np.random.default_rng(5), shape)
    assert_equal_to_one_after_the_other({"x": x}, [GlobalMean("x", "y")], ["y"], variant, 2)
