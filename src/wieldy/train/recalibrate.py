"""Fresh running statistics for norm layers after channels went."""

import torch
from torch import nn

from wieldy.core import lock, rng
from wieldy.core.data import Split, count
from wieldy.graph.tensors import tensors
from wieldy.stats.modes import evaluating


@torch.no_grad()
def recalibrate(
    network: nn.Module, split: Split, *, examples: int = 2048, batch_size: int = 128, seed: int = 0
) -> None:
    """Replace the running statistics of every BatchNorm by plain averages over some examples, in place.

    Forward passes only; weights stay as they are. Without BatchNorm nothing happens.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [module for module in norms if module.track_running_stats]
    if not norms:
        return
    momenta = [module.momentum for module in norms]
    seen = 0
    try:
        with lock.working(), evaluating(network):
            for module in norms:
                module.reset_running_stats()
                module.momentum = None  # a cumulative average
                module.train()
            for x, _ in split.batches(batch_size, rng.generator(seed, "recalibrate")):
                network(*tensors(x))
                seen += count(x)
                if seen >= examples:
                    break
    finally:
        for module, momentum in zip(norms, momenta, strict=True):
            module.momentum = momentum
