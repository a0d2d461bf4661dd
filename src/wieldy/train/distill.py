"""Distillation: the student also learns the teacher's logits.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2:
penalty = weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.core.errors import ConfigError
from wieldy.methods.contract import Hook, Step
from wieldy.train.layout import channels_last


class Distill(Hook):
    """Adds the divergence from a teacher's softened outputs to the loss.

    Args:
        teacher: maps the same inputs to logits of the same shape; copied, never trained.
        temperature: T, above 0; larger values weigh the teacher's small logits more.
        weight: of this penalty beside the loss.

    Raises:
        ConfigError: `temperature` or `weight` is not positive.
    """

    def __init__(self, teacher: nn.Module, *, temperature: float = 4.0, weight: float = 1.0) -> None:
        if temperature <= 0 or weight <= 0:
            raise ConfigError(
                f"Distill: temperature and weight must be positive; got {temperature} and {weight}."
            )
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(requires_grad=False)
        self.temperature = temperature
        self.weight = weight

    def attach(self, network: nn.Module) -> None:  # noqa: ARG002
        """Lay the teacher's weights out as `fit` lays out the student's."""
        channels_last(self.teacher)

    def penalty(self, step: Step) -> Tensor:
        """Return weight * T^2 * KL(teacher || student) of this batch."""
        with torch.no_grad():
            logits = self.teacher(step.inputs)
        return self.weight * divergence(step.outputs, logits, self.temperature)


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) of (n, classes) logits, mean over n."""
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
