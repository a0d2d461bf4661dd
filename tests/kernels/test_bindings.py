"""The border to the compiled module: nothing is converted, nothing is copied, nothing is guessed."""

import numpy as np
import pytest
from kernel_cases import conv_of, needs_kernels, run_region

from wieldy.kernels.native import native
from wieldy.kernels.region.ops import Size
from wieldy.kernels.region.plan import plan_region

pytestmark = needs_kernels
X = np.ones((2, 1, 3, 4), np.float32)
OP = conv_of(np.ones((1, 1, 1, 1), np.float32))


@pytest.fixture
def arguments():  # type: ignore[no-untyped-def]
    plan = plan_region({"x": Size(1, 3, 4)}, [OP], ["out"], variant="portable", threads=1)
    return {
        "steps": plan.steps, "indices": plan.indices, "values": plan.values,
        "workspace_floats": plan.workspace_floats, "inputs": [X], "outputs": [np.zeros_like(X)],
        "variant": "portable", "level_variant": "", "threads": 1,
    }  # fmt: skip


def test_an_output_is_written_where_it_lies(arguments):
    native().run_region(**arguments)
    np.testing.assert_array_equal(arguments["outputs"][0], X)


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": [X.astype(np.float64)]},
        {"inputs": [X[:, :, ::2]]},
        {"inputs": [X.tolist()]},
        {"outputs": [np.zeros((2, 1, 3, 4))]},
        {"outputs": [np.zeros((2, 1, 3, 8), np.float32)[..., ::2]]},
        {"outputs": [np.broadcast_to(np.float32(0), X.shape)]},
        {"steps": np.zeros(9, np.int64)},
        {"indices": np.zeros((3, 3), np.int32)},
        {"values": np.zeros(3)},
    ],
)
def test_what_would_have_to_be_converted_or_copied_is_refused(arguments, change):  # type: ignore[no-untyped-def]
    with pytest.raises(TypeError, match="incompatible function arguments"):
        native().run_region(**arguments | change)


def test_an_output_that_may_not_be_written_is_refused(arguments):
    locked = np.zeros_like(X)
    locked.flags.writeable = False
    with pytest.raises(TypeError, match="incompatible function arguments"):
        native().run_region(**arguments | {"outputs": [locked]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "sse9"}, "variant: must be one of portable.* got 'sse9'"),
        ({"threads": 0}, "threads: must be at least 1; got 0"),
        ({"repeats": 0}, "repeats: must be at least 1; got 0"),
        ({"inputs": []}, "there must be an input"),
        ({"outputs": [np.zeros((1, 1, 3, 4), np.float32)]}, "must hold as many examples"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, change, message):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        native().run_region(**arguments | change)


def test_every_step_of_every_example_and_repeat_is_timed(arguments):
    times = native().run_region(**arguments, repeats=3)
    assert [len(run) for run in times] == [3] * 6  # load, chain, store
    assert min(map(min, times)) >= 0


def test_every_line_of_the_memory_to_evict_with_is_written_before_each_run(arguments):
    memory = np.zeros(5 * 16 + 3, np.float32)
    native().run_region(**arguments, repeats=3, evict=memory)
    assert memory[: 5 * 16 : 16].tolist() == [6] * 5  # two examples, three times
    native().evict(memory, threads=2)
    assert memory[: 5 * 16 : 16].tolist() == [7] * 5


def test_a_run_leaves_its_inputs_as_they_were():
    x = X.copy()
    run_region({"x": x}, [OP], ["out"], variant="portable")
    np.testing.assert_array_equal(x, X)
