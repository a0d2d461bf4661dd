"""Bounds on the outputs of a program over boxes of inputs, and on how far a class is ahead of the others."""

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wieldy.assure.bounds.crown import Backward, refined
from wieldy.assure.bounds.ibp import boxes_of
from wieldy.assure.bounds.relaxed import Relax, relax
from wieldy.assure.bounds.rounding import Box
from wieldy.assure.bounds.steps import Steps
from wieldy.core.data import Rows, count, each
from wieldy.core.errors import ConfigError, ShapeError

Floats = NDArray[np.float64]
Method = Literal["both", "ibp", "crown"]
MOST_MACS = 10**11  # of CROWN for one example; about a minute of one core


def enclose(
    steps: Steps, low: Rows, high: Rows, *, method: Method = "both", lines: Relax = relax
) -> tuple[Floats, Floats]:
    """Return bounds on a network's output for all inputs of a box, rounded outwards.

    For every x with low <= x <= high, entry by entry: found low <= f(x) <= found high, where f is the network
    in real arithmetic, its tensors and literals taken as the exact numbers that they are. The same holds for
    f evaluated in float64, in any order of its sums. A runtime in float32 rounds more than that, and may
    leave the bounds by as much; how far it is off is not part of them.

    Args:
        steps: of the network, by `steps_of`.
        low, high: (n, ...) ends of n boxes, or tuples of them, one for each input.
        method: "ibp", "crown", or "both": the intersection of the two.
        lines: how bends are relaxed.

    Returns:
        Two (n, ...) arrays.

    Raises:
        ShapeError: the ends do not fit the inputs or each other.
        ConfigError: CROWN would take too long for this network.

    Cost: intervals, two passes in float64; CROWN, for each example, two passes back to the inputs for every
    output and for every undecided entry that goes into a bend.

    Source: Gowal et al. 2018 (arXiv 1810.12715); Zhang et al., NeurIPS 2018 (arXiv 1811.00866).

    Example:
        >>> from wieldy.assure.bounds.steps import steps_of
        >>> from wieldy.graph.trace import trace
        >>> network = trace(torch.nn.ReLU(), torch.zeros(1, 2))
        >>> steps = steps_of(network.program, network.arrays())
        >>> low, high = enclose(steps, np.array([[-1.0, 1.0]]), np.array([[2.0, 3.0]]))
        >>> low.round(9).tolist(), high.round(9).tolist()
        ([[0.0, 1.0]], [[2.0, 3.0]])
    """
    found = [around.output(method) for around in arounds(steps, low, high, lines)]
    return tuple(torch.cat([getattr(box, end) for box in found]).numpy() for end in ("low", "high"))  # type: ignore[return-value]


def margins(
    steps: Steps,
    low: Rows,
    high: Rows,
    labels: NDArray[np.int64],
    *,
    method: Method = "both",
    lines: Relax = relax,
) -> Floats:
    """Return by how much the logit of a class at least exceeds every other one, for all inputs of a box.

    margin_j <= f_label(x) - f_j(x) for every x of the box. The difference is taken before bounding, so what
    both logits share cancels. Where all are above 0, no input of the box is given another class.

    Args:
        steps, low, high, method, lines: as `enclose` takes them; the output is (n, classes).
        labels: (n,).

    Returns:
        (n, classes); infinite at the label itself.

    Raises:
        ShapeError, ConfigError: as `enclose`; or the output is no row of logits.
    """
    found = zip(arounds(steps, low, high, lines), labels, strict=True)
    return np.stack([around.margins(int(label), method) for around, label in found])


class Around:
    """A network around one example: every bound is computed when it is asked for, and kept.

    Attributes:
        spent: how many multiply-adds CROWN took so far.
    """

    def __init__(self, steps: Steps, inputs: Mapping[str, Box], lines: Relax = relax) -> None:
        self._steps, self._inputs, self._relax = steps, inputs, lines
        self.spent = 0

    def output(self, method: Method = "both") -> Box:
        """Return the box of the output."""
        name = self._steps.output
        by_intervals = self._by_intervals[name]
        if method == "ibp":
            return by_intervals
        shape = by_intervals.low.shape
        rows = torch.eye(by_intervals.low.numel(), dtype=torch.float64).reshape(-1, *shape[1:])
        back = Backward(self._steps, self._by_crown, self._relax)
        found = Box(*(end.reshape(shape) for end in back.between(name, rows)))
        return found if method == "crown" else found.meets(by_intervals)

    def margins(self, label: int, method: Method = "both") -> Floats:
        """Return (classes,) lower bounds on how far a label is ahead, infinite at the label."""
        shape = self._steps.program.shape(self._steps.output)
        if len(shape) != 2:
            raise ShapeError(f"bounds: margins are of outputs (n, classes); this network's is {shape}.")
        ahead = -torch.eye(int(shape[1] or 0), dtype=torch.float64)
        ahead[:, label] += 1
        found = []
        if method != "crown":
            found.append(Backward(self._steps, self._by_intervals, None))
        if method != "ibp":
            found.append(Backward(self._steps, self._by_crown, self._relax))
        bounds = np.max([back.lower(self._steps.output, ahead).numpy() for back in found], axis=0)
        bounds[label] = np.inf
        return np.asarray(bounds)

    @cached_property
    def _by_intervals(self) -> dict[str, Box]:
        return boxes_of(self._steps, self._inputs)

    @cached_property
    def _by_crown(self) -> dict[str, Box]:
        if reason := too_large(self._steps):
            raise ConfigError(f'bounds: {reason}. Use method="ibp".')
        boxes, self.spent = refined(self._steps, self._inputs, self._relax)
        return boxes


def arounds(steps: Steps, low: Rows, high: Rows, lines: Relax = relax) -> list[Around]:
    """Return a network around each of n examples.

    Raises:
        ShapeError: the ends do not fit the inputs or each other.
    """
    boxes = {}
    names, ends = tuple(steps.program.inputs), tuple(zip(each(low), each(high), strict=True))
    if len(names) != len(ends):
        raise ShapeError(f"bounds: the network takes {len(names)} inputs; got {len(ends)}.")
    for name, (one, other) in zip(names, ends, strict=True):
        wanted = steps.program.inputs[name].shape[1:]
        shapes = (np.shape(one), np.shape(other))
        if {shape[1:] for shape in shapes} != {wanted} or shapes[0] != shapes[1] or not (one <= other).all():
            raise ShapeError(
                f"bounds: the ends of {name!r} must be (n, {', '.join(map(str, wanted))}), low <= high; got "
                f"{shapes[0]} and {shapes[1]}."
            )
        boxes[name] = Box(_exact(one), _exact(other))
    apart = [{name: box.of(index) for name, box in boxes.items()} for index in range(count(low))]
    return [Around(steps, inputs, lines) for inputs in apart]


def too_large(steps: Steps) -> str:
    """Return why a network is too large for CROWN, or nothing."""
    if steps.crown_macs <= MOST_MACS:
        return ""
    return (
        f"CROWN may take {MOST_MACS:.0e} multiply-adds for an example; with {steps.bends:,} values that go "
        f"into a bend this network may need {steps.crown_macs:.1e}"
    )


def _exact(array: NDArray[np.generic]) -> Tensor:
    """float32 and float64 as float64."""
    return torch.from_numpy(np.asarray(array, np.float64))
