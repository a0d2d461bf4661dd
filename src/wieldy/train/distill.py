"""Distillation: the student also learns the teacher's logits.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2:
penalty = weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.core.errors import ConfigError, ShapeError
from wieldy.methods.contract import Hook, Step
from wieldy.train.layout import channels_last

Outputs = Callable[[NDArray[np.float32]], Any]  # numpy logits


class Distill(Hook):
    """Adds the divergence from a teacher's softened outputs to the loss.

    Args:
        teacher: maps the same inputs to logits of the same shape: a module, which is copied and never
            trained, or whatever maps numpy to numpy, such as an opened package (two thirds of the time).
        temperature: T, above 0; larger values weigh the teacher's small logits more.
        weight: of this penalty beside the loss.

    Raises:
        ConfigError: `temperature` or `weight` is not positive and finite.
        ShapeError: from `penalty`: the teacher's logits are of another shape than the student's.
    """

    def __init__(
        self, teacher: nn.Module | Outputs, *, temperature: float = 4.0, weight: float = 1.0
    ) -> None:
        if not (0 < temperature < math.inf and 0 < weight < math.inf):
            raise ConfigError(
                "Distill: temperature and weight must be positive and finite; "
                f"got {temperature} and {weight}."
            )
        self.teacher = _frozen(teacher) if isinstance(teacher, nn.Module) else teacher
        self.temperature = temperature
        self.weight = weight

    def penalty(self, step: Step) -> Tensor:
        """Return weight * T^2 * KL(teacher || student) of this batch."""
        logits = self._logits(step.inputs)
        if logits.shape != step.outputs.shape:
            raise ShapeError(
                f"Distill: teacher and student must yield the same shape; got {tuple(logits.shape)} and "
                f"{tuple(step.outputs.shape)}. Use a teacher for the same classes."
            )
        return self.weight * divergence(step.outputs, logits, self.temperature)

    @torch.no_grad()
    def _logits(self, inputs: Tensor) -> Tensor:
        if isinstance(self.teacher, nn.Module):
            logits: Tensor = self.teacher(inputs)
            return logits
        return torch.from_numpy(self.teacher(inputs.contiguous().numpy()))


def _frozen(teacher: nn.Module) -> nn.Module:
    """A copy in evaluation mode, laid out as `fit` lays out the student."""
    return channels_last(copy.deepcopy(teacher)).eval().requires_grad_(requires_grad=False)


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) of (n, classes) logits, mean over n."""
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
