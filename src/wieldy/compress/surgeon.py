"""L-OBS on a network: moments collected for as many layers as fit, weights removed, the others moved."""

import copy
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Change, Refused
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.methods.prune import lobs
from wieldy.methods.prune.zeros import weighted
from wieldy.stats.collect import Stats
from wieldy.stats.moments import collect_moments

MOMENT_BYTES = 2**30  # of moments that are held at once
FLOAT64_BYTES = 8


def operate(
    network: GraphNetwork,
    examples: Iterable[tuple[NDArray[np.generic], ...]],
    config: lobs.LobsConfig | None = None,
    layers: Sequence[str] | None = None,
    *,
    sequential: bool = False,
    progress: Progress | None = None,
) -> tuple[GraphNetwork, tuple[Change | Refused, ...]]:
    """Return a network in which weights are zero and those that stay make up for them, layer by layer.

    Args:
        network: traced and trained; not altered.
        examples: batches of inputs, each a tuple; the same each time they are iterated.
        config: how many weights go, and how they are chosen.
        layers: by name; default: all with weights.
        sequential: collect what a layer reads after those before it were pruned, one pass for each layer; the
            bound on the network's error speaks of inputs of the original, and does not hold then.
        progress: who is told how far it is.

    Returns:
        The network, and a record for every layer, with the damping that was used, the layer's error and, in
        exact mode, the error that its losses predicted.

    Raises:
        ConfigError: a layer has no weights, or is too large for a comparison over the network.
        DataError: there are no examples, or a number is NaN or infinite.

    Cost: a pass over the examples for every GiB of second moments; see `lobs.apply` for the rest.
    """
    config, progress = config or lobs.LobsConfig(), progress or Silent()
    small = copy.deepcopy(need_traced(network, "operate"))
    scope = small.program.weighted_layers() if layers is None else layers
    batches = list(examples)
    records: list[Change | Refused] = []
    with progress.task("optimal brain surgery", len(scope)) as task:
        for part in _parts(small, scope, config, sequential=sequential):
            whole = [node.layer for node in weighted(small, part, lobs.NAME) if node.groups == 1]
            source = small if sequential else network
            stats = Stats(moments=collect_moments(source, batches, whole, progress=progress))
            for record in lobs.apply(small, part, stats, config):
                records.append(record)
                task.advance(1, record.layer)
    return small, tuple(records)


def _parts(
    network: GraphNetwork, scope: Sequence[str], config: lobs.LobsConfig, *, sequential: bool
) -> Iterator[list[str]]:
    """Yield layers whose moments are held together: all of them where losses are compared."""
    if config.scope == "network":
        yield list(scope)
        return
    part: list[str] = []
    held = 0
    for node in weighted(network, scope, lobs.NAME):
        width = network.tensor(next(node.stored()))[0].numel()
        size = FLOAT64_BYTES * width**2
        if part and (sequential or held + size > MOMENT_BYTES):
            yield part
            part, held = [], 0
        part.append(node.layer)
        held += size
    if part:
        yield part
