"""Group-gRDA: what a step does, where thresholds stop, what is a group, and what is left in the network."""

import math
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from wieldy.compress.compact import compact
from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook, Step
from wieldy.methods.prune.directional import (
    Directional,
    DirectionalConfig,
    growth,
    levels,
    next_threshold,
    share_of_rest,
    shrinkage,
)
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.train.fit import FitConfig, fit

SHORT = FitConfig(epochs=4, batch_size=32, learning_rate=0.2, momentum=0, weight_decay=0)  # 40 steps


def traced(model: nn.Module, *shape: int) -> GraphNetwork:
    return trace(model.eval(), torch.zeros(1, *shape))


def changes(hook: Hook) -> dict[str, Change]:
    return {item.layer: item for item in hook.records() if isinstance(item, Change)}


def refusals(hook: Hook) -> dict[str, str]:
    return {item.layer: item.reason for item in hook.records() if isinstance(item, Refused)}


def zero_rows(network: GraphNetwork, tensor: str) -> list[int]:
    values = network.tensor(tensor).detach()
    return [i for i, row in enumerate(values.reshape(len(values), -1)) if not row.any()]


def loop(
    network: GraphNetwork, hook: Hook, rates: list[float], momentum: float = 0.0, seed: int = 0
) -> list[dict[str, torch.Tensor]]:
    """Train in a plain torch loop on random batches; return the gradients of every step."""
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=rates[0], momentum=momentum)
    hook.attach(network)
    found = []
    for index, rate in enumerate(rates):
        x, y = torch.randn(16, 4, generator=draw), torch.randint(3, (16,), generator=draw)
        optimizer.param_groups[0]["lr"] = rate
        hook.before_forward(network)
        outputs = network(x)
        optimizer.zero_grad()
        F.cross_entropy(outputs, y).backward()
        step = Step(network, x, outputs, y, index, len(rates), rate)
        hook.after_backward(step)
        optimizer.step()
        hook.after_step(step)
        found.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    hook.finish(network)
    return found


def test_reference_is_dual_averaging_written_out() -> None:
    config = DirectionalConfig(sparsity=0.9, c=0.05, mu=0.6)
    network, rates = traced(tiny.plain(), 4), [0.1, 0.3, 0.05, 0.2, 0.2]
    sums = {name: p.detach().clone() for name, p in network.named_parameters()}
    for index, gradients in enumerate(loop(network, Directional(config), rates)):
        for name, gradient in gradients.items():
            sums[name] -= rates[index] * gradient
    threshold = sum(
        0.05 * rate ** (0.5 + 0.6) * (k**0.6 - (k - 1) ** 0.6) for k, rate in enumerate(rates, start=1)
    )
    for layer in ("first", "second"):
        rows = torch.cat([sums[f"{layer}.weight"], sums[f"{layer}.bias"][:, None]], 1)
        shrink = (1 - threshold * math.sqrt(rows.shape[1]) / rows.norm(dim=1)).clamp(min=0)
        found = torch.cat([network.tensor(f"{layer}.weight"), network.tensor(f"{layer}.bias")[:, None]], 1)
        torch.testing.assert_close(found.detach(), rows * shrink[:, None], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.tensor("third.weight").detach(), sums["third.weight"])


def test_reference_shrinkage_minimises_the_penalised_distance() -> None:
    draw = torch.Generator().manual_seed(0)
    point, threshold = torch.randn(5, generator=draw, dtype=torch.float64), 0.3
    size = torch.tensor([5.0], dtype=torch.float64)
    best = point * shrinkage(levels(point.norm()[None], size), threshold)

    def value(w: torch.Tensor) -> float:
        return float((w - point).square().sum() / 2 + threshold * math.sqrt(5) * w.norm())

    for scale in (1e-1, 1e-3):
        tried = [best + scale * torch.randn(5, generator=draw, dtype=torch.float64) for _ in range(200)]
        assert all(value(w) >= value(best) for w in tried)


@given(c=st.floats(1e-4, 1.0), rate=st.floats(1e-4, 1.0), mu=st.floats(0.05, 0.95), steps=st.integers(1, 60))
def test_increments_at_one_rate_add_up_to_the_closed_form(
    c: float, rate: float, mu: float, steps: int
) -> None:
    total = sum(growth(c, rate, mu, step) for step in range(1, steps + 1))
    assert total == pytest.approx(c * rate ** (0.5 + mu) * steps**mu)


@given(mu=st.floats(0.05, 0.95), last=st.integers(1, 60))
def test_where_norms_stand_still_the_chosen_c_is_constant(mu: float, last: int) -> None:
    config, level, threshold = DirectionalConfig(mu=mu), torch.tensor([2.0, 3.0]).double(), 0.0
    for step in range(1, last + 1):
        threshold = next_threshold(threshold, level, 1, config, rate=0.1, step=step, last=last)
        assert threshold == pytest.approx(2.0 * (step / last) ** mu)
    assert threshold == 2.0
    assert share_of_rest(mu, last, last) == 1.0


@settings(max_examples=50)
@given(
    level=st.lists(st.floats(0.01, 10), min_size=2, max_size=20), start=st.floats(0, 10), data=st.data(),
    c=st.none() | st.floats(0.01, 10),
)  # fmt: skip
def test_a_threshold_never_falls_and_never_passes_what_the_goal_asks(
    level: list[float], start: float, data: st.DataObject, c: float | None
) -> None:
    values = torch.tensor(level, dtype=torch.float64)
    goal = data.draw(st.integers(0, len(level) - 1))
    found = next_threshold(start, values, goal, DirectionalConfig(c=c), rate=0.5, step=3, last=9)
    wanted = sorted(level)[goal - 1] if goal else 0.0
    assert start <= found <= max(start, wanted + 1e-12)


@given(values=st.lists(st.floats(0, 10), min_size=1, max_size=9), threshold=st.floats(0, 10))
def test_a_group_is_zero_exactly_up_to_the_threshold_and_never_turns(
    values: list[float], threshold: float
) -> None:
    level = torch.tensor(values, dtype=torch.float64)
    factors = shrinkage(level, threshold)
    assert torch.equal(factors == 0, level <= threshold)
    assert ((factors >= 0) & (factors <= 1)).all()


@pytest.mark.parametrize("scope", ["layer", "network"])
@pytest.mark.parametrize("structure", ["filters", "columns"])
def test_training_ends_with_the_wanted_share_of_groups_exactly_zero(structure: str, scope: str) -> None:
    hook = Directional(DirectionalConfig(sparsity=0.5, structure=structure, scope=scope))
    network = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    found = changes(hook)
    for change in found.values():
        assert change.after["zero_groups"] == change.after["wanted"] > 0
        weight = network.tensor(f"{change.layer}.weight")
        assert change.after["nonzero"] == int(weight.count_nonzero())
        assert change.after["nonzero"] < change.before["nonzero"] or scope == "network"
        assert change.note == ""
    if structure == "filters" and scope == "layer":
        assert [len(zero_rows(network, f"conv{i}.weight")) for i in (1, 2, 3)] == [4, 8, 8]
        assert refusals(hook) == {"fc": "its channels are the network's outputs"}
    if structure == "columns":
        assert set(found) == {"conv2", "conv3", "fc"}
        columns = network.tensor("conv2.weight").detach().reshape(16, 72)
        if scope == "layer":
            assert int((columns == 0).all(0).sum()) == 36


def test_a_dead_filter_takes_its_bias_and_norm_and_all_that_makes_the_same_channel() -> None:
    network = fit(tiny.trained(), tiny.digits(), Directional(), config=SHORT)
    dead = zero_rows(network, "conv2.weight")
    assert len(dead) == 8
    for name in ("conv2.bias", "norm2.weight", "norm2.bias", "conv3.weight", "conv3.bias"):
        assert zero_rows(network, name) == dead
    x = torch.from_numpy(tiny.digits().test.inputs[:20])
    before = network(x)
    with torch.no_grad():
        network.tensor("fc.weight")[:, dead] = 1e3  # whatever reads the channels reads nothing
    torch.testing.assert_close(network(x), before)


def test_dead_channels_can_be_taken_out() -> None:
    network = fit(tiny.trained(), tiny.digits(), Directional(), config=SHORT)
    small, _ = compact(network)
    assert small.tensor("conv2.weight").shape == (8, 4, 3, 3)
    x = torch.from_numpy(tiny.digits().test.inputs[:20])
    torch.testing.assert_close(small(x), network(x), rtol=1e-5, atol=1e-5)


def test_a_momentum_is_followed_as_it_moves() -> None:
    network = traced(tiny.plain(), 4)
    plain = traced(tiny.plain(), 4)
    loop(network, Directional(DirectionalConfig(sparsity=0)), [0.1] * 8, momentum=0.9)
    loop(plain, Hook(), [0.1] * 8, momentum=0.9)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_what_was_not_reached_is_not_cut_but_told() -> None:
    hook = Directional(DirectionalConfig(sparsity=0.5, c=1e-4))
    network = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    assert zero_rows(network, "conv2.weight") == []
    after = changes(hook)["conv2"].after
    assert (after["groups"], after["zero_groups"], after["wanted"]) == (16, 0, 8)
    assert changes(hook)["conv2"].note == "training ended with 0 of the 8 groups at zero that were wanted"


def test_a_large_c_stops_at_the_wanted_share() -> None:
    hook = Directional(DirectionalConfig(sparsity=0.25, c=1e3))
    fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    assert changes(hook)["conv2"].after["zero_groups"] == 4


def test_one_threshold_never_empties_a_layer() -> None:
    network = traced(tiny.plain(), 4)
    with torch.no_grad():
        network.tensor("first.weight").mul_(1e-3)
        network.tensor("first.bias").mul_(1e-3)
    hook = Directional(DirectionalConfig(sparsity=0.6, scope="network"))
    loop(network, hook, [1e-3] * 10)
    assert len(zero_rows(network, "first.weight")) == 5
    assert (changes(hook)["first"].after["zero_groups"], changes(hook)["first"].after["wanted"]) == (7, 7)


def test_a_tensor_whose_rows_belong_to_two_sets_of_groups_loses_some_in_each() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both, self.left, self.right = nn.Linear(4, 12), nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.both(x))
            return self.left(x[:, :6]) + self.right(x[:, 6:]) * 2

    torch.manual_seed(0)
    network, hook = traced(Halves(), 4), Directional()
    loop(network, hook, [0.1] * 10)
    dead = zero_rows(network, "both.weight")
    assert len(dead) == 6
    assert [item.layer for item in hook.records()] == ["both", "left", "right"]
    assert changes(hook)["both"].after["zero_groups"] == 6


def test_depthwise_filters_follow_and_are_no_columns() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    hook = Directional(layers=("0",))
    hook.attach(traced(model, 1, 6, 6))
    hook.finish(traced(model, 1, 6, 6))
    assert set(changes(hook)) == {"0", "2"}
    columns = Directional(DirectionalConfig(structure="columns"))
    columns.attach(traced(model, 1, 6, 6))
    assert refusals(columns)["2"] == "depthwise convolutions run dense"


def test_layers_of_one_stream_go_together_or_not_at_all() -> None:
    hook = Directional(layers=("conv1", "conv2"))
    hook.attach(tiny.traced())
    assert refusals(hook) == {
        "conv2": "it makes the same channels as conv3, which is not among the layers"
    }  # fmt: skip


def test_same_seed_gives_the_same_bits_and_a_hook_serves_twice() -> None:
    hook = Directional()
    runs = [
        tiny.state(fit(tiny.trained(), tiny.digits(), h, config=SHORT)) for h in (hook, hook, Directional())
    ]
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("structure", ["filters", "columns"])
def test_what_is_saved_runs_as_the_network_does(structure: str, tmp_path: Path) -> None:
    hook = Directional(DirectionalConfig(structure=structure))
    network = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    formats = {"conv2.weight": "csr", "conv3.weight": "csr"}
    path = save(network, tmp_path / "net.wieldy", formats=formats)
    x = torch.from_numpy(tiny.digits().test.inputs[:20])
    with torch.no_grad():
        wanted = network(x).numpy()
    np.testing.assert_allclose(open_package(path)(x.numpy()), wanted, rtol=1e-4, atol=1e-4)


def test_rejects_momentum_and_weight_decay_in_fit() -> None:
    with pytest.raises(ConfigError, match=r"Directional needs momentum=0\.0; got 0\.9"):
        fit(tiny.traced(), tiny.digits(), Directional(), config=FitConfig(epochs=1))


def test_rejects_a_network_that_is_not_traced_or_lacks_the_layer() -> None:
    with pytest.raises(ConfigError, match=r"Directional: needs a traced network; got Net"):
        Directional().attach(tiny.net())
    with pytest.raises(ConfigError, match="'conv9' is no layer with weights"):
        Directional(layers=("conv9",)).attach(tiny.traced())


def test_rejects_layers_of_which_nothing_may_go() -> None:
    with pytest.raises(ConfigError, match=r"no filters may go\. fc: its channels are the network's outputs"):
        Directional(layers=("fc",)).attach(tiny.traced())


def test_a_norm_without_scale_keeps_its_filters() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with pytest.raises(ConfigError, match="0: the norm 1 has no scale"):
        Directional().attach(traced(model, 1, 5, 5))


@pytest.mark.parametrize("tensor", ["conv2.weight", "norm2.bias"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_rejects_weights_that_are_not_finite(tensor: str, wrong: float) -> None:
    network = tiny.traced()
    with torch.no_grad():
        network.tensor(tensor).view(-1)[0] = wrong
    with pytest.raises(DataError, match=rf"directional: {tensor} holds NaN or infinity"):
        Directional().attach(network)


@pytest.mark.parametrize(
    "wrong",
    [{"sparsity": 1.0}, {"mu": 1.0}, {"mu": 0.0}, {"c": 0.0}, {"reach": 0.0}, {"structure": "channels"}],
)
def test_rejects_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        DirectionalConfig(**wrong)
