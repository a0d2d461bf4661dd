"""Taylor: the squared first-order change of the loss when a channel is cut off where it is read."""

import copy

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.core import rng
from wieldy.core.data import Data
from wieldy.core.errors import ConfigError
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.prune.taylor import TaylorConfig, mean_square, score
from wieldy.stats.collect import Stats, collect

BATCH, EXAMPLES = 16, 64


def scored(network: GraphNetwork, group: str, stats: Stats) -> np.ndarray:
    return score(network, couple(network.program).group(group), stats, TaylorConfig())


def loss_under_gate(
    network: GraphNetwork, readers: tuple[str, ...], gate: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """The loss where the inputs of `readers` are multiplied by one number for each channel."""

    def shut(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * gate.view(1, -1, *[1] * (inputs[0].ndim - 2)),)

    handles = [network.get_submodule(name).register_forward_pre_hook(shut) for name in readers]
    try:
        return F.cross_entropy(network(x), y)
    finally:
        for handle in handles:
            handle.remove()


def batches(data: Data, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    order = rng.generator(seed, "stats", "order")
    found = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in data.train.batches(BATCH, order)]
    return found[: EXAMPLES // BATCH]


@pytest.mark.parametrize(("group", "readers"), [("conv1", ("conv2",)), ("conv2", ("conv3", "fc"))])
def test_reference_is_the_squared_slope_of_the_loss_along_a_gate(
    group: str, readers: tuple[str, ...]
) -> None:
    network, data = tiny.trained(), tiny.digits()
    found = scored(network, group, collect(network, data, examples=EXAMPLES, batch_size=BATCH))
    slopes = []
    for x, y in batches(data):
        gate = torch.ones(len(found), requires_grad=True)
        (slope,) = torch.autograd.grad(loss_under_gate(network, readers, gate, x, y), gate)
        slopes.append(slope.double().numpy())
    wanted = np.square(slopes).mean(axis=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6 * wanted.max())


def test_reference_is_the_finite_difference_of_the_loss() -> None:
    model = tiny.plain().double()
    model32 = tiny.plain()
    data = vectors()
    network = trace(model32, torch.zeros(1, 4))
    found = scored(network, "first", collect(network, data, examples=EXAMPLES, batch_size=BATCH))
    step, squares = 1e-6, []
    for x, y in batches(data):
        changes = []
        for unit in range(6):
            losses = []
            for sign in (1, -1):
                shaken = copy.deepcopy(model)
                with torch.no_grad():
                    shaken.second.weight[:, unit] *= 1 + sign * step
                losses.append(F.cross_entropy(shaken(x.double()), y).item())
            changes.append((losses[0] - losses[1]) / (2 * step))
        squares.append(np.square(changes))
    np.testing.assert_allclose(found, np.mean(squares, axis=0), rtol=1e-3, atol=1e-10)


def vectors() -> Data:
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((EXAMPLES, 4)).astype(np.float32), draw.integers(0, 3, EXAMPLES)
    return Data(rows, rows, rows)


def test_reference_by_hand() -> None:
    # two batches, reader "a" has columns 0 to 3 and two channels of two columns each
    network = trace(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), torch.zeros(1, 2))
    stats = Stats({"1.weight": np.array([[1.0, -2.0], [3.0, 4.0]])}, examples=2)
    assert scored(network, "0", stats).tolist() == [(1 + 9) / 2, (4 + 16) / 2]


def test_a_channel_that_nobody_listens_to_costs_nothing() -> None:
    network = tiny.trained()
    with torch.no_grad():
        network.tensor("conv2.weight")[:, 3] = 0
    found = scored(network, "conv1", collect(network, tiny.digits(), examples=EXAMPLES))
    assert found[3] == 0
    assert (np.delete(found, 3) > 0).all()


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(6)))
def test_permuting_channels_permutes_scores(order: list[int]) -> None:
    network = trace(tiny.plain(), torch.zeros(1, 4))
    permuted = copy.deepcopy(network)
    with torch.no_grad():
        for name in ("first.weight", "first.bias"):
            permuted.tensor(name).copy_(network.tensor(name)[order])
        permuted.tensor("second.weight").copy_(network.tensor("second.weight")[:, order])
    one, two = (scored(n, "first", collect(n, vectors(), batch_size=BATCH)) for n in (network, permuted))
    np.testing.assert_allclose(two, one[order], rtol=1e-3, atol=1e-6 * one.max())


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(0.01, 100), seed=st.integers(0, 100))
def test_scores_grow_with_the_square_of_the_changes(factor: float, seed: int) -> None:
    sums = np.random.default_rng(seed).standard_normal((5, 4))
    np.testing.assert_allclose(mean_square(factor * sums), factor**2 * mean_square(sums))
    np.testing.assert_allclose(mean_square(-sums), mean_square(sums))


def test_rejects_a_network_without_stats() -> None:
    network = tiny.traced()
    with pytest.raises(ConfigError, match=r"taylor: no layer that reads group 'conv1'.*wieldy\.collect"):
        scored(network, "conv1", Stats())
