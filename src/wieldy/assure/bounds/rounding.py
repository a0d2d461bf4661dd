"""Boxes in float64 that stay sound whatever floating point loses: every end is moved outwards.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, sections 3.1 and 3.4: a sum of n
products, added in any order, is off by at most gamma_n = n u / (1 - n u) times the sum of their sizes. All
that is computed here is a few such sums, so each gets that much back, twice: once for our own rounding, once
for that of whoever runs the network in float64 and compares. Assumed are IEEE arithmetic with u = 2^-53 and
matrix products made of sums of products, as torch makes them in float64 on a CPU. A product that underflows
loses less than 2^-1022, also where such numbers are flushed to zero; `UNDERFLOW` outweighs 2^22 of them.

A number that is no number any more (infinity minus infinity) stands for "anything".
"""

from dataclasses import dataclass

import torch
from torch import Tensor

UNIT = 2.0**-53  # u, the largest relative error of one operation
UNDERFLOW = 2.0**-1000
INFINITY = torch.tensor(torch.inf, dtype=torch.float64)


def gamma(terms: int) -> float:
    """Return 2 gamma_n: what a sum of so many rounded terms may be off, relative to their sizes, twice.

    Example:
        >>> gamma(0), gamma(1) > 2 * UNIT
        (0.0, True)
    """
    return 2.0 * terms * UNIT / (1 - 2 * terms * UNIT)


def below(values: Tensor) -> Tensor:
    """Return the next smaller numbers; of what is no number, minus infinity."""
    return torch.nextafter(values, -INFINITY).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def above(values: Tensor) -> Tensor:
    """Return the next larger numbers; of what is no number, infinity."""
    return -below(-values)


@dataclass(frozen=True)
class Box:
    """All tensors between `low` and `high`, (n, ...) float64, one box for each of n examples.

    Example:
        >>> box = Box(torch.zeros(1, 2).double(), torch.ones(1, 2).double())
        >>> box.meets(Box(box.low - 1, box.high / 2)).high.tolist()
        [[0.5, 0.5]]
    """

    low: Tensor
    high: Tensor

    @property
    def largest(self) -> Tensor:
        """The largest magnitude of every entry."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def centred(self) -> tuple[Tensor, Tensor]:
        """Return a centre, and a radius around it that reaches both ends."""
        centre = 0.5 * self.low + 0.5 * self.high
        return centre, above(torch.maximum(self.high - centre, centre - self.low))

    def meets(self, other: "Box") -> "Box":
        """Return what lies in both."""
        return Box(torch.maximum(self.low, other.low), torch.minimum(self.high, other.high))

    def of(self, example: int) -> "Box":
        """Return the box of one example."""
        return Box(self.low[example : example + 1], self.high[example : example + 1])
