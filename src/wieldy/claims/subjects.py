"""The networks and the data on which claims are measured, trained here and now from a seed."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from wieldy.core.data import Data
from wieldy.core.records import Claim, Relation
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.train.fit import FitConfig, fit
from wieldy.zoo.data import fashion
from wieldy.zoo.networks.lenet import Lenet5, Lenet300, seeded

EPOCHS: dict[Callable[[], nn.Module], int] = {Lenet300: 12, Lenet5: 6}
RATES: dict[Callable[[], nn.Module], float] = {Lenet300: 0.05, Lenet5: 0.03}


def claiming(name: str, source: str) -> Callable[..., Claim]:
    """Return what makes a system's claims: (what, measured, relation, threshold), and fields that differ.

    Example:
        >>> claiming("mine", "nobody")("a share", 0.5, "<", 1.0).verdict
        'proved'
    """

    def claim(what: str, measured: float, relation: Relation, threshold: float, **more: Any) -> Claim:
        given: dict[str, Any] = {"source": source, "seconds": 0.0} | more
        return Claim(
            name=name, what=what, measured=float(measured), relation=relation, threshold=threshold, **given
        )

    return claim


@cache
def pictures() -> Data:
    """Return the pictures that come with the package: 8,000 for training, 2,000 and 3,000 to judge by."""
    return fashion.embedded()


@cache
def trained(kind: Callable[[], nn.Module], seed: int = 0) -> GraphNetwork:
    """Return a network trained on those pictures; it is shared, so copy it before you alter it."""
    config = FitConfig(epochs=EPOCHS[kind], learning_rate=RATES[kind], seed=seed)
    return trace(fit(seeded(kind, seed), pictures(), config=config), torch.zeros(1, 1, 28, 28))
