"""The engine: direct sparse convolution is exact, its model predicts it, and it beats lowered products.

Source: Park et al., "Faster CNNs with Direct Sparse Convolutions and Guided Pruning", ICLR 2017 (arXiv
1608.01409). Measured on this machine at its own tier, in one process: kernels against kernels, no networks.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from wieldy.claims.subjects import claiming
from wieldy.core import rng
from wieldy.core.progress import Progress
from wieldy.core.records import Claim
from wieldy.formats.sparse import block_rows
from wieldy.graph.cost_table import fit_terms
from wieldy.kernels.native import variant_for
from wieldy.kernels.region.ops import Conv, Size
from wieldy.kernels.region.plan import plan_region
from wieldy.kernels.region.run import run_plan
from wieldy.kernels.sparse_conv.call import sparse_conv
from wieldy.runtime.calibrate import (
    DENSITIES,
    convolutions,
    masked_weights,
    random_weights,
    time_dense,
    time_zeros,
)  # fmt: skip
from wieldy.runtime.cost_rows import SPARSE_TERMS, Rows
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier
from wieldy.runtime.timing import paired_ratio, time_pairs

SOURCE = "Park et al., ICLR 2017"
claim = claiming("sparsecnn", SOURCE)
Array = NDArray[np.float32]
Kernel = Callable[[Array, Conv], Array]
SHAPES = 200
LOWERED = ((256, 14), (128, 28))  # channels and side of the 3x3 convolutions that are timed
SPARSE = 0.1  # density at which direct has to beat lowered
ROUNDS = 15


def compiled(x: Array, op: Conv) -> Array:
    """Run one sparse convolution on this CPU's own variant."""
    return sparse_conv(x, op, variant=variant_for(current_tier()), threads=usable_cores())


def measure(quick: bool, progress: Progress, kernel: Kernel = compiled) -> list[Claim]:
    """Return the claims; in quick mode every time is taken once instead of three times."""
    with progress.task("the sparse engine", 3) as task:
        found = [equality(kernel)]
        task.advance(1, "equality")
        found += model(1 if quick else 3)
        task.advance(1, "performance model")
        found += [gain(channels, side) for channels, side in LOWERED]
        task.advance(1, "gain")
    return found


def cases(count: int) -> Iterator[tuple[Array, Conv, Array]]:
    """Yield inputs, operations and dense weights of random convolutions; some rows are empty."""
    draw = rng.generator(0, "claims", "sparsecnn")
    for _ in range(count):
        groups = int(draw.choice([1, 1, 2, 4]))
        rows, columns = (groups * int(draw.integers(1, 13)) for _ in range(2))
        size, stride, dilation = (int(draw.integers(1, top)) for top in (6, 4, 3))
        padding = int(draw.integers(0, size))
        side = dilation * (size - 1) + 1 + int(draw.integers(0, 20))
        weight = draw.standard_normal((rows, columns // groups, size, size)).astype(np.float32)
        weight *= draw.random(weight.shape) < draw.choice([0.05, 0.3, 1.0])
        weight[draw.random(rows) < 0.2] = 0
        x = draw.standard_normal((int(draw.integers(1, 3)), columns, side, side)).astype(np.float32)
        bias = draw.standard_normal(rows).astype(np.float32)
        yield x, operation(weight, bias, stride, padding, dilation, groups), weight


def operation(weight: Array, bias: Array, stride: int, padding: int, dilation: int, groups: int) -> Conv:
    """Return a convolution as the kernels take it."""
    held = block_rows(weight)
    return Conv(
        "x", "y", len(weight), 1, held.starts, held.columns, held.values, bias,
        (weight.shape[2], weight.shape[3]), (stride, stride), (padding, padding), (dilation, dilation),
        groups,
    )  # fmt: skip


def equality(kernel: Kernel) -> Claim:
    """The kernel against torch's dense convolution in float64, over random shapes."""
    worst = 0.0
    for x, op, weight in cases(SHAPES):
        given, dense, bias = (torch.from_numpy(array).double() for array in (x, weight, op.bias))
        wanted = F.conv2d(given, dense, bias, op.stride, op.padding, op.dilation, op.groups).numpy()
        away = np.abs(kernel(x, op) - wanted).max() / max(1.0, np.abs(wanted).max())
        worst = max(worst, float(away))
    return claim(f"largest relative error against dense, {SHAPES} random shapes", worst, "<=", 1e-4)


def model(rounds: int) -> list[Claim]:
    """Fit the model on half of the densities; predict the others, and where dense takes over."""
    threads, draw = usable_cores(), rng.generator(0, "claims", "model")
    program = convolutions()
    arrays = random_weights(program, draw)
    masks = [masked_weights(arrays, 1, density, draw) for density in DENSITIES]
    dense, sparse = [], []
    for _ in range(rounds):
        rows: Rows = defaultdict(list)
        time_dense(program, arrays, threads, rows)
        dense.append([ms for kind in ("dense/conv", "dense/depthwise") for _, ms in rows[kind]])
        for masked in masks:
            time_zeros(program, masked, "csr", 1, threads, rows)
        sparse.append([ms for _, ms in rows["csr"]])
    times = np.median(sparse, axis=0).reshape(len(DENSITIES), -1)
    features = np.array([row for row, _ in rows["csr"]]).reshape(*times.shape, 2 * SPARSE_TERMS)
    return predicted(features, times, float(np.median(dense, axis=0).sum()))


def predicted(features: NDArray[np.float64], times: NDArray[np.float64], dense_ms: float) -> list[Claim]:
    """Compare predictions with times.

    Args:
        features: (densities, chains, terms).
        times: (densities, chains) milliseconds.
        dense_ms: of all layers.
    """
    fitted, held_out = slice(0, None, 2), slice(1, None, 2)
    terms = fit_terms(list(features[fitted].reshape(-1, features.shape[2])), times[fitted].ravel().tolist())
    told = features @ np.array(terms)
    away = float(np.median(np.abs(told[held_out] - times[held_out]) / times[held_out]))
    densities = np.array(DENSITIES)
    crossings = [float(np.interp(dense_ms, side.sum(1), densities)) for side in (told, times)]
    return [
        claim("median relative error at densities that it was not fitted on", away, "<=", 0.3),
        claim(
            f"crossover of many layers, predicted {crossings[0]:.2f}, measured {crossings[1]:.2f}, apart",
            abs(crossings[0] - crossings[1]), "<=", 0.1,
        ),
    ]  # fmt: skip


def gain(channels: int, side: int) -> Claim:
    """A direct 3x3 convolution over the same one as a sparse product with an unfolded input."""
    draw = rng.generator(0, "claims", "gain", channels)
    weight = draw.standard_normal((channels, channels, 3, 3)).astype(np.float32)
    weight *= draw.random(weight.shape) < SPARSE
    op = operation(weight, np.zeros(channels, np.float32), 1, 1, 1, 1)
    threads = usable_cores()
    x = draw.standard_normal((1, channels, side, side)).astype(np.float32)
    plan = plan_region(
        {"x": Size(channels, side, side)}, [op], ["y"], variant=variant_for(current_tier()), threads=threads
    )
    matrix, tensor = csr_matrix(weight.reshape(channels, -1)), torch.from_numpy(x)

    def lowered() -> object:
        return matrix @ F.unfold(tensor, 3, padding=1)[0].numpy()

    times = time_pairs(lowered, partial(run_plan, plan, [x], threads=threads), ROUNDS)
    what = (
        f"direct over lowered CSR, 3x3, {channels} channels at {side}x{side}, {SPARSE:.0%} kept, milliseconds"
    )
    return claim(what, paired_ratio(times).value, "<", 1.0)
