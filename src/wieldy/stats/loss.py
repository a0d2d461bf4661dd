"""The loss that a metric's targets ask for."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from wieldy.core.data import Metric, check_labels
from wieldy.graph.tensors import Values

Loss = Callable[[Any, Any], Tensor]


def loss_of(metric: Metric) -> Loss | None:
    """Return the metric's own loss, or cross entropy where targets are labels; None where neither is."""
    return metric.loss or (F.cross_entropy if metric.labels else None)


def check_outputs(outputs: Values, labels: int, name: str) -> None:
    """Raise DataError where labels are given that the network has no output for."""
    if labels and isinstance(outputs, Tensor) and outputs.ndim > 1:
        check_labels(labels, outputs.shape[1], name)
