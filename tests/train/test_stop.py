"""Training ends where it no longer helps, at the best weights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import wieldy
from wieldy.core.errors import ConfigError
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.train.stop import EarlyStop
from wieldy.zoo.data.digits import optical_digits


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(1, 4), st.integers(0, 5))
def test_it_stops_once_patience_is_over_and_returns_to_the_first_best(
    scores: list[int], patience: int, begin: int
) -> None:
    stop, network = EarlyStop(patience, begin=begin), nn.Linear(1, 1)
    stop.attach(network)
    ended = len(scores)
    for epoch, score in enumerate(scores):
        nn.init.constant_(network.weight, epoch)
        if stop.after_epoch(network, epoch, score):
            ended = epoch
            break
    stop.finish(network)
    counted = scores[begin : ended + 1]
    if not counted:
        assert network.weight.item() == len(scores) - 1
        return
    best = begin + counted.index(max(counted))
    assert network.weight.item() == best
    assert ended == len(scores) or ended - best == patience
    assert all(
        max(scores[begin : e + 1]) > max(scores[begin : e - patience + 1])
        for e in range(begin + patience, min(ended, len(scores)))
    )


@pytest.mark.parametrize(("patience", "begin"), [(0, 0), (1, -1)])
def test_what_makes_no_sense_is_refused(patience: int, begin: int) -> None:
    with pytest.raises(ConfigError, match="patience must be at least 1"):
        EarlyStop(patience, begin=begin)


def test_fit_ends_early_with_the_best_weights() -> None:
    whole = optical_digits()
    data = wieldy.Data(whole.train.take(np.arange(300)), whole.validate, whole.test)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    scores: list[float] = []

    class Note(EarlyStop):
        def after_epoch(self, network: nn.Module, epoch: int, score: float) -> bool:
            scores.append(score)
            return super().after_epoch(network, epoch, score)

    config = FitConfig(epochs=60, learning_rate=0.05)
    trained = fit(net, data, Note(patience=3), config=config)
    assert len(scores) < 60
    assert evaluate(trained, data.validate, data) == max(scores)
