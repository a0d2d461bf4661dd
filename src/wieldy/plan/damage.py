"""How far a network's answers are from the original's: what a plan weighs against milliseconds.

Of class logits it is the mean over examples of KL(softmax(original) || softmax(other)); of other outputs the
mean square of the difference over that of the original's. Either needs no labels and is 0 for the original.
"""

import sys

import torch
from torch import Tensor

from wieldy.core import lock
from wieldy.core.data import Data
from wieldy.core.first import first_inputs
from wieldy.graph.network import GraphNetwork
from wieldy.graph.tensors import all_of, tensors
from wieldy.stats.modes import evaluating
from wieldy.train.distill import divergence
from wieldy.train.features import distance

EXAMPLES, BATCH = 512, 128
BROKEN = sys.float_info.max  # of answers that are not finite; a ledger holds no infinity


class Damage:
    """What a network's answers to some validation examples are worth beside the original's.

    Args:
        network: the original; asked once.
        data: of whose validation set the first examples are read.
        examples: how many.

    Cost: one forward pass over the examples, and one for each network that is judged.
    """

    def __init__(self, network: GraphNetwork, data: Data, examples: int = EXAMPLES) -> None:
        self._labels = data.metric.labels
        self._inputs = [tensors(inputs) for inputs in first_inputs(data.validate, examples, BATCH)]
        with lock.working():
            self._wanted = [_answers(network, inputs) for inputs in self._inputs]

    def of(self, network: GraphNetwork) -> float:
        """Return the damage of a network; the largest number there is where an answer is not finite."""
        total, seen = 0.0, 0
        with lock.working():
            for inputs, wanted in zip(self._inputs, self._wanted, strict=True):
                found = _answers(network, inputs)
                size = len(wanted[0])
                apart = [self._apart(*pair) for pair in zip(found, wanted, strict=True)]
                total, seen = total + size * sum(apart) / len(apart), seen + size
        return min(BROKEN, total / seen)

    def _apart(self, found: Tensor, wanted: Tensor) -> float:
        if not torch.isfinite(found).all():
            return float("inf")
        if self._labels and wanted.ndim == 2:
            return float(divergence(found, wanted, 1.0))
        return float(distance(found, wanted))


@torch.no_grad()
def _answers(network: GraphNetwork, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with evaluating(network):
        return tuple(value.float() for value in all_of(network(*inputs)))
