"""How long a layer takes on one machine at one tier: a linear model of its work, fitted to measured times.

Source: Faster CNNs with Direct Sparse Convolutions and Guided Pruning (arXiv 1608.01409), section 3.2: dense
time is work over the machine's rate; sparse time is the work of the non-zeros at a lower rate, or what memory
allows. Here the terms add up, with coefficients of at least 0, since on two cores they overlap little:

    dense   t = a * MACs + b * activation bytes + c * weight bytes + d
    zeros   t = a1 * values * positions (1x1) + ak * values * positions (k x k)
              + r * output channels * positions + b * activation bytes + c * stored bytes + d

Eight bits have terms of their own: `int8` is dense, `int8_1x4` by blocks of four input channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from wieldy.formats import BY_BLOCK
from wieldy.graph.ops import LINEAR
from wieldy.graph.program import Node, Program

FLOAT_BYTES, COLUMN_BYTES = 4, 4
BLOCKS = {name: block for block, name in BY_BLOCK.items()}
IN_LEVELS, IN_BLOCKS = "int8", "int8_1x4"  # whatever bits a tier multiplies
DENSE = ("dense", IN_LEVELS)
PER_COLUMN = BLOCKS | {IN_BLOCKS: 4}  # values for each place that is stored


@dataclass(frozen=True)
class Work:
    """What a layer has to do for one example.

    Attributes:
        kind: conv, depthwise or linear.
        weights: of the dense layer.
        area: of the kernel.
        rows: output channels.
        positions: pixels of an output channel.
        activations: numbers read and written.
        strided: whether the input must be split into phases.
        inputs: numbers read.
    """

    kind: str
    weights: int
    area: int
    rows: int
    positions: int
    activations: int
    inputs: int
    strided: bool

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer."""
        return self.weights * self.positions


def work_of(program: Program, node: Node) -> Work:
    """Return the work of a convolution or a linear layer."""
    weight = program.tensors[next(node.stored())].shape
    read = prod(size or 1 for size in program.shape(next(node.refs()))[1:])
    made = prod(size or 1 for size in node.shape[1:])
    weights = prod(size or 1 for size in weight)
    rows = weight[0] or 1
    if node.op == LINEAR:
        return Work("linear", weights, 1, rows, made // rows, read + made, read, False)
    kind = "depthwise" if node.groups > 1 and node.groups == rows else "conv"
    stride = node.inputs["stride"]
    area = prod(size or 1 for size in weight[2:])
    strided = isinstance(stride, tuple) and any(step != 1 for step in stride)
    return Work(kind, weights, area, rows, made // rows, read + made, read, strided)


def features(form: str, work: Work, values: int | None = None) -> NDArray[np.float64]:
    """Return the terms of the model, in millions.

    Args:
        form: one of DENSE or PER_COLUMN.
        work: of the layer.
        values: stored ones, those that fill up blocks included; for a form with zeros.
    """
    moved = FLOAT_BYTES * work.activations
    if form in DENSE:
        found = [work.macs, moved, FLOAT_BYTES * work.weights, 1e6]
    else:
        kept = work.weights if values is None else values
        stored = kept * FLOAT_BYTES + kept // PER_COLUMN[form] * COLUMN_BYTES
        split = 2 * FLOAT_BYTES * work.inputs if work.strided else 0
        multiplied = kept * work.positions
        pointwise = work.area == 1
        found = [
            multiplied * pointwise, multiplied * (not pointwise), work.rows * work.positions, moved + split,
            stored, 1e6,
        ]  # fmt: skip
    return np.array(found) / 1e6


@dataclass(frozen=True)
class CostTable:
    """Milliseconds of a layer's work, for one machine, tier and number of threads.

    Attributes:
        cpu, tier, threads: what was measured.
        terms: coefficients by form and kind, such as `csr/conv`.
        edge_ms_per_mb: of carrying activations into or out of a region.
    """

    cpu: str
    tier: str
    threads: int
    terms: Mapping[str, tuple[float, ...]]
    edge_ms_per_mb: float

    @property
    def knows_levels(self) -> bool:
        """Whether layers in eight bits were measured, too."""
        return f"{IN_LEVELS}/conv" in self.terms and f"{IN_BLOCKS}/conv" in self.terms

    def ms(self, form: str, work: Work, values: int | None = None) -> float:
        """Return the milliseconds of a layer in a form."""
        return float(np.dot(self.terms[f"{form}/{work.kind}"], features(form, work, values)))

    def crossover(self, form: str, work: Work) -> float:
        """Return the density below which a form is faster than dense; 0 where it never is, 1 where always.

        The band in which zeros pay is from 0 to there: time falls with density all the way down.
        """
        dense = self.ms("dense", work)
        empty, full = (self.ms(form, work, values) for values in (0, work.weights))
        if empty >= dense:
            return 0.0
        return min(1.0, (dense - empty) / (full - empty)) if full > empty else 1.0


def fit_terms(rows: Sequence[NDArray[np.float64]], times_ms: Sequence[float]) -> tuple[float, ...]:
    """Return coefficients of at least 0 that explain measured times with the least relative error.

    Args:
        rows: features of what was timed; those of several layers timed together are added up.
        times_ms: above 0.
    """
    from scipy.optimize import nnls

    times = np.array(times_ms)
    solution, _ = nnls(np.stack(rows) / times[:, None], np.ones(len(times)))
    return tuple(float(value) for value in solution)
