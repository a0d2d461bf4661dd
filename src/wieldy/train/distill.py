"""Distillation: the student also learns the teacher's logits, and if asked its hidden values.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2:
penalty = weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch.
Where targets are no class labels, each output counts by its relative squared distance instead (ours).
With features, feature_weight * mean over the features of their distance comes on top (see `features`).
"""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.core.data import each
from wieldy.core.errors import ConfigError, ShapeError
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.tensors import Values, all_of
from wieldy.methods.contract import Hook, Step
from wieldy.train.features import Features, distance
from wieldy.train.layout import laid_out

Outputs = Callable[..., Any]  # numpy outputs, or a tuple that starts with them


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
        """Return how far the answers of this batch are apart, and the features' part if asked."""
        own = all_of(step.outputs)
        found = self._taught(all_of(step.inputs))
        answers, values = found[: len(own)], list(found[len(own) :])
        shapes = [tuple(tuple(value.shape) for value in side) for side in (answers, own)]
        if shapes[0] != shapes[1]:
            first, second = (side[0] if len(side) == 1 else side for side in shapes)
            raise ShapeError(
                f"Distill: teacher and student must yield the same shape; got {first} and {second}. Use a "
                "teacher for the same classes."
            )
        penalty = self.weight * self._answers_apart(own, answers, step.targets)
        if self.features is None:
            return penalty
        return penalty + self.feature_weight * self._apart(self.features, values)

    def _answers_apart(self, own: tuple[Tensor, ...], answers: tuple[Tensor, ...], targets: Values) -> Tensor:
        """By softened logits where targets are labels, else by distance."""
        labelled = isinstance(targets, Tensor) and targets.ndim == 1 and not targets.is_floating_point()
        if labelled and len(own) == 1 and own[0].ndim == 2:
            return divergence(own[0], answers[0], self.temperature)
        return torch.stack([distance(*pair) for pair in zip(own, answers, strict=True)]).mean()

    def state(self) -> Mapping[str, Tensor]:
        """Return nothing: the teacher stays as it is."""
        return {}

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
    def _taught(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Ask the teacher."""
        if isinstance(self.teacher, nn.Module):
            return all_of(self.teacher(*inputs))
        arrays = self.teacher(*(value.contiguous().numpy() for value in inputs))
        return tuple(map(torch.from_numpy, each(arrays)))


def _frozen(teacher: nn.Module) -> nn.Module:
    """A copy in evaluation mode, with channels last: faster, and harmless where nothing is learnt."""
    return laid_out(copy.deepcopy(teacher), torch.channels_last).eval().requires_grad_(requires_grad=False)


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) of (n, classes) logits, mean over n."""
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
