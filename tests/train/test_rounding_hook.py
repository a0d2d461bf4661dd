"""Training with levels in place: weights learn in float32, the network that is left lies on levels."""

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from wieldy.compress.quantize import first_examples, quantize, quantize_with_settings
from wieldy.core.errors import ConfigError
from wieldy.formats import FORMATS
from wieldy.formats.integer import IntegerFormat
from wieldy.graph.fake_quantize import FIELDS
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import FAKE_QUANTIZE
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook, Step
from wieldy.methods.prune.zeros import ZerosConfig, apply, block_scores
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.stats.collect import Stats
from wieldy.train.fit import FitConfig, fit
from wieldy.train.mask import Mask
from wieldy.train.rounding import MOMENTS, Rounding

SHORT = FitConfig(epochs=4, batch_size=32, learning_rate=0.01)  # 40 steps
SEVEN = IntegerConfig(weight_bits=7, ranges="minmax")


def ranges_of(network: GraphNetwork) -> list[tuple[object, ...]]:
    nodes = [node for node in network.program.nodes if node.op == FAKE_QUANTIZE]
    return [tuple(node.inputs[name] for name in FIELDS) for node in nodes]


class Watch(Hook):
    """Notes the ranges and a weight after every step; stands after the hook that makes them."""

    def __init__(self) -> None:
        self.ranges: list[list[tuple[object, ...]]] = []
        self.weights: list[Tensor] = []

    def after_step(self, step: Step) -> None:
        assert isinstance(step.network, GraphNetwork)
        self.ranges.append(ranges_of(step.network))
        self.weights.append(step.network.tensor("conv2.weight").detach().clone())


@pytest.fixture(scope="module")
def rounded() -> GraphNetwork:
    return quantize(tiny.trained(), tiny.digits(), SEVEN)[0]


@pytest.fixture(scope="module")
def learnt(rounded: GraphNetwork) -> tuple[GraphNetwork, Watch]:
    watch = Watch()
    hooks = Rounding(first_examples(tiny.digits()), SEVEN), watch
    return fit(rounded, tiny.digits(), *hooks, config=SHORT), watch


def test_every_weight_ends_on_levels_and_learns_off_them(learnt: tuple[GraphNetwork, Watch]) -> None:
    network, watch = learnt
    for name, kind in network.formats.items():
        form = FORMATS[kind]
        assert isinstance(form, IntegerFormat)
        assert form.holds(network.tensor(name).detach().numpy())
    assert not any(FORMATS["int7"].holds(weight.numpy()) for weight in watch.weights)  # type: ignore[union-attr]
    assert len(watch.weights) == 40


def test_what_was_learnt_runs_in_whole_numbers_as_it_did_in_training(
    learnt: tuple[GraphNetwork, Watch], tmp_path
) -> None:  # type: ignore[no-untyped-def]
    network, _ = learnt
    path = save(network, tmp_path / "net.wieldy", formats=network.formats)
    x = tiny.digits().test.inputs[:50]
    with torch.no_grad():
        wanted = network(torch.from_numpy(x)).numpy()
    assert (open_package(path)(x).argmax(1) == wanted.argmax(1)).mean() >= 0.98


def test_ranges_are_chosen_anew_at_some_moments_and_then_freeze(learnt: tuple[GraphNetwork, Watch]) -> None:
    _, watch = learnt
    changes = [step for step in range(1, 40) if watch.ranges[step] != watch.ranges[step - 1]]
    assert len(changes) == MOMENTS
    assert max(changes) == 19  # the end of the first half
    assert watch.ranges[-1] == watch.ranges[19]


def test_without_examples_ranges_stay(rounded: GraphNetwork) -> None:
    trained = fit(rounded, tiny.digits(), Rounding(), config=SHORT.model_copy(update={"epochs": 1}))
    assert ranges_of(trained) == ranges_of(rounded)


def test_the_gradient_of_the_rounded_weight_moves_the_one_that_learns() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32))
    network, _ = quantize(trace(nn.Sequential(nn.Linear(6, 3)), x[:1]), [(x.numpy(),)], SEVEN)
    with torch.no_grad():
        network.tensor("0.weight").add_(0.003)  # off its levels
    before = network.tensor("0.weight").detach().clone()
    hook = Rounding()
    hook.attach(network)
    hook.before_forward(network)
    on_levels = network.tensor("0.weight").detach().clone()
    assert FORMATS["int7"].holds(on_levels.numpy())  # type: ignore[union-attr]
    outputs = network(x)
    assert isinstance(outputs, Tensor)
    outputs.square().sum().backward()
    hook.after_backward(Step(network, x, outputs, x, 0, 1, 0.1))
    assert torch.equal(network.tensor("0.weight"), before)
    levels = next(node for node in network.program.nodes if node.op == FAKE_QUANTIZE)
    scale, zero, low, high = (levels.inputs[name] for name in FIELDS)
    read = torch.fake_quantize_per_tensor_affine(x, scale, zero, low, high)  # type: ignore[arg-type]
    wanted = 2 * (read @ on_levels.T + network.tensor("0.bias")).T @ read
    torch.testing.assert_close(network.tensor("0.weight").grad, wanted.detach())


def test_weights_that_are_zero_in_blocks_stay_so_while_the_others_learn() -> None:
    thinned = tiny.trained()
    config = ZerosConfig(sparsity=0.5, inputs=4)
    list(apply(thinned, ("conv2", "conv3"), Stats(), config))
    rounded, _ = quantize(thinned, tiny.digits(), SEVEN)
    trained = fit(rounded, tiny.digits(), Rounding(), Mask(("conv2", "conv3")), config=SHORT)
    for layer in ("conv2", "conv3"):
        before, after = (net.tensor(f"{layer}.weight").detach().numpy() for net in (rounded, trained))
        assert (after[before == 0] == 0).all()
        assert not np.array_equal(before, after)
        assert (block_scores(after.astype(np.float64), 1, 4) == 0).mean() >= 0.5


class TwoBranches(nn.Module):
    """What is put together has one range."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)
        self.last = nn.Conv2d(8, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([torch.relu(self.first(x)), torch.relu(2 * self.second(x))], 1)
        return self.last(both).mean((2, 3))


def test_what_is_put_together_still_shares_its_levels() -> None:
    torch.manual_seed(0)
    network = trace(TwoBranches(), torch.zeros(1, 1, 8, 8))
    rounded, _, config = quantize_with_settings(network, tiny.digits())
    assert len(set(ranges_of(rounded))) == 2  # the input's, and one of both branches
    hook = Rounding(first_examples(tiny.digits()), config)
    short = SHORT.model_copy(update={"epochs": 1})
    trained = fit(rounded, tiny.digits(), hook, loss=lambda out, _: out.square().mean(), config=short)
    assert len(set(ranges_of(trained))) == 2
    assert ranges_of(trained) != ranges_of(rounded)


def test_ranges_go_on_after_a_crash(rounded: GraphNetwork, learnt: tuple[GraphNetwork, Watch]) -> None:
    done, fresh = Rounding(), Rounding()
    done.attach(learnt[0])
    network = GraphNetwork.from_arrays(rounded.program, rounded.arrays(), rounded.formats)
    fresh.attach(network)
    fresh.restore(done.state())
    assert ranges_of(network) == ranges_of(learnt[0])


@pytest.mark.parametrize("frozen", [0.0, -1.0, 1.5])
def test_rejects_a_moment_outside_the_training(frozen: float) -> None:
    with pytest.raises(ConfigError, match=r"frozen must be a share of the training in \(0, 1\]; got"):
        Rounding(frozen=frozen)


def test_rejects_a_network_without_levels_and_a_training_in_fewer_digits(rounded: GraphNetwork) -> None:
    with pytest.raises(ConfigError, match=r"no layer of the network is in whole numbers. Use `quantize`"):
        fit(tiny.trained(), tiny.digits(), Rounding(), config=SHORT)
    with pytest.raises(ConfigError, match="Rounding needs precision='f32'"):
        fit(rounded, tiny.digits(), Rounding(), config=SHORT.model_copy(update={"precision": "bf16"}))
