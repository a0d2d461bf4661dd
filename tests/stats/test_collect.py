"""Collected sums are those of plain autograd, and collecting leaves no trace on the network."""

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

from wieldy.core import rng
from wieldy.core.data import Data
from wieldy.core.errors import DataError
from wieldy.graph.trace import trace
from wieldy.stats.collect import collect
from wieldy.stats.modes import evaluating


def test_products_are_weight_times_gradient_summed_by_input_channel() -> None:
    network, data = tiny.trained(), tiny.digits()
    stats = collect(network, data, examples=64, batch_size=32, seed=4)
    x, y = next(data.train.batches(32, rng.generator(4, "stats", "order")))
    F.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(y)).backward()
    assert set(stats.products) == {"conv1.weight", "conv2.weight", "conv3.weight", "fc.weight"}
    for name, found in stats.products.items():
        weight = network.tensor(name)
        wanted = (weight * weight.grad).detach().double().transpose(0, 1).flatten(1).sum(1)
        assert found.shape == (2, weight.shape[1])
        np.testing.assert_allclose(found[0], wanted.numpy(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("examples", [1, 30, 64, 100])
def test_at_most_as_many_examples_are_used_as_were_asked_for(examples: int) -> None:
    stats = collect(tiny.traced(), tiny.digits(), examples=examples, batch_size=32)
    assert stats.examples == examples
    assert len(stats.products["fc.weight"]) == -(-examples // 32)


def test_no_more_than_all_examples_are_used() -> None:
    assert collect(tiny.traced(), tiny.digits(), examples=10_000).examples == tiny.digits().train.size


def test_seeds_draw_different_examples_and_one_seed_the_same() -> None:
    one, again, other = (collect(tiny.traced(), tiny.digits(), examples=32, seed=k) for k in (1, 1, 2))
    assert one.products["fc.weight"].tobytes() == again.products["fc.weight"].tobytes()
    assert one.products["fc.weight"].tobytes() != other.products["fc.weight"].tobytes()


def test_gradients_modes_and_weights_are_left_as_they_were() -> None:
    network = tiny.traced().train()
    network.get_submodule("norm1").eval()
    weight = network.tensor("fc.weight")
    weight.grad = torch.full_like(weight, 3.0)
    before = tiny.state(network)
    collect(network, tiny.digits(), examples=32)
    assert tiny.state(network) == before
    assert (weight.grad == 3).all()
    assert network.tensor("conv1.weight").grad is None
    assert network.training
    assert not network.get_submodule("norm1").training


def test_frozen_layers_are_collected_like_any_other_and_stay_frozen() -> None:
    network = tiny.traced()
    wanted = collect(network, tiny.digits(), examples=32).products
    network.get_submodule("conv2").requires_grad_(False)
    with torch.no_grad():
        found = collect(network, tiny.digits(), examples=32).products
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in wanted.items()
    }
    assert not network.tensor("conv2.weight").requires_grad
    assert network.tensor("fc.weight").requires_grad


def test_labels_without_an_output_are_refused_and_the_mode_comes_back() -> None:
    network = trace(nn.Linear(4, 2), torch.zeros(1, 4)).train()
    rows = np.zeros((6, 4), np.float32), np.array([0, 1, 2, 0, 1, 2])
    with pytest.raises(DataError, match=r"below 2.*got 2"):
        collect(network, Data(rows, rows, rows))
    assert network.training


def test_every_module_gets_its_own_mode_back_after_an_error() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Dropout()).train()
    network[1].eval()
    seen: list[bool] = []

    def fail() -> None:
        with evaluating(network):
            seen.extend(module.training for module in network.modules())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert seen == [False, False, False]
    assert [module.training for module in network.modules()] == [True, True, False]
