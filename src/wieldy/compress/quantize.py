"""Eight bits after training: norms folded, ranges measured on a few examples, layers rounded."""

import copy
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from wieldy.core.data import Data, count, each, part
from wieldy.core.errors import ConfigError
from wieldy.core.progress import Progress
from wieldy.core.records import Change, Refused
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.methods.quantize.integer import NAME, IntegerConfig, apply, prepare
from wieldy.runtime.inputs import random_inputs
from wieldy.stats.collect import Stats
from wieldy.stats.ranges import collect_ranges

EXAMPLES, BATCH = 300, 50
ROUGH_EXAMPLES = 8  # levels must be there, not good
Inputs = tuple[NDArray[np.generic], ...]


def quantize(
    network: GraphNetwork,
    calibration: Data | Iterable[Inputs],
    config: IntegerConfig | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[GraphNetwork, tuple[Change | Refused, ...]]:
    """Return a network whose convolutions and linear layers compute in eight bits, and what became of each.

    Args:
        network: traced and trained; not altered.
        calibration: data, of whose training set 300 examples are read, or batches of inputs, each a tuple.
        config: how ranges are chosen, and which layers stay in float32.

    Raises:
        ConfigError: `config.keep` names no layer with weights.
        DataError: no examples, or a value is NaN or infinite on them.

    Cost: two forward passes over the examples; a copy of the weights.
    """
    small = copy.deepcopy(need_traced(network, "quantize"))
    layers = small.program.weighted_layers()
    config = config or IntegerConfig()
    keep = config.keep
    unknown = set(keep) - set(layers)
    if unknown:
        raise ConfigError(
            f"quantize: keep names {min(unknown)!r}, which is no layer with weights; those are "
            f"{', '.join(layers)}."
        )
    scope = [layer for layer in layers if layer not in keep]
    batches = _first(calibration) if isinstance(calibration, Data) else list(calibration)
    ranges = collect_ranges(small, batches, prepare(small, scope), progress=progress)
    records = tuple(apply(small, scope, Stats(ranges=ranges), config))
    kept = (Refused(layer=layer, method=NAME, reason="it is to stay in float32") for layer in keep)
    return small, (*records, *kept)


def quantize_roughly(network: GraphNetwork, config: IntegerConfig) -> GraphNetwork:
    """Return a network in eight bits for timing alone: its ranges are those of a few random inputs.

    Raises:
        ConfigError: no layer can compute in eight bits.
    """
    small, records = quantize(network, [random_inputs(network.program, ROUGH_EXAMPLES)], config)
    if not any(isinstance(record, Change) for record in records):
        raise ConfigError("quantize: no layer can compute in eight bits.")
    return small


def _first(data: Data) -> list[Inputs]:
    """Return the first training examples."""
    batches: list[Inputs] = []
    left = EXAMPLES
    for x, _ in data.train.batches(BATCH):
        batches.append(each(part(x, slice(left))))
        left -= count(batches[-1])
        if left <= 0:
            break
    return batches
