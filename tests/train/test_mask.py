"""Zeros in training: they stay, they come by the schedule, and the others learn on."""

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from wieldy.core.errors import ConfigError
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook, Step
from wieldy.methods.prune.zeros import ZerosConfig, apply, block_scores
from wieldy.stats.collect import Stats
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.train.mask import Mask, Schedule, sparsity_at

LAYERS = ("conv2", "conv3")
SHORT = FitConfig(epochs=4, batch_size=32, learning_rate=0.02)  # 40 steps


def weight(network: GraphNetwork, layer: str) -> np.ndarray:
    return network.tensor(f"{layer}.weight").detach().numpy()


def share_of_zeros(network: GraphNetwork) -> float:
    arrays = [weight(network, layer) for layer in LAYERS]
    return 1 - sum(map(np.count_nonzero, arrays)) / sum(array.size for array in arrays)


class Watch(Hook):
    """Notes the share of zeros after every step; stands after the hook that makes them."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.zero: list[np.ndarray] = []

    def after_step(self, step: Step) -> None:
        assert isinstance(step.network, GraphNetwork)
        self.shares.append(share_of_zeros(step.network))
        self.zero.append(weight(step.network, "conv3") == 0)


def test_weights_that_are_zero_stay_zero_and_the_others_learn() -> None:
    network = tiny.trained()
    list(apply(network, LAYERS, Stats(), ZerosConfig(sparsity=0.7)))
    before = weight(network, "conv2").copy()
    trained = fit(network, tiny.digits(), Mask(LAYERS), config=SHORT)
    after = weight(trained, "conv2")
    np.testing.assert_array_equal(after == 0, before == 0)
    assert (after != before)[before != 0].mean() > 0.9
    without = fit(network, tiny.digits(), config=SHORT)
    assert share_of_zeros(without) < 0.01  # what the hook is for


def test_zeros_come_by_the_schedule_and_never_go_back() -> None:
    watch, schedule = Watch(), Schedule(begin=0.25, end=0.75, rounds=5)
    fit(tiny.trained(), tiny.digits(), Mask(LAYERS, ZerosConfig(sparsity=0.8), schedule), watch, config=SHORT)
    shares = watch.shares
    total = len(shares)
    assert total == 40
    assert shares[int(0.25 * total) - 1] == 0
    wanted = [sparsity_at(round_ / 5, 0.8) for round_ in range(6)]
    assert sorted(set(np.round(shares, 3))) == pytest.approx(wanted, abs=1e-3)
    assert shares[int(0.75 * total) - 1] == pytest.approx(0.8, abs=1e-3)
    assert all((~earlier | later).all() for earlier, later in zip(watch.zero, watch.zero[1:], strict=False))


@pytest.mark.parametrize("block", [1, 4, 8])
def test_training_ends_at_the_sparsity_of_its_blocks(block: int) -> None:
    hook = Mask(LAYERS, ZerosConfig(sparsity=0.75, block=block))
    trained = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    for layer in LAYERS:
        scores = block_scores(weight(trained, layer).astype(np.float64), block)
        assert np.count_nonzero(scores == 0) == round(0.75 * scores.size)


def test_a_gradual_mask_keeps_more_accuracy_than_a_cut_at_the_end() -> None:
    data, network = tiny.digits(), tiny.trained()
    config = ZerosConfig(sparsity=0.9)
    gradual = fit(network, data, Mask(LAYERS, config), config=SHORT)
    cut = fit(network, data, config=SHORT)
    list(apply(cut, LAYERS, Stats(), config))
    assert share_of_zeros(gradual) == pytest.approx(share_of_zeros(cut), abs=1e-3)
    assert evaluate(gradual, data.test, data) > evaluate(cut, data.test, data)


def test_a_hook_serves_twice() -> None:
    hook = Mask(LAYERS, ZerosConfig(sparsity=0.6))
    runs = [tiny.state(fit(tiny.trained(), tiny.digits(), hook, config=SHORT)) for _ in range(2)]
    assert runs[0] == runs[1]


@given(share=st.floats(0, 1), more=st.floats(0, 1), final=st.floats(0, 1))
def test_the_schedule_rises_from_nothing_to_the_final_sparsity(
    share: float, more: float, final: float
) -> None:
    low, high = sorted((share, more))
    assert 0 <= sparsity_at(low, final) <= sparsity_at(high, final) + 1e-12 <= final + 2e-12
    assert (sparsity_at(0, final), sparsity_at(1, final)) == (0, final)


def test_rejects_a_schedule_that_ends_before_it_begins() -> None:
    with pytest.raises(ConfigError, match=r"must end after it begins; got 0\.6 and 0\.5"):
        Mask(LAYERS, ZerosConfig(), Schedule(begin=0.6))


def test_rejects_a_network_that_is_not_traced_or_lacks_the_layer() -> None:
    with pytest.raises(ConfigError, match=r"Mask: needs a traced network; got Net"):
        Mask(LAYERS).attach(tiny.net())
    with pytest.raises(ConfigError, match="'conv9' is no layer with weights"):
        Mask(("conv9",)).attach(tiny.traced())
    assert torch.is_grad_enabled()


def test_rejects_zeros_in_a_depthwise_layer() -> None:
    with pytest.raises(ConfigError, match=r"Mask: 0: depthwise convolutions run dense"):
        Mask(("0",), ZerosConfig()).attach(depthwise())
    Mask(("0",)).attach(depthwise())


def depthwise() -> GraphNetwork:
    return trace(torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, groups=4)).eval(), torch.zeros(1, 4, 5, 5))
