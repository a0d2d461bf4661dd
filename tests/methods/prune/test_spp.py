"""Pruning by chance: the curve, the ranks, what a step leaves alone, and what is gone in the end."""

import copy
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.compress.compact import compact
from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook, Step
from wieldy.methods.prune.spp import (
    Chances,
    Spp,
    SppConfig,
    advanced,
    changes,
    forced,
    interval_of,
    positions,
    quota_of,
    settled,
    unmoved,
    updates_needed,
)
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.train.fit import FitConfig, fit

SHORT = FitConfig(epochs=4, batch_size=32, learning_rate=0.02)  # 40 steps
FAST = 0.5  # a rise by which 40 steps are enough
Stop = Callable[[GraphNetwork, int], None]


def plain_loop(network: GraphNetwork, hook: Hook, steps: int = 60, look: Stop = lambda *_: None) -> None:
    """Train in place without `fit`; `look` is called after every step."""
    x, y = (torch.from_numpy(a[:64]) for a in (tiny.digits().train.inputs, tiny.digits().train.targets))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-3)
    network.train()
    hook.attach(network)
    for index in range(steps):
        hook.before_forward(network)
        outputs = network(x)
        optimizer.zero_grad()
        F.cross_entropy(outputs, y).backward()
        step = Step(network, x, outputs, y, index, steps, 0.02)
        hook.after_backward(step)
        optimizer.step()
        hook.after_step(step)
        look(network, index)
    hook.finish(network)
    network.eval()


def weight(network: GraphNetwork, layer: str) -> Tensor:
    return network.tensor(f"{layer}.weight").detach()


def zero_columns(network: GraphNetwork, layer: str) -> Tensor:
    return (weight(network, layer) == 0).all(0).flatten()


def zero_filters(network: GraphNetwork, layer: str) -> Tensor:
    return (weight(network, layer) == 0).flatten(1).all(1)


class Left(Hook):
    """Stands after Spp and notes which columns a batch does not see."""

    def __init__(self, layer: str) -> None:
        self.layer, self.seen = layer, []  # type: ignore[var-annotated]

    def before_forward(self, network: nn.Module) -> None:
        assert isinstance(network, GraphNetwork)
        self.seen.append(zero_columns(network, self.layer))


class Both(Hook):
    """Two hooks as one, in order."""

    def __init__(self, *hooks: Hook) -> None:
        self.hooks = hooks

    def attach(self, network: nn.Module) -> None:
        for hook in self.hooks:
            hook.attach(network)

    def before_forward(self, network: nn.Module) -> None:
        for hook in self.hooks:
            hook.before_forward(network)

    def after_backward(self, step: Step) -> None:
        for hook in self.hooks:
            hook.after_backward(step)

    def after_step(self, step: Step) -> None:
        for hook in self.hooks:
            hook.after_step(step)

    def finish(self, network: nn.Module) -> None:
        for hook in self.hooks:
            hook.finish(network)


# The curve and the ranks


def test_reference_curve_by_hand() -> None:
    """100 groups, half of which go: alpha = ln(8) / 50 = 0.0415888, N = ln(4) / alpha = 33.3333."""
    found = changes(torch.tensor([0.0, 10.0, 30.0, 40.0, 50.0, 60.0, 99.0]), 50, 0.05, 0.25)
    wanted = [0.05, 0.0329877, 0.0143587, 0.0085062, 0.0, -0.0128929, -0.05]
    np.testing.assert_allclose(found, wanted, atol=1e-7)


@given(quota=st.integers(1, 900), rise=st.floats(0.001, 1), bend=st.floats(0.01, 0.99))
def test_the_curve_falls_from_rise_through_zero_at_the_quota_to_no_less_than_minus_rise(
    quota: int, rise: float, bend: float
) -> None:
    ranks = torch.arange(3 * quota + 5)
    found = changes(ranks, quota, rise, bend)
    assert float(found[0]) == pytest.approx(rise, abs=1e-15)
    assert abs(float(found[quota])) <= 1e-12
    assert (found.diff() <= 1e-15).all()
    assert float(found.min()) >= -rise - 1e-12
    turn = -math.log(bend) / (math.log(2 / bend) / quota)
    assert float(changes(torch.tensor([turn], dtype=torch.float64), quota, rise, bend)) == pytest.approx(
        bend * rise, abs=1e-12
    )


def update_by_hand(
    pruned: list[float], sums: list[int], to_go: int, sizes: list[float]
) -> tuple[list[float], list[int], int]:
    """The obvious version: A = 0.05, u = 0.25."""
    left = [i for i, p in enumerate(pruned) if p < 1]
    for rank, i in enumerate(sorted(left, key=lambda i: sizes[i])):
        sums[i] += rank
    alpha = math.log(8) / to_go
    turn = math.log(4) / alpha
    order = sorted(left, key=lambda i: sums[i])
    for rank, i in enumerate(order):
        delta = 0.05 * math.exp(-alpha * rank)
        if rank > turn:
            delta = max(-0.05, 0.025 - 0.05 * math.exp(-alpha * (2 * turn - rank)))
        pruned[i] = min(1.0, max(0.0, pruned[i] + delta))
    gone = [i for i in order if pruned[i] > 1 - 1e-9]
    for i in gone:
        pruned[i] = 1.0
    if len(gone) >= to_go:
        pruned = [float(i in gone[:to_go] or i not in left) for i in range(len(pruned))]
    return pruned, sums, to_go - min(to_go, len(gone))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), groups=st.integers(2, 12), ratio=st.floats(0.05, 0.95))
def test_reference_updates_are_those_of_the_obvious_loop(seed: int, groups: int, ratio: float) -> None:
    draw = np.random.default_rng(seed)
    chances = unmoved(groups, quota_of(groups, ratio))
    pruned, sums, to_go = [0.0] * groups, [0] * groups, chances.to_go
    drift = draw.normal(size=groups)
    for _ in range(150):
        sizes = np.exp(drift + 0.3 * draw.normal(size=groups))
        chances = advanced(chances, torch.from_numpy(sizes), 0.05, 0.25)
        if to_go:
            pruned, sums, to_go = update_by_hand(pruned, sums, to_go, sizes.tolist())
        np.testing.assert_allclose(chances.pruned, pruned, atol=1e-9)
        assert chances.to_go == to_go


def test_reference_updates_until_half_of_a_hundred_are_gone() -> None:
    assert updates_needed(100, SppConfig(ratio=0.5)) == 110  # 982 with ranks that removed groups keep


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 999), groups=st.integers(2, 30), ratio=st.floats(0.01, 0.99), rise=st.floats(0.05, 1),
    updates=st.integers(0, 60),
)  # fmt: skip
def test_probabilities_stay_probabilities_and_exactly_the_quota_goes(
    seed: int, groups: int, ratio: float, rise: float, updates: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    chances = unmoved(groups, quota_of(groups, ratio))
    gone = torch.zeros(groups, dtype=torch.bool)
    for _ in range(updates):
        before = copy.deepcopy(chances)
        after = advanced(chances, torch.rand(groups, generator=draw), rise, 0.25)
        assert torch.equal(chances.pruned, before.pruned)  # what is handed in is not altered
        assert torch.equal(chances.ranks, before.ranks)
        chances = after
        assert ((chances.pruned >= 0) & (chances.pruned <= 1)).all()
        assert (chances.pruned[gone] == 1).all()  # gone for good
        gone = chances.pruned == 1
        assert int(gone.sum()) + chances.to_go == quota_of(groups, ratio)
    last = forced(chances)
    assert last.to_go == 0
    assert sorted(last.pruned.unique().tolist()) == [0, 1]
    assert int(last.pruned.sum()) == quota_of(groups, ratio) == min(groups - 1, math.ceil(ratio * groups))
    assert (last.pruned[gone] == 1).all()


def test_a_group_that_was_small_for_a_while_comes_back() -> None:
    sizes = torch.arange(1.0, 21.0)
    low = sizes.clone()
    low[-1] = 0.01
    chances, peak = unmoved(20, 10), 0.0
    while chances.pruned[-1] < 0.5:
        chances = advanced(chances, low, 0.05, 0.25)
    while chances.pruned[-1] > 0:
        chances = advanced(chances, sizes, 0.05, 0.25)
        peak = max(peak, float(chances.pruned[-1]))
    assert 0.5 < peak < 1
    assert chances.to_go > 0


def test_what_is_forced_is_the_likeliest_and_of_equals_the_least() -> None:
    pruned = torch.tensor([0.2, 0.9, 0.5, 0.5, 1.0, 0.0], dtype=torch.float64)
    ranks = torch.tensor([0.0, 9.0, 4.0, 3.0, 0.0, 1.0], dtype=torch.float64)
    assert forced(Chances(pruned, ranks, 2)).pruned.tolist() == [0, 1, 0, 1, 1, 0]


def test_of_more_than_may_go_the_least_go() -> None:
    ranks = torch.tensor([5.0, 1.0, 3.0], dtype=torch.float64)
    left = torch.ones(3, dtype=torch.bool)
    assert settled(Chances(torch.zeros(3).double(), ranks, 2), left, left).pruned.tolist() == [0, 1, 1]


@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_ties_rank_by_position(values: list[int]) -> None:
    found = positions(torch.tensor(values)).tolist()
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    assert [order.index(i) for i in range(len(values))] == found


def test_updates_are_spread_over_a_training_that_is_long_enough() -> None:
    needed = updates_needed(300, SppConfig())
    assert interval_of(needed, 10) == 1
    assert needed * interval_of(needed, 10_000) == pytest.approx(6_000)


# What a step sees, and what it leaves alone


def test_what_is_left_out_is_left_out_whole_and_comes_back_bit_by_bit() -> None:
    network, hook = tiny.trained(), Spp(SppConfig(ratio=0.5, interval=2, seed=3))
    names = [f"{layer}.weight" for layer in ("conv2", "conv3", "fc")]
    held: dict[str, Tensor] = {}
    compared = 0

    class Before(Hook):
        def before_forward(self, network: nn.Module) -> None:
            assert isinstance(network, GraphNetwork)
            held.update({name: network.tensor(name).detach().clone() for name in names})

    def after(network: GraphNetwork, _: int) -> None:
        nonlocal compared
        for (layer, chances), out in zip(hook.chances.items(), left, strict=True):
            back = out.seen[-1] & (chances.pruned < 1)
            now, before = (
                t.flatten(1)[:, back].view(torch.int32)
                for t in (weight(network, layer), held[f"{layer}.weight"])
            )
            assert torch.equal(now, before)
            assert not zero_columns(network, layer)[chances.pruned < 1].any()  # evaluation sees them
            compared += now.numel()

    left = [Left(layer) for layer in ("conv2", "conv3", "fc")]
    plain_loop(network, Both(Before(), hook, *left), look=after)
    assert compared > 10_000


def test_a_group_is_kept_as_often_as_its_probability_says() -> None:
    network, hook = tiny.trained(), Spp()
    hook.attach(network)
    pruned = torch.linspace(0, 0.95, 72, dtype=torch.float64)
    hook.chances["conv2"] = Chances(pruned, torch.zeros(72).double(), 10)
    left, draws = Left("conv2"), 2000
    for _ in range(draws):
        hook.before_forward(network)
        left.before_forward(network)
    share = torch.stack(left.seen).double().mean(0)
    sigma = (pruned * (1 - pruned) / draws).sqrt()
    assert ((share - pruned).abs() <= 4 * sigma).all()
    together = np.corrcoef(torch.stack(left.seen).numpy()[:, 20:].T.astype(float))
    assert np.abs(together - np.eye(52)).max() < 5 / math.sqrt(draws)  # and groups do not go together


def test_a_forward_pass_without_a_step_loses_nothing() -> None:
    network, hook = tiny.trained(), Spp()
    hook.attach(network)
    before = tiny.state(network)
    hook.chances["conv3"] = Chances(torch.full((144,), 0.5).double(), torch.zeros(144).double(), 10)
    for _ in range(3):
        hook.before_forward(network)
        assert tiny.state(network) != before
    hook.chances["conv3"] = Chances(torch.zeros(144).double(), torch.zeros(144).double(), 10)
    hook.before_forward(network)
    assert tiny.state(network) == before


def test_no_gradient_reaches_what_is_left_out() -> None:
    network, hook = tiny.trained(), Spp(SppConfig(interval=1))

    class Look(Hook):
        count = 0

        def after_backward(self, step: Step) -> None:
            assert isinstance(step.network, GraphNetwork)
            out = weight(step.network, "conv2") == 0
            gradient = step.network.tensor("conv2.weight").grad
            assert gradient is not None
            assert not gradient[out].any()
            Look.count += int(out.sum())

    plain_loop(network, Both(hook, Look()), steps=30)
    assert Look.count > 0


def test_running_statistics_of_a_filter_do_not_see_steps_without_it() -> None:
    network, hook = tiny.trained(), Spp(SppConfig(structure="filters"))
    hook.attach(network)
    hook.chances["conv1"] = Chances(
        torch.tensor([0, 1 - 1e-12] * 4, dtype=torch.float64), torch.zeros(8).double(), 4
    )
    names = ("norm1.weight", "norm1.bias", "norm1.running_mean", "norm1.running_var", "conv1.weight")
    before = {name: network.tensor(name).detach().clone() for name in names}
    x = torch.from_numpy(tiny.digits().train.inputs[:64])
    hook.before_forward(network)
    network.train()
    outputs = network(x)
    outputs.sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    hook.after_step(Step(network, x, outputs, x, 0, 10_000, 0.1))
    for name in names:
        same = (network.tensor(name) == before[name]).flatten(1 if name == "conv1.weight" else 0)
        same = same.all(1) if same.ndim > 1 else same
        assert same.tolist() == [False, True] * 4, name


# What is gone in the end


@pytest.mark.parametrize("structure", ["columns", "filters"])
@pytest.mark.parametrize(("rise", "in_time"), [(FAST, True), (0.05, False)])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.77])
def test_each_layer_loses_its_share_in_time_or_at_the_end_and_says_so(
    structure: str, rise: float, in_time: bool, ratio: float
) -> None:
    hook = Spp(SppConfig(structure=structure, ratio=ratio, rise=rise))
    early: dict[str, int] = {}

    class Count(Hook):
        def after_step(self, step: Step) -> None:
            assert isinstance(step.network, GraphNetwork)
            early.update({layer: int(zero(step.network, layer).sum()) for layer in layers})

    zero = zero_columns if structure == "columns" else zero_filters
    layers = ["conv2", "conv3", "fc"] if structure == "columns" else ["conv1", "conv2", "conv3"]
    network = fit(tiny.trained(), tiny.digits(), hook, Count(), config=SHORT)
    found = {item.layer: item for item in hook.records()}
    assert set(found) == {"conv1", "conv2", "conv3", "fc"}
    changed = [item for item in found.values() if isinstance(item, Change)]
    assert [item.layer for item in changed] == layers
    for item in changed:
        gone = zero(network, item.layer)
        assert int(gone.sum()) == math.ceil(ratio * len(gone))
        assert item.before[structure] == len(gone)
        assert item.after[structure] == len(gone) - int(gone.sum())
        assert item.after["nonzero"] == int(weight(network, item.layer).count_nonzero())
        late = item.after[f"forced_{structure}"]
        assert late == int(gone.sum()) - early[item.layer]
        assert (late == 0) == in_time
        assert item.before[f"forced_{structure}"] == 0
    (refused,) = (item for item in found.values() if isinstance(item, Refused))
    assert refused.method == "spp"
    assert refused.layer == ("conv1" if structure == "columns" else "fc")
    assert refused.reason.startswith(
        "the first layer" if structure == "columns" else "its channels are the network's outputs"
    )


@pytest.mark.parametrize("training", [False, True])
def test_a_dead_filter_is_a_dead_channel_through_norms_and_additions(training: bool) -> None:
    hook = Spp(SppConfig(structure="filters", ratio=0.5, rise=FAST))
    network = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    assert torch.equal(zero_filters(network, "conv2"), zero_filters(network, "conv3"))  # they are added
    x = torch.from_numpy(tiny.digits().test.inputs[:50])
    network.train(training)
    with torch.no_grad():
        wanted = network(x)
        dead = {maker: zero_filters(network, maker) for maker in ("conv1", "conv2", "conv3")}
        for maker, reader in (("conv1", "conv2"), ("conv2", "conv3"), ("conv3", "fc")):
            assert int(dead[maker].sum()) == len(dead[maker]) // 2
            weight(network, reader)[:, dead[maker]] = 1e3
        found = network(x)
    assert torch.equal(found, wanted)


def test_what_goes_does_not_move_once_it_is_gone_and_the_others_learn() -> None:
    network, hook = tiny.trained(), Spp(SppConfig(rise=FAST))
    before = weight(network, "conv3").clone()
    gone: list[Tensor] = []
    plain_loop(network, hook, look=lambda net, _: gone.append(zero_columns(net, "conv3")))
    assert all((~earlier | later).all() for earlier, later in itertools.pairwise(gone))
    after = weight(network, "conv3")
    assert (after != before)[after != 0].float().mean() > 0.9


def test_what_others_write_into_groups_that_are_gone_does_not_last() -> None:
    network, hook = tiny.trained(), Spp(SppConfig(rise=FAST))
    gone: list[Tensor] = []

    def write(network: GraphNetwork, index: int) -> None:
        if index == 50:
            gone.append(zero_columns(network, "conv3"))
            weight(network, "conv3").add_(1.0)
        if index > 50:
            assert zero_columns(network, "conv3")[gone[0]].all()

    plain_loop(network, hook, look=write)
    assert gone[0].any()


def test_twice_is_once() -> None:
    hook = Spp(SppConfig(rise=FAST))
    once = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    twice = fit(once, tiny.digits(), hook, config=SHORT)
    for layer in ("conv2", "conv3", "fc"):
        assert torch.equal(zero_columns(once, layer), zero_columns(twice, layer))
    (change, *_) = (item for item in hook.records() if isinstance(item, Change))
    assert change.before == change.after


def test_a_hook_serves_twice_and_follows_its_seed_alone() -> None:
    hook = Spp(SppConfig(seed=1, rise=FAST))
    runs = []
    for each in (hook, hook, Spp(SppConfig(seed=1, rise=FAST)), Spp(SppConfig(seed=2, rise=FAST))):
        torch.manual_seed(len(runs))  # what others draw does not matter
        runs.append(tiny.state(fit(tiny.trained(), tiny.digits(), each, config=SHORT)))
    assert runs[0] == runs[1] == runs[2] != runs[3]


def test_a_plain_loop_removes_as_much_as_fit_does() -> None:
    network, hook = tiny.trained(), Spp(SppConfig(ratio=0.6, rise=FAST))
    plain_loop(network, hook)
    for layer, columns in (("conv2", 72), ("conv3", 144), ("fc", 16)):
        assert int(zero_columns(network, layer).sum()) == math.ceil(0.6 * columns)


def test_filters_that_are_gone_are_taken_out_and_the_network_computes_the_same() -> None:
    hook = Spp(SppConfig(structure="filters", ratio=0.5, rise=FAST))
    network = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    small, _ = compact(network)
    assert [len(weight(small, layer)) for layer in ("conv1", "conv2", "conv3")] == [4, 8, 8]
    x = torch.from_numpy(tiny.digits().test.inputs)
    with torch.no_grad():
        torch.testing.assert_close(small(x), network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["csr", "block_8x1"])
def test_what_is_saved_runs_as_the_network_does(kind: str, tmp_path: Path) -> None:
    network = fit(tiny.trained(), tiny.digits(), Spp(SppConfig(ratio=0.7, rise=FAST)), config=SHORT)
    path = save(network, tmp_path / "net.wieldy", formats={"conv2.weight": kind, "conv3.weight": kind})
    x = tiny.digits().test.inputs[:20]
    with torch.no_grad():
        wanted = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(open_package(path)(x), wanted, rtol=1e-4, atol=1e-4)


# Shapes and refusals


def convs() -> GraphNetwork:
    """A grouped and a depthwise convolution between others, and a layer that reads one number."""
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 4),
    )  # fmt: skip
    return trace(model.eval(), torch.zeros(1, 2, 9, 9))


def run(network: GraphNetwork, hook: Spp, steps: int = 40) -> None:
    hook.attach(network)
    x = torch.randn(4, 2, 9, 9)
    for index in range(steps):
        hook.before_forward(network)
        hook.after_step(Step(network, x, x, x, index, steps, 0.1))
    hook.finish(network)


def test_columns_of_a_grouped_convolution_belong_to_its_group() -> None:
    network, hook = convs(), Spp(SppConfig(rise=FAST))
    run(network, hook)
    halves = weight(network, "2").reshape(2, 4, 36)
    assert int((halves == 0).all(1).sum()) == 36  # of 72
    found = {item.layer: item for item in hook.records()}
    reasons = {name: item.reason for name, item in found.items() if isinstance(item, Refused)}
    assert sorted(reasons) == ["0", "4", "8"]
    assert reasons["4"] == "depthwise convolutions run dense"
    assert reasons["8"] == "it has one group, which must stay"


def test_filters_take_grouped_and_depthwise_layers_along() -> None:
    network, hook = convs(), Spp(SppConfig(structure="filters", rise=FAST))
    run(network, hook)
    assert torch.equal(zero_filters(network, "2"), zero_filters(network, "4"))
    bias = network.tensor("4.bias")
    assert torch.equal(bias == 0, zero_filters(network, "4"))
    assert int(zero_filters(network, "2").sum()) == 4
    assert {item.layer for item in hook.records() if isinstance(item, Refused)} == {"5", "8"}


def test_only_the_layers_that_are_named_lose_groups() -> None:
    hook = Spp(SppConfig(rise=FAST), layers=["conv1"])
    network = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    assert int(zero_columns(network, "conv1").sum()) == 5  # of 9; named, the first layer is no exception
    assert not zero_columns(network, "conv2").any()
    assert [item.layer for item in hook.records()] == ["conv1"]


def test_filters_that_go_together_are_named_together() -> None:
    hook = Spp(SppConfig(structure="filters"), layers=["conv2"])
    fit(tiny.trained(), tiny.digits(), hook, config=SHORT.model_copy(update={"epochs": 1}))
    (record,) = hook.records()
    assert isinstance(record, Refused)
    assert "conv3" in record.reason


def test_an_untrained_hook_has_nothing_to_tell() -> None:
    assert list(Spp().records()) == []


def test_rejects_a_network_that_is_not_traced_or_lacks_the_layer() -> None:
    with pytest.raises(ConfigError, match=r"Spp: needs a traced network; got Net"):
        Spp().attach(tiny.net())
    with pytest.raises(ConfigError, match=r"spp: 'conv9' is no layer with weights. Layers are conv1"):
        Spp(layers=["conv9"]).attach(tiny.traced())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("structure", ["columns", "filters"])
def test_rejects_weights_that_are_not_finite(structure: str, wrong: float) -> None:
    network = tiny.traced()
    weight(network, "conv2")[0, 0, 0, 0] = wrong
    with pytest.raises(DataError, match=r"spp: conv2\.weight holds NaN or infinity"):
        Spp(SppConfig(structure=structure)).attach(network)


@pytest.mark.parametrize(
    "wrong", [{"ratio": 0}, {"ratio": 1}, {"rise": 0}, {"bend": 1}, {"interval": 0}, {"structure": "rows"}]
)
def test_rejects_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SppConfig(**wrong)
