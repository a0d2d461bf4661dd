"""Zeros that survive training: a mask after every step, and a schedule by which they come.

Source of the schedule: Zhu, Gupta, "To prune, or not to prune", arXiv 1710.01878, section 3, equation 1, from
no zeros at the start: sparsity at time t = final * (1 - (1 - (t - begin) / (end - begin))^3).
"""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from wieldy.core.config import Frozen
from wieldy.core.errors import ConfigError
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.methods.contract import Hook, Step
from wieldy.methods.prune.zeros import DEPTHWISE, ZerosConfig, apply, is_depthwise, weighted
from wieldy.stats.collect import Stats


class Schedule(Frozen):
    """When zeros come, in shares of all training steps."""

    begin: float = Field(default=0.0, ge=0, lt=1)
    end: float = Field(default=0.5, ge=0, le=1)  # the rest is for what remains to settle
    rounds: int = Field(default=20, ge=1)


class Mask(Hook):
    """Keeps weights at zero while the others train.

    Weights of the layers that are zero when training begins stay zero. With `config` more become zero on the
    way, by magnitude, until its sparsity is reached; what became zero never comes back.

    Args:
        layers: whose weights are masked.
        config: which weights become zero, and how many in the end; None: none.
        schedule: when.

    Raises:
        ConfigError: the schedule ends before it begins, or, from `attach`, the network is not traced,
            lacks a layer, or is to lose weights of a depthwise one.
    """

    def __init__(
        self, layers: tuple[str, ...], config: ZerosConfig | None = None, schedule: Schedule | None = None
    ) -> None:
        self.layers = layers
        self.config = config
        self.schedule = schedule or Schedule()
        if self.schedule.end <= self.schedule.begin:
            raise ConfigError(
                f"Mask: the schedule must end after it begins; got {self.schedule.begin} and "
                f"{self.schedule.end}."
            )
        self._masks: dict[str, Tensor] = {}

    def attach(self, network: nn.Module) -> None:
        """Note which weights are zero."""
        traced = need_traced(network, "Mask")
        if self.config is not None:
            for node in weighted(traced, self.layers):
                if is_depthwise(traced, node):
                    raise ConfigError(
                        f"Mask: {node.layer}: {DEPTHWISE}. Leave it out; `sparse_layers` names the rest."
                    )
        self._note(traced)

    def after_step(self, step: Step) -> None:
        """Let more weights become zero if it is time, and put those back that the optimiser moved."""
        network = need_traced(step.network, "Mask")
        self._mask(network)
        due = self._due((step.index + 1) / step.total)
        if self.config is not None and due > self._due(step.index / step.total):
            sparsity = sparsity_at(due / self.schedule.rounds, self.config.sparsity)
            config = self.config.model_copy(update={"sparsity": sparsity})
            list(apply(network, self.layers, Stats(), config))
            self._note(network)

    def state(self) -> Mapping[str, Tensor]:
        """Return the masks: a weight may be zero by chance."""
        return self._masks

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the masks back."""
        self._masks = dict(state)

    def _due(self, time: float) -> int:
        """How many of the schedule's rounds are over."""
        share = (time - self.schedule.begin) / (self.schedule.end - self.schedule.begin)
        return int(self.schedule.rounds * min(1.0, max(0.0, share)) + 1e-9)

    def _note(self, network: GraphNetwork) -> None:
        tensors = [next(node.stored()) for node in weighted(network, self.layers)]
        self._masks = {name: network.tensor(name).detach() != 0 for name in tensors}

    @torch.no_grad()
    def _mask(self, network: GraphNetwork) -> None:
        for name, mask in self._masks.items():
            network.tensor(name).mul_(mask)


def sparsity_at(share: float, final: float) -> float:
    """Return the sparsity when `share` of the schedule is over.

    Example:
        >>> [round(sparsity_at(share, 0.9), 4) for share in (0, 0.5, 1)]
        [0.0, 0.7875, 0.9]
    """
    return final * (1 - (1 - share) ** 3)
