"""Where the numbers of values lie: least, largest, means by channel and a histogram, over some examples."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wieldy.core import lock
from wieldy.core.errors import DataError
from wieldy.core.progress import Progress, Silent
from wieldy.graph.network import GraphNetwork
from wieldy.graph.tensors import tensors
from wieldy.stats.modes import evaluating

BINS = 2048


@dataclass
class ValueRange:
    """What is known of one value.

    Attributes:
        least, largest: of all its numbers.
        counts: (BINS,) of a histogram from least to largest.
        channel_means: (channels,) means over everything but the axis of channels.
        examples: how many examples it was seen on.
    """

    least: float = np.inf
    largest: float = -np.inf
    counts: NDArray[np.int64] | None = None
    channel_means: NDArray[np.float64] | None = None
    examples: int = 0

    @property
    def edges(self) -> NDArray[np.float64]:
        """The edges of the histogram's bins."""
        return np.linspace(self.least, self.largest, BINS + 1)


Ranges = dict[str, ValueRange]


def collect_ranges(
    network: GraphNetwork,
    batches: Iterable[tuple[NDArray[np.generic], ...]],
    axes: Mapping[str, int],
    *,
    progress: Progress | None = None,
) -> Ranges:
    """Run over examples twice, in evaluation mode: for the ends of each range, then for its histogram.

    Args:
        network: not altered.
        batches: the same tuples of inputs each time it is iterated.
        axes: for nodes and inputs of its program, the axis of channels.

    Raises:
        DataError: there are no examples, or a value is NaN or infinite on them.

    Cost: two forward passes; memory for one batch.
    """
    found = {name: ValueRange() for name in axes}
    inputs = list(network.program.inputs)
    held = [tensors(batch) for batch in batches]
    if not held:
        raise DataError("calibration: holds no examples; at least one is needed.")
    with lock.working(), evaluating(network), torch.no_grad():
        seen = network.watch([name for name in axes if name not in inputs])
        for only_ends in (True, False):
            text = "finding ranges" if only_ends else "filling histograms"
            with (progress or Silent()).task(text, len(held)) as task:
                for batch in held:
                    network(*batch)
                    values = dict(zip(inputs, batch, strict=True)) | dict(seen)
                    for name, axis in axes.items():
                        if only_ends:
                            _ends(name, found[name], values[name], axis)
                        else:
                            _fill(found[name], values[name])
                    task.advance(1)
        network.watch(())
    return found


def _ends(name: str, known: ValueRange, value: torch.Tensor, axis: int) -> None:
    if not torch.isfinite(value).all():
        raise DataError(
            f"calibration: {name} is NaN or infinite on an example. Check the examples and the network."
        )
    known.least = min(known.least, float(value.min()))
    known.largest = max(known.largest, float(value.max()))
    means = value.double().mean(dim=[k for k in range(value.ndim) if k != axis]).numpy()
    count = len(value)
    before = 0.0 if known.channel_means is None else known.channel_means * known.examples
    known.examples += count
    known.channel_means = (before + means * count) / known.examples


def _fill(known: ValueRange, value: torch.Tensor) -> None:
    if known.least < known.largest:
        counts = torch.histc(value, BINS, known.least, known.largest).numpy().astype(np.int64)
        known.counts = counts if known.counts is None else known.counts + counts
