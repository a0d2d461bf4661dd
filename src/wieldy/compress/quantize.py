"""Eight bits after training: norms folded, ranges measured on a few examples, layers rounded.

Three ways to choose ranges are tried, and what leaves the outputs nearest on the examples is kept.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wieldy.core import lock
from wieldy.core.data import Data, each
from wieldy.core.errors import ConfigError
from wieldy.core.first import first_inputs
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Change, Refused
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.tensors import all_of, tensors
from wieldy.methods.quantize.integer import NAME, IntegerConfig, RangeRule, apply, prepare
from wieldy.runtime.inputs import random_inputs
from wieldy.stats.collect import Stats
from wieldy.stats.modes import evaluating
from wieldy.stats.ranges import collect_ranges

EXAMPLES, BATCH = 300, 50
ROUGH_EXAMPLES = 8  # levels must be there, not good
TRIED: tuple[RangeRule, ...] = ("error", "squares", "minmax")
Inputs = tuple[NDArray[np.generic], ...]
Records = tuple[Change | Refused, ...]


def quantize(
    network: GraphNetwork,
    calibration: Data | Iterable[Inputs],
    config: IntegerConfig | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[GraphNetwork, Records]:
    """Return a network whose convolutions and linear layers compute in eight bits, and what became of each.

    Args:
        network: traced and trained; not altered.
        calibration: data, of whose training set 300 examples are read, or batches of inputs, each a tuple.
        config: how ranges are chosen (where it does not say, what leaves the outputs nearest is), and which
            layers stay in float32.

    Raises:
        ConfigError: `config.keep` names no layer with weights.
        DataError: no examples, or a value is NaN or infinite on them.

    Cost: two forward passes over the examples, and four more where ranges are tried; copies of the weights.
    """
    small, records, _ = quantize_with_settings(network, calibration, config, progress=progress)
    return small, records


def quantize_with_settings(
    network: GraphNetwork,
    calibration: Data | Iterable[Inputs],
    config: IntegerConfig | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[GraphNetwork, Records, IntegerConfig]:
    """Do what `quantize` does, and return the settings too, with the ranges that were chosen."""
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
    batches = first_examples(calibration) if isinstance(calibration, Data) else list(calibration)
    ranges = collect_ranges(small, batches, prepare(small, scope), progress=progress)
    stats = Stats(ranges=ranges)
    small, records, config = _rounded(small, scope, stats, config, batches, progress or Silent())
    kept = (Refused(layer=layer, method=NAME, reason="it is to stay in float32") for layer in keep)
    return small, (*records, *kept), config


def _rounded(
    prepared: GraphNetwork,
    scope: Sequence[str],
    stats: Stats,
    config: IntegerConfig,
    batches: Sequence[Inputs],
    progress: Progress,
) -> tuple[GraphNetwork, Records, IntegerConfig]:
    """Round as the settings say, or in each way that is tried, and keep what leaves the outputs nearest."""
    if config.ranges is not None:
        return prepared, tuple(apply(prepared, scope, stats, config)), config
    tried = []
    for ranges in TRIED:
        small, named = copy.deepcopy(prepared), config.model_copy(update={"ranges": ranges})
        tried.append((small, tuple(apply(small, scope, stats, named)), named))
    lost = _lost(prepared, [small for small, *_ in tried], batches, progress)
    return tried[int(np.argmin(lost))]


def _lost(
    network: GraphNetwork, others: Sequence[GraphNetwork], batches: Sequence[Inputs], progress: Progress
) -> NDArray[np.float64]:
    """Return, for each other network, the mean over outputs of |a - b|^2 / |b|^2, over all examples."""
    lost: Any = 0.0
    squares: Any = 0.0
    with lock.working(), torch.no_grad(), progress.task("trying ranges", len(batches)) as task:
        for batch in batches:
            given = tensors(batch)
            wanted = _outputs(network, given)
            found = [_outputs(other, given) for other in others]
            squares += np.array([float(value[value.isfinite()].square().sum()) for value in wanted])
            lost += np.array([list(map(_squares_apart, side, wanted)) for side in found])
            task.advance(1)
    shares = (lost / np.maximum(squares, np.finfo(np.float64).tiny)).mean(axis=1)
    return np.where(np.isnan(shares), np.inf, shares)


def _squares_apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return |a - b|^2, where an infinity (of a mask, of a logarithm) is no distance from itself."""
    return float(torch.where(a == b, 0.0, a - b).square().sum())


def _outputs(network: GraphNetwork, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    with evaluating(network):
        outputs = network(*given)
    return [value.double() for value in all_of(outputs)]


def quantize_roughly(network: GraphNetwork, config: IntegerConfig) -> GraphNetwork:
    """Return a network in eight bits for timing alone: its ranges are those of a few random inputs.

    Raises:
        ConfigError: no layer can compute in eight bits.
    """
    rough = config.model_copy(update={"ranges": "minmax"})
    small, records = quantize(network, [random_inputs(network.program, ROUGH_EXAMPLES)], rough)
    if not any(isinstance(record, Change) for record in records):
        raise ConfigError("quantize: no layer can compute in eight bits.")
    return small


def first_examples(data: Data, examples: int = EXAMPLES) -> list[Inputs]:
    """Return batches of the first training examples, of which statistics are taken."""
    return [each(inputs) for inputs in first_inputs(data.train, examples, BATCH)]
