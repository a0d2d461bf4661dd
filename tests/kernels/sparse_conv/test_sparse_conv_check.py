"""What a sparse convolution refuses, and that each fault has one error that names it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kernel_cases import conv_of, needs_kernels, sparse_normal

from wieldy.core.errors import ConfigError, InputError, KernelError, OutsideError, PackingError, ShapeError
from wieldy.kernels.region.ops import Conv, Size
from wieldy.kernels.sparse_conv import call, reference
from wieldy.kernels.sparse_conv.check import check_conv

SIZE = Size(4, 6, 7)
X = np.ones((2, 4, 6, 7), np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


@pytest.fixture
def op() -> Conv:
    """Eight channels from four in blocks of four; three kept columns of 36."""
    weight = np.zeros((8, 4, 3, 3), np.float32)
    weight[:4, 0, 0, 1] = weight[:4, 1, 2, 2] = weight[4:, 3, 1, 0] = 1
    return conv_of(weight, 4)


def test_a_sound_operation_is_accepted_and_its_size_returned(op):
    assert check_conv(op, {"x": SIZE}) == Size(8, 4, 5)
    with_residual = replace(op, residual="r", padding=(1, 1), stride=(2, 1))
    assert check_conv(with_residual, {"x": SIZE, "r": Size(8, 3, 7)}) == Size(8, 3, 7)


CHANGES = [
    ({"starts": ints(0, 2)}, ShapeError, r"out: starts: must be an array of int32 \(3,\); got int32 \(2,\)"),
    ({"starts": np.array([0, 2, 3])}, ShapeError, "starts: must be an array of int32"),
    ({"starts": ints(1, 2, 3)}, PackingError, "starts must ascend from 0 to the 3 kept columns; got 1 to 3"),
    ({"starts": ints(0, 2, 2)}, PackingError, "starts must ascend from 0 to the 3 kept columns; got 0 to 2"),
    ({"starts": ints(0, 4, 3)}, PackingError, "smallest step -1"),
    ({"starts": ints(0, -(2**31), 3)}, PackingError, "smallest step -2147483648"),
    ({"columns": ints(1, 17)}, ShapeError, r"values: must be an array of float32 \(2, 4\); got .*\(3, 4\)"),
    ({"columns": np.array([1, 17, 30])}, ShapeError, "columns: must be an array of int32"),
    ({"columns": ints(1, 17, 36)}, OutsideError, "a column must be from 0 to 35; got 36"),
    ({"columns": ints(-1, 17, 30)}, OutsideError, "a column must be from 0 to 35; got -1"),
    ({"columns": ints(17, 1, 30)}, PackingError, "ascend, each once; got 17 before 1 in block row 0"),
    ({"columns": ints(17, 17, 30)}, PackingError, "ascend, each once; got 17 before 17 in block row 0"),
    ({"values": np.ones((3, 8), np.float32)}, ShapeError, r"values: must be an array of float32 \(3, 4\)"),
    ({"values": np.ones((3, 4))}, ShapeError, r"values: must be an array of float32 .* got float64"),
    ({"values": np.ones(12, np.float32)}, ShapeError, r"values: must .* got float32 \(12,\)"),
    ({"values": [[1.0]]}, ShapeError, "values: must be an array .* got list"),
    ({"block": 2, "values": np.ones((3, 2), np.float32)}, ConfigError, "block must be one of 1, 4, 8; got 2"),
    ({"block": 0, "values": np.ones((3, 0), np.float32)}, ConfigError, "block must be one of 1, 4, 8; got 0"),
    ({"bias": np.zeros(4, np.float32)}, ShapeError, r"bias: must be .* \(8,\); got .*\(4,\)"),
    ({"bias": np.zeros(8)}, ShapeError, "bias: must be .* got float64"),
    ({"channels": 0}, ConfigError, "channels: must be a whole number from 1 to 2,147,483,647; got 0"),
    ({"channels": 9}, ShapeError, r"starts: must be an array of int32 \(4,\)"),
    ({"groups": 0}, ConfigError, "groups: must be a whole number from 1"),
    ({"groups": 3}, ConfigError, "groups must divide the channels; got 3 groups, 4 channels in and 8 out"),
    ({"groups": 4}, ConfigError, "block must divide the 2 channels of a group.* got 4. Use 1"),
    ({"kernel": (0, 3)}, ConfigError, "kernel: must be a whole number from 1"),
    ({"kernel": (3, 3, 3)}, ConfigError, "kernel must be two numbers"),
    ({"kernel": (1000, 1000)}, ConfigError, "kernel may have 65,536 places"),
    ({"kernel": (7, 3), "columns": ints(1, 2, 3)}, ShapeError, "fit the padded input; its rows span 7 of 6"),
    ({"dilation": (1, 4)}, ShapeError, "must fit the padded input; its columns span 9 of 7"),
    ({"stride": (0, 1)}, ConfigError, "stride: must be a whole number from 1 .* got 0"),
    ({"stride": (1.0, 1)}, ConfigError, r"stride: must be a whole number .* got 1\.0"),
    ({"dilation": (1, -1)}, ConfigError, "dilation: must be a whole number from 1 .* got -1"),
    ({"padding": (-1, 0)}, ConfigError, "padding: must be a whole number from 0 .* got -1"),
    ({"padding": (1, 2**31)}, ConfigError, "padding: must be a whole number"),
    ({"padding": (40_000, 40_000)}, ConfigError, "planes may take 2,147,483,647 floats"),
    ({"low": 2.0, "high": 1.0}, ConfigError, r"low must be a number up to high; got low 2\.0 and high 1\.0"),
    ({"low": np.nan}, ConfigError, "low must be a number up to high; got low nan"),
    ({"source": "y"}, ConfigError, "reads 'y', which must be one of the known values: x"),
    ({"residual": "r"}, ConfigError, "reads 'r', which must be one of the known values: x"),
    ({"residual": "x"}, ShapeError, r"the residual must be of the result's size Size\(channels=8, height=4"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "message"), CHANGES)
def test_each_fault_has_one_error_that_names_it(op, change, kind, message):  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=message) as caught:
        check_conv(replace(op, **change), {"x": SIZE})
    assert type(caught.value) is kind


def test_sizes_that_int32_cannot_count_are_refused_before_anything_is_computed(op):
    with pytest.raises(ConfigError, match="planes may take 2,147,483,647 floats"):
        check_conv(op, {"x": Size(4, 20_000, 20_000)})
    with pytest.raises(ConfigError, match="x: channels: must be a whole number"):
        check_conv(op, {"x": Size(0, 20, 20)})


def test_weights_that_are_not_finite_are_accepted(op):
    check_conv(replace(op, values=np.full((3, 4), np.nan, np.float32)), {"x": SIZE})
    check_conv(replace(op, bias=np.full(8, np.inf, np.float32)), {"x": SIZE})


@settings(max_examples=300, deadline=None)
@given(
    starts=hnp.arrays(np.int32, st.integers(0, 4), elements=st.sampled_from([-1, 0, 1, 2, 3, 2**31 - 1])),
    columns=hnp.arrays(np.int32, 3, elements=st.sampled_from([-1, 0, 1, 8, 9, 35, 36, -(2**31)])),
    settings_=st.fixed_dictionaries(
        {name: st.tuples(*[st.integers(-1, 4)] * 2) for name in ("kernel", "stride", "padding", "dilation")}
    ),
    groups=st.integers(0, 4),
)
def test_arrays_at_random_are_refused_or_have_a_reference(starts, columns, settings_, groups):  # type: ignore[no-untyped-def]
    values, bias = np.ones((3, 4), np.float32), np.zeros(8, np.float32)
    op = Conv("x", "out", 8, 4, starts, columns, values, bias, groups=groups, **settings_)
    try:
        size = check_conv(op, {"x": SIZE})
    except InputError:
        return
    assert reference.sparse_conv(X, op).shape == (2, size.channels, size.height, size.width)


@needs_kernels
@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"x": X.astype(np.float64)}, ShapeError, r"x: must be an array of float32 .* got float64"),
        ({"x": X.astype(">f4")}, ShapeError, "x: must be an array of float32"),
        (
            {"x": X[0]},
            ShapeError,
            r"x: must be .*\(batch, channels, height, width\); got float32 \(4, 6, 7\)",
        ),
        ({"x": X.tolist()}, ShapeError, "x: must be an array .* got list"),
        ({"x": X[:, :3]}, OutsideError, "a column must be from 0 to 26; got 30"),
        ({"x": X[:, :, :0]}, ConfigError, "x: height: must be a whole number from 1"),
        ({"residual": X}, ConfigError, "given exactly where the operation names one; it names None"),
        ({"threads": 0}, ConfigError, "threads: must be a whole number from 1"),
        ({"variant": "sse9"}, KernelError, "variant: must be one of portable.* got 'sse9'"),
    ],
)
def test_a_call_refuses_what_its_kernel_cannot_read(op, arguments, kind, message):  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=message):
        call.sparse_conv(**{"x": X, "op": op, "variant": "portable"} | arguments)


@needs_kernels
def test_a_call_refuses_a_residual_of_another_shape_or_dtype(op):
    op = replace(op, residual="r")
    for wrong in (
        np.ones((1, 8, 4, 5), np.float32),
        np.ones((2, 8, 4, 5)),
        np.ones((2, 8, 5, 4), np.float32),
    ):
        with pytest.raises(ShapeError, match="residual"):
            call.sparse_conv(X, op, wrong, variant="portable")
    with pytest.raises(ConfigError, match="it names 'r', and none was given"):
        call.sparse_conv(X, op, variant="portable")


@needs_kernels
def test_a_call_takes_what_is_not_contiguous_and_leaves_it_as_it_was():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 14, 14)).astype(np.float32)[:, :, ::2, ::2]
    before = x.copy()
    op = conv_of(sparse_normal(rng, (5, 4, 3, 3), 0.4))
    found = call.sparse_conv(x, op, variant="portable")
    np.testing.assert_array_equal(found, call.sparse_conv(before, op, variant="portable"))
    np.testing.assert_array_equal(x, before)


@needs_kernels
def test_no_examples_give_no_results(op):
    assert call.sparse_conv(X[:0], op, variant="portable").shape == (0, 8, 4, 5)
