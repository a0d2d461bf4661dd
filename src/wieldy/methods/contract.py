"""The three shapes that a method takes, and what each may rely on.

- `Score`: importances of one group's channels; the planner decides how many go.
- `Transform`: alters layers of a network and yields a `Change` or `Refused` for each.
- `Hook`: takes part in training, in `wieldy.fit` or in any plain torch loop.

A method knows one group or one scope. It never sees a budget, a data set or a whole plan.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from wieldy.core.config import Frozen
from wieldy.core.records import Change, Refused
from wieldy.graph.tensors import Values

if TYPE_CHECKING:
    from wieldy.graph.coupling import Group
    from wieldy.graph.network import GraphNetwork
    from wieldy.stats.collect import Stats


class MethodConfig(Frozen):
    """Base of every method's settings; its type is the method's key in `METHODS`."""

    seed: int = 0


class Score(Protocol):
    """Importance of each channel of a group: larger is dearer. Inputs are not altered."""

    def __call__(
        self, network: "GraphNetwork", group: "Group", stats: "Stats", config: MethodConfig
    ) -> NDArray[np.float64]:
        """Return (channels,) float64, finite and not negative."""


class Transform(Protocol):
    """Alter the layers in `scope`, in place, and account for each of them."""

    def __call__(
        self, network: "GraphNetwork", scope: Sequence[str], stats: "Stats", config: MethodConfig
    ) -> Iterator[Change | Refused]:
        """Yield one record for each layer in `scope`."""


@dataclass(frozen=True)
class Step:
    """One training step as a hook sees it."""

    network: nn.Module
    inputs: Values
    outputs: Values
    targets: Values
    index: int
    total: int
    learning_rate: float  # of this step
    loss: float = math.nan  # penalties included; known from `after_backward` on


class Hook:
    """Takes part in training; every method does nothing unless a subclass says otherwise.

    In a plain loop: `attach` once; in each step call `before_forward`, add `penalty` to the loss, call
    `after_backward` before and `after_step` after the optimiser's step; `after_epoch` where there are epochs;
    and `finish` at the end.

    Attributes:
        needs: settings of `wieldy.fit` without which the method is not the published one, such as a momentum
            of 0; `fit` refuses others.
        settling_rate: what training goes on with after `finish`, over the learning rate before it. A penalty
            leaves weights small, and behind a norm small weights learn that much faster.
    """

    needs: ClassVar[Mapping[str, Any]] = {}
    settling_rate: ClassVar[float] = 1.0

    def attach(self, network: nn.Module) -> None:
        """Prepare for training `network`."""

    def before_forward(self, network: nn.Module) -> None:
        """Look at or alter weights before the network sees a batch."""

    def penalty(self, step: Step) -> Tensor | None:  # noqa: ARG002
        """Return a scalar to add to the loss, or None."""
        return None

    def after_backward(self, step: Step) -> None:
        """Look at or alter gradients."""

    def after_step(self, step: Step) -> None:
        """Look at or alter weights."""

    def after_epoch(self, network: nn.Module, epoch: int, score: float) -> bool:  # noqa: ARG002
        """Look at the network after an epoch; return whether training shall end here.

        Args:
            network: as it is now.
            epoch: the first is 0.
            score: the metric on the validation set, the larger the better.
        """
        return False

    def finish(self, network: nn.Module) -> None:
        """Leave `network` as it shall be kept."""

    def state(self) -> Mapping[str, Tensor] | None:
        """Return what, beside the weights, training needs to go on after a crash; None: it starts over."""
        return None

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back, after `attach`, what `state` returned."""

    def settling(self) -> "Hook | None":
        """Return what keeps, while training goes on, the structure that this hook found.

        None: weights that are zero stay zero, and that is all of it.
        """
        return None

    @property
    def keeps_places(self) -> bool:
        """Whether dead channels stay: without one, those behind it would leave their blocks."""
        return False

    def records(self) -> Iterator[Change | Refused]:
        """Yield, after `finish`, what became of every layer that the method looked at."""
        yield from ()
