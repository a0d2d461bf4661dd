"""Whoever watches is told the loss, the rate and the metric."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import wieldy
from wieldy.core.errors import ConfigError
from wieldy.train.fit import FitConfig, fit
from wieldy.train.watch import Watch
from wieldy.zoo.data.digits import optical_digits


def test_every_scalar_arrives_with_its_step() -> None:
    whole = optical_digits()
    data = wieldy.Data(whole.train.take(np.arange(300)), whole.validate, whole.test)
    torch.manual_seed(0)
    seen: list[tuple[str, float, int]] = []
    watch = Watch(lambda *scalar: seen.append(scalar), name="first", every=2)
    fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), data, watch, config=FitConfig(epochs=2))
    steps = [step for name, _, step in seen if name == "first/loss"]
    assert steps == list(range(0, 2 * data.train.steps(128), 2))
    assert [step for name, _, step in seen if name == "first/validation"] == [0, 1]
    assert all(math.isfinite(value) for _, value, _ in seen)
    first, *_, last = (value for name, value, _ in seen if name == "first/loss")
    assert last < first


def test_every_must_be_a_step() -> None:
    with pytest.raises(ConfigError, match="every must be at least 1"):
        Watch(print, every=0)
