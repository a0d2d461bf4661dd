"""What a sparse linear layer refuses."""

import numpy as np
import pytest
from kernel_cases import needs_kernels

from wieldy.core.errors import ConfigError, KernelError, OutsideError, PackingError, ShapeError
from wieldy.kernels.sparse_linear import call
from wieldy.kernels.sparse_linear.check import check_linear


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


SOUND = {
    "starts": ints(0, 2, 3),
    "columns": ints(1, 4, 0),
    "values": np.ones((3, 4), np.float32),
    "bias": np.zeros(7, np.float32),
    "low": -np.inf,
    "high": np.inf,
}
X = np.ones((2, 5), np.float32)


def test_a_sound_layer_is_accepted():
    check_linear(**SOUND, inputs=5)
    check_linear(**SOUND | {"values": np.full((3, 4), np.nan, np.float32)}, inputs=5)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"starts": ints(0, 3)}, ShapeError, r"starts: must be an array of int32 \(3,\)"),
        ({"starts": ints(0, 4, 3)}, PackingError, "starts must ascend"),
        ({"columns": ints(1, 5, 0)}, OutsideError, "a column must be from 0 to 4; got 5"),
        ({"columns": ints(4, 1, 0)}, PackingError, "got 4 before 1 in block row 0"),
        ({"columns": np.array([1, 4, 0], np.uint16)}, ShapeError, "columns: must be an array of int32"),
        ({"values": np.ones((3, 3), np.float32)}, ConfigError, "block must be one of 1, 4, 8; got 3"),
        ({"values": np.ones((3, 4))}, ShapeError, "values: must be .* got float64"),
        ({"bias": np.zeros(9, np.float32)}, ShapeError, r"starts: must be an array of int32 \(4,\)"),
        ({"bias": np.zeros(0, np.float32)}, ConfigError, "outputs: must be a whole number from 1"),
        (
            {"bias": np.zeros((7, 1), np.float32)},
            ShapeError,
            r"bias: must be an array of float32 \(outputs,\)",
        ),
        ({"low": 1.0, "high": 0.0}, ConfigError, "low must be a number up to high"),
        ({"inputs": 0}, ConfigError, "inputs: must be a whole number from 1"),
    ],
)
def test_each_fault_has_one_error_that_names_it(change, kind, message):  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=f"sparse_linear.*{message}"):
        check_linear(**SOUND | {"inputs": 5} | change)


@needs_kernels
@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"x": X[0]}, ShapeError, r"x: must be an array of float32 \(examples, inputs\)"),
        ({"x": X.astype(np.float16)}, ShapeError, "x: must be .* got float16"),
        ({"x": X[:, :4]}, OutsideError, "a column must be from 0 to 3; got 4"),
        ({"threads": 0}, ConfigError, "threads: must be a whole number from 1"),
        ({"variant": "neon"}, KernelError, "variant: must be one of portable.* got 'neon'"),
    ],
)
def test_a_call_refuses_what_its_kernel_cannot_read(arguments, kind, message):  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=message):
        call.sparse_linear(**{"x": X, "variant": "portable"} | SOUND | arguments)
