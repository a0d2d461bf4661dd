"""What a convolution of levels refuses: one error each, with the name, the rule and the value."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wieldy.core.errors import ConfigError, OversizeError, ShapeError
from wieldy.kernels.region.ops import GlobalMean, LevelConv, Levels, Op, Pooling, Size
from wieldy.kernels.sparse_int8.check import check_level_conv, check_levels

WEIGHT = np.ones((4, 8, 3, 3), np.int8)
OP = LevelConv("x", "y", WEIGHT, np.zeros(4, np.int32), np.ones(4, np.float32))
SIZES = {"x": Size(8, 9, 9), "r": Size(4, 7, 7), "wrong": Size(4, 6, 7)}
ONE = Levels(1.0)


def pooling(*, average: bool) -> Pooling:
    return Pooling("x", "y", (1, 1), (1, 1), (0, 0), (1, 1), average, False, (9, 9))


def test_a_sound_one_gives_its_size():
    assert check_level_conv(replace(OP, residual="r"), SIZES) == Size(4, 7, 7)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"source": "z"}, ConfigError, "must be one of the known values"),
        ({"weight": WEIGHT.astype(np.int16)}, ShapeError, "int8"),
        ({"bias": np.zeros(3, np.int32)}, ShapeError, "bias"),
        ({"scale": np.ones(4)}, ShapeError, "scale"),
        ({"scale": np.float32([1, np.nan, 1, 1])}, ConfigError, "finite"),
        ({"residual": "r", "residual_scale": np.inf}, ConfigError, "finite"),
        ({"residual": "wrong"}, ShapeError, "residual"),
        ({"groups": 3}, ConfigError, "divide"),
        ({"groups": 2}, ConfigError, "must be 8"),
        ({"stride": (0, 1)}, ConfigError, "stride"),
        ({"dilation": (9, 1)}, ShapeError, "fit the padded input"),
        ({"pad": 256}, ConfigError, "pad must be a level"),
        ({"zero": 10}, ConfigError, "stay within"),
        ({"low": 3.0, "high": 2.0}, ConfigError, "low"),
        ({"low": float("nan")}, ConfigError, "low"),
        ({"bias": np.full(4, 2**31 - 1, np.int32)}, OversizeError, "int32 ends"),
    ],
)
def test_each_fault_has_its_error(changes: dict[str, Any], error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        check_level_conv(replace(OP, **changes), SIZES)


def test_the_most_inputs_that_int32_can_sum_pass_and_one_more_is_refused():
    most = (2**31 - 1) // (255 * 127)
    for inputs in (most, most + 1):
        weight = np.full((1, inputs, 1, 1), 127, np.int8)
        op = LevelConv("x", "y", weight, np.zeros(1, np.int32), np.ones(1, np.float32))
        if inputs == most:
            check_level_conv(op, {"x": Size(inputs, 1, 1)})
        else:
            with pytest.raises(OversizeError, match="Keep the layer in float32"):
                check_level_conv(op, {"x": Size(inputs, 1, 1)})


@pytest.mark.parametrize(
    ("op", "levels", "words"),
    [
        (OP, {"y": ONE}, "'x' must be kept as levels"),
        (OP, {"x": ONE}, "'y' must be kept as levels"),
        (replace(OP, numbers=True), {"x": ONE, "y": ONE}, "'y' must be kept as float32"),
        (replace(OP, residual="r"), {"x": ONE, "y": ONE}, "'r' must be kept as levels"),
        (GlobalMean("x", "y"), {"x": ONE, "y": ONE}, "'y' must be kept as float32"),
        (pooling(average=False), {"x": ONE, "y": Levels(2.0)}, "keeps the levels"),
        (pooling(average=True), {"x": ONE, "y": ONE}, "must be kept as float32"),
    ],
)  # fmt: skip
def test_values_that_are_not_kept_as_an_operation_computes_them_are_refused(
    op: Op, levels: dict[str, Levels], words: str
):
    with pytest.raises(ConfigError, match=words):
        check_levels([op], levels)
