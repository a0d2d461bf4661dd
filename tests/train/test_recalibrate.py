"""Recalibration: running statistics become plain averages, and nothing else changes."""

import copy

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from wieldy.core import rng
from wieldy.core.data import Arrays
from wieldy.train.recalibrate import recalibrate


def test_reference_is_one_pass_with_a_cumulative_average() -> None:
    network, data = tiny.trained(), tiny.digits()
    wanted = copy.deepcopy(network)
    for module in wanted.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    wanted.train()  # there is no dropout in it
    with torch.no_grad():
        for x, _ in data.train.batches(80, rng.generator(3, "recalibrate")):
            wanted(torch.from_numpy(x))
    recalibrate(network, data.train, batch_size=80, seed=3)
    assert tiny.state(network) == tiny.state(wanted)


def test_reference_by_hand_on_one_norm() -> None:
    norm = nn.BatchNorm1d(2).eval()
    x = np.array([[1, 10], [3, 30], [5, 20], [7, 40]], np.float32)
    recalibrate(norm, Arrays(x, np.zeros(4, np.int64)), batch_size=4)
    assert norm.running_mean.tolist() == [4, 25]
    np.testing.assert_allclose(norm.running_var.numpy(), x.var(axis=0, ddof=1))
    assert norm.num_batches_tracked == 1


def test_only_running_statistics_change() -> None:
    network = tiny.trained()
    before = tiny.state(network)
    recalibrate(network, tiny.digits().train)
    changed = {name for name, value in tiny.state(network).items() if value != before[name]}
    assert changed >= {f"norm{k}.running_{what}" for k in (1, 2) for what in ("mean", "var")}
    assert all(name.rsplit(".", 1)[1].startswith(("running", "num_batches")) for name in changed)


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_momenta_come_back(training: bool) -> None:
    network = tiny.traced().train(training)
    network.get_submodule("norm1").eval()
    network.get_submodule("norm2").momentum = 0.3
    recalibrate(network, tiny.digits().train, examples=64)
    assert network.training is training
    assert not network.get_submodule("norm1").training
    assert [network.get_submodule(f"norm{k}").momentum for k in (1, 2)] == [0.1, 0.3]


def test_modes_and_momenta_come_back_after_an_error() -> None:
    network = tiny.traced().train()
    wrong = Arrays(np.zeros((8, 2, 8, 8), np.float32), np.zeros(8, np.int64))
    with pytest.raises(Exception, match="input"):
        recalibrate(network, wrong)
    assert network.training
    assert network.get_submodule("norm1").momentum == 0.1


def test_dropout_stays_off() -> None:
    found = []
    for share in (0.0, 0.9):
        norm = nn.BatchNorm1d(64)
        network = nn.Sequential(nn.Flatten(), nn.Dropout(share), norm).train()
        recalibrate(network, tiny.digits().train)
        found.append(norm.running_var)
    assert torch.equal(*found)


def test_a_network_without_norms_is_left_alone_and_not_even_run() -> None:
    class Counts(nn.Linear):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Counts.calls += 1
            return super().forward(x)

    model = Counts(4, 3)
    before = tiny.state(model)
    recalibrate(model, tiny.digits().train)
    assert tiny.state(model) == before
    assert Counts.calls == 0


def test_it_stops_after_the_examples_asked_for() -> None:
    norm = nn.BatchNorm2d(1)
    recalibrate(norm, tiny.digits().train, examples=65, batch_size=32)
    assert norm.num_batches_tracked == 3


def test_same_seed_same_statistics() -> None:
    states = []
    for seed in (1, 1, 2):
        network = tiny.traced()
        recalibrate(network, tiny.digits().train, examples=64, batch_size=32, seed=seed)
        states.append(tiny.state(network))
    assert states[0] == states[1] != states[2]
