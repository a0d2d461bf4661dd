"""Training what is left of a network."""

import numpy as np
import pytest
import torch
from torch import nn

import wieldy
from wieldy.core.data import ACCURACY, Data, Metric
from wieldy.core.progress import Silent
from wieldy.flow.mixed import rehearsed
from wieldy.flow.training import unharmed
from wieldy.plan.mix import Mix

EYE = np.eye(4, dtype=np.float32).repeat(5, 0)
LABELS = np.arange(20) // 5


class Said(Silent):
    """Progress that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def times(factor: float) -> nn.Module:
    """A network that multiplies: with 1 it names every class, with -1 none."""
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(factor * torch.eye(4))
    return layer


def apart(outputs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.square(outputs - wanted).mean(axis=1)


SQUARES = Metric(name="squares", scores=apart, higher_is_better=False, labels=False)


def data(metric: Metric) -> Data:
    split = (EYE, LABELS if metric.labels else EYE)
    return Data(split, split, split, metric=metric)


@pytest.mark.parametrize("metric", [ACCURACY, SQUARES])
def test_of_before_and_after_training_the_better_one_is_kept_whichever_way_the_metric_goes(
    metric: Metric,
) -> None:
    good, bad, said = times(1), times(-1), Said()
    assert unharmed(bad, good, data(metric), said) is good
    assert not said.lines
    assert unharmed(good, bad, data(metric), said) is good
    assert "training did harm" in said.lines[0]


def test_where_both_are_as_good_the_trained_one_is_kept() -> None:
    first, second = times(1), times(2)
    assert unharmed(first, second, data(ACCURACY), Said()) is second


def test_what_nothing_is_taken_from_is_not_trained() -> None:
    network = wieldy.trace(times(1), torch.zeros(1, 4))
    assert rehearsed(None, 10, network, network, Mix(in_levels=True), 1.0, 1) is network  # type: ignore[arg-type]
