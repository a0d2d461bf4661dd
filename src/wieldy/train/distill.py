"""Distillation: the student also learns the teacher's logits, and if asked its hidden values.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2:
penalty = weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch.
With features, feature_weight * mean over the features of their distance comes on top (see `features`).
"""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.core.errors import ConfigError, ShapeError
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.methods.contract import Hook, Step
from wieldy.train.features import Features, distance
from wieldy.train.layout import channels_last

Outputs = Callable[[NDArray[np.float32]], Any]  # numpy logits, or a tuple that starts with them


class Distill(Hook):
    """Adds to the loss how far the student is from its teacher, in what it says and in what it computes.

    Args:
        teacher: maps the same inputs to logits of the same shape: a module, which is copied and never
            trained, or whatever maps numpy to numpy, such as an opened package (two thirds of the time).
            With `features`, to a tuple of the logits and each feature's value (see `features.exposing`).
        temperature: T, above 0; larger values weigh the teacher's small logits more.
        weight: of the logits' divergence beside the loss.
        features: hidden values to match; the student must then be traced.
        feature_weight: of their mean distance beside the loss.

    Raises:
        ConfigError: a setting is not finite and in range, or, from `attach`, the student is not traced.
        ShapeError: from `penalty`: the teacher's values are of another number or shape than the student's.
    """

    def __init__(
        self,
        teacher: nn.Module | Outputs,
        *,
        temperature: float = 4.0,
        weight: float = 1.0,
        features: Features | None = None,
        feature_weight: float = 10.0,
    ) -> None:
        if not (0 < temperature < math.inf and 0 < weight < math.inf and 0 <= feature_weight < math.inf):
            raise ConfigError(
                "Distill: temperature and weight must be positive and finite, feature_weight not below 0; "
                f"got {temperature}, {weight} and {feature_weight}."
            )
        self.teacher = _frozen(teacher) if isinstance(teacher, nn.Module) else teacher
        self.temperature = temperature
        self.weight = weight
        self.features = features
        self.feature_weight = feature_weight
        self._seen: Mapping[str, Tensor] = {}

    def attach(self, network: nn.Module) -> None:
        """Watch the student's own values."""
        if self.features is not None:
            self._seen = need_traced(network, "Distill with features").watch(self.features.names)

    def penalty(self, step: Step) -> Tensor:
        """Return weight * T^2 * KL(teacher || student) of this batch, and the features' part if asked."""
        logits, *values = self._taught(step.inputs)
        if logits.shape != step.outputs.shape:
            raise ShapeError(
                f"Distill: teacher and student must yield the same shape; got {tuple(logits.shape)} and "
                f"{tuple(step.outputs.shape)}. Use a teacher for the same classes."
            )
        penalty = self.weight * divergence(step.outputs, logits, self.temperature)
        if self.features is None:
            return penalty
        return penalty + self.feature_weight * self._apart(self.features, values)

    def finish(self, network: nn.Module) -> None:
        """Stop watching."""
        if isinstance(network, GraphNetwork):
            network.watch(())

    def _apart(self, features: Features, values: list[Tensor]) -> Tensor:
        if len(values) != len(features.names):
            raise ShapeError(
                f"Distill: the teacher must yield its logits and {len(features.names)} values "
                f"({', '.join(features.names)}); got {len(values)}. Use wieldy.train.features.exposing."
            )
        pairs = zip(features.names, values, strict=True)
        distances = [distance(self._seen[name], features.of_student(value, name)) for name, value in pairs]
        return torch.stack(distances).mean()

    @torch.no_grad()
    def _taught(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Ask the teacher."""
        if isinstance(self.teacher, nn.Module):
            found: Tensor | tuple[Tensor, ...] = self.teacher(inputs)
            return found if isinstance(found, tuple) else (found,)
        arrays = self.teacher(inputs.contiguous().numpy())
        return tuple(map(torch.from_numpy, arrays if isinstance(arrays, tuple) else (arrays,)))


def _frozen(teacher: nn.Module) -> nn.Module:
    """A copy in evaluation mode, laid out as `fit` lays out the student."""
    return channels_last(copy.deepcopy(teacher)).eval().requires_grad_(requires_grad=False)


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) of (n, classes) logits, mean over n."""
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
