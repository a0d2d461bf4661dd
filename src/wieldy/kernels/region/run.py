"""Running a planned region from Python, on the threads of an arena of its own."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wieldy.kernels.native import native
from wieldy.kernels.region.ops import RegionPlan


def run_plan(
    plan: RegionPlan,
    inputs: Sequence[NDArray[np.float32]],
    *,
    threads: int,
    repeats: int = 1,
    evict: NDArray[np.float32] | None = None,
) -> tuple[list[NDArray[np.float32]], NDArray[np.float64]]:
    """Return the outputs of a region, and the milliseconds of each step of each run.

    Args:
        plan: what `plan_region` returned.
        inputs: (batch, channels, height, width) float32, or channels last where the plan says so;
            contiguous, in the plan's order.
        threads: at least 1.
        repeats: how often all examples are computed.
        evict: written over before each run, so that the run finds what it needs in no cache.

    Returns:
        Arrays (batch, *shape of the plan) float32, and (repeats * batch, steps) float64.

    Raises:
        KernelError: there are no compiled kernels.
    """
    outputs = [np.zeros((len(inputs[0]), *shape), np.float32) for shape in plan.outputs]
    times = native().run_region(
        plan.steps, plan.indices, plan.values, plan.workspace_floats, list(inputs), outputs, plan.variant,
        plan.level_variant, threads, repeats, evict,
    )  # fmt: skip
    return outputs, np.array(times)
