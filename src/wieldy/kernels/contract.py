"""What a kernel promises about its results: an error bound that is a theorem, and is tested as one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNIT = 2.0**-24  # half the distance from 1 to the next float32: the largest relative error of one rounding
SMALLEST = 2.0**-149  # float32: what a product that underflows may lose, rounded up


@dataclass(frozen=True)
class Contract:
    """How far a result may lie from that of the reference.

    With n = ulps * (terms + 3) and u = 2^-24::

        |found - reference| <= n u / (1 - n u) * magnitude + terms * 2^-149

    Holds for any order of summation in float32, with or without fused multiply-add, as long as no sum
    overflows: a term is rounded once when it is multiplied and at most terms + 1 times when the others, the
    bias and the residual are added; (1 + u)^(terms + 2) - 1 is below n u / (1 - n u). What is left of the
    three covers the reference's own rounding in float64. A clamp brings no two numbers further apart.

    Attributes:
        name: of the kernel.
        relative_to: what the magnitude is.
        ulps: roundings of a term, in units of u.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, lemma 3.1 and section 3.1.

    Example:
        >>> contract = Contract("dot", "sum |v*x|")
        >>> bool(contract.bound(np.array(1), np.array(1.0)) < 2.5e-7)
        True
    """

    name: str
    relative_to: str
    ulps: int = 1

    def bound(self, terms: NDArray[np.int64], magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the largest error of results of so many terms and such magnitudes, elementwise."""
        roundings = self.ulps * (terms + 3) * UNIT
        bound: NDArray[np.float64] = roundings / (1 - roundings) * magnitude + terms * SMALLEST
        return bound
