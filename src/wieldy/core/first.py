"""The first examples of a set: for statistics, rehearsals and judgements that need not see all."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from wieldy.core.data import Batch, Inputs, Split, count, part


def first_inputs(split: Split, examples: int, batch_size: int) -> Iterator[Inputs]:
    """Yield the inputs of the first examples of a set; the last batch is cut."""
    left = examples
    for x, _ in split.batches(batch_size):
        yield part(x, slice(left))
        left -= count(x)
        if left <= 0:
            return


@dataclass(frozen=True)
class First:
    """The first batches of a set, in whatever order it is read.

    Args:
        whole: the set.
        examples: how many, at least; batches are not cut.
    """

    whole: Split
    examples: int

    @property
    def size(self) -> int:
        """How many examples there are."""
        return min(self.examples, self.whole.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.whole.shape

    @property
    def labels(self) -> int:
        """One more than the largest label of the whole set."""
        return self.whole.labels

    def steps(self, batch_size: int) -> int:
        """Return how many batches `batches(batch_size)` yields."""
        whole = self.whole.steps(batch_size)
        return min(whole, -(-whole * self.size // self.whole.size))

    def batches(self, batch_size: int, order: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield that many batches of the set."""
        yield from islice(self.whole.batches(batch_size, order), self.steps(batch_size))
