"""Blocks of one magnitude: the nearest ones, how training leads there, and how it goes on."""

import copy
import itertools
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from wieldy.compress.load import load
from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.formats import BY_SHAPE, FORMATS
from wieldy.formats.unified import FREE, PRUNED, UNIFIED
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook, Step
from wieldy.methods.share.unify import (
    OneMagnitude,
    Unify,
    UnifyConfig,
    as_blocks,
    facts,
    packing,
    project,
    prune_costs,
    select,
    signs,
    strength_at,
    unify,
    unify_costs,
    with_blocks,
)
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.train.fit import FitConfig, evaluate, fit

SHORT = FitConfig(epochs=3, batch_size=32, learning_rate=0.05)  # 30 steps
QUICK = UnifyConfig(updates=10)
BLOCKS = sorted(BY_SHAPE)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at_once(network: GraphNetwork, config: UnifyConfig, layers: tuple[str, ...] | None = None) -> Unify:
    """Project a network as it is, in place."""
    hook = Unify(config, layers)
    hook.attach(network)
    hook.finish(network)
    return hook


def kinds_of(network: GraphNetwork, layer: str, block: tuple[int, int] = (4, 4)) -> np.ndarray:
    return packing(block).kinds(network.tensor(f"{layer}.weight").detach().numpy())


def test_reference_projection_is_the_best_over_all_signs_and_a_fine_grid() -> None:
    for size in range(2, 9):
        for row in drawn(5, size, seed=size):
            best = min(
                float((row - torch.tensor(pattern) * u).square().sum())
                for pattern in itertools.product((-1.0, 1.0), repeat=size)
                for u in torch.linspace(0, float(row.abs().max()), 21)
            )
            found = unify(row[None])[0]
            assert float((row - found).square().sum()) <= best + 1e-12
            assert len(found.abs().unique()) == 1
            torch.testing.assert_close(unify_costs(row[None])[0], (row - found).square().sum())


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 999), size=st.integers(2, 64))
def test_zeros_cost_what_one_magnitude_costs_and_its_own_square(seed: int, size: int) -> None:
    blocks = drawn(3, size, seed=seed)
    square = size * unify(blocks)[:, 0].square()
    torch.testing.assert_close(prune_costs(blocks), unify_costs(blocks) + square, rtol=1e-12, atol=1e-12)


def test_a_zero_takes_the_magnitude_with_a_plus() -> None:
    assert unify(torch.tensor([[0.0, -0.0, -4.0, 4.0]])).tolist() == [[2.0, 2.0, -2.0, 2.0]]
    assert signs(torch.tensor([0.0, -0.0])).tolist() == [1.0, 1.0]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), goes=st.integers(0, 6), ties=st.integers(0, 6))
def test_reference_each_choice_is_the_best_of_all_of_its_size(seed: int, goes: int, ties: int) -> None:
    blocks = drawn(6, 4, seed=seed)
    ties = min(ties, 6 - goes)
    kinds = select(blocks, goes / 6, ties / (6 - goes) if goes < 6 else 0.0)
    pruned, unified = (set(torch.nonzero(kinds == kind).ravel().tolist()) for kind in (PRUNED, UNIFIED))
    assert (len(pruned), len(unified)) == (goes, ties)
    for costs, chosen, pool in (
        (prune_costs(blocks), pruned, set(range(6))),
        (unify_costs(blocks), unified, set(range(6)) - pruned),
    ):
        best = min(sum(float(costs[i]) for i in some) for some in itertools.combinations(pool, len(chosen)))
        assert sum(float(costs[i]) for i in chosen) <= best + 1e-12


@settings(max_examples=50, deadline=None)
@given(data=st.data(), block=st.sampled_from(BLOCKS))
def test_blocks_are_those_of_the_format_and_come_back(data: st.DataObject, block: tuple[int, int]) -> None:
    shape = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=4))
    weight = drawn(*shape).float()
    blocks = as_blocks(weight, block)
    assert torch.equal(with_blocks(weight, blocks, block), weight)
    tied = with_blocks(weight, unify(blocks), block)
    assert (packing(block).kinds(tied.numpy()) == UNIFIED).all()
    covered = with_blocks(torch.zeros_like(weight), torch.ones_like(blocks), block) == 1
    assert torch.equal(tied[~covered], weight[~covered])


def test_the_layout_in_memory_does_not_matter() -> None:
    weight = drawn(8, 4, 3, 3).float()
    turned = weight.to(memory_format=torch.channels_last)
    assert torch.equal(as_blocks(weight, (4, 4)), as_blocks(turned, (4, 4)))
    assert facts(weight, (4, 4)) == facts(turned, (4, 4))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_layer_ends_with_the_asked_number_of_blocks_of_each_kind(block: tuple[int, int]) -> None:
    network = tiny.trained()
    config = UnifyConfig(block=block, pruned=0.3, unified=0.5, updates=10)
    hook = Unify(config)
    small = fit(network, tiny.digits(), hook, config=SHORT)
    changes = [record for record in hook.records() if isinstance(record, Change)]
    assert [change.layer for change in changes] == ["conv2", "conv3"]
    for change in changes:
        kinds = kinds_of(small, change.layer, block)
        pruned = round(0.3 * len(kinds))
        unified = round(0.5 * (len(kinds) - pruned))
        assert [np.sum(kinds == kind) for kind in (PRUNED, UNIFIED)] == [pruned, unified]
        assert change.after == facts(small.tensor(f"{change.layer}.weight").detach(), block)
        assert (change.after["pruned_blocks"], change.after["unified_blocks"]) == (pruned, unified)
        assert change.before["unified_blocks"] == change.before["pruned_blocks"] == 0
        assert 0 < change.figures["residual"] < 0.2


def test_first_last_and_depthwise_layers_are_left_out_with_the_reason() -> None:
    network = trace(
        nn.Sequential(
            nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 12, 1, groups=2),
            nn.Conv2d(12, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1),
        ).eval(),
        torch.zeros(1, 4, 9, 9),
    )  # fmt: skip
    network.tensor("4.weight").requires_grad_(False)
    records = list(at_once(network, UnifyConfig()).records())
    reasons = {record.layer: record.reason for record in records if isinstance(record, Refused)}
    assert reasons.keys() == {"0", "1", "2", "4", "5", "6"}
    assert "first and the last layer" in reasons["0"] == reasons["6"]
    assert "depthwise" in reasons["1"]
    assert "over its groups of 6 output channels" in reasons["2"]
    assert "does not train" in reasons["4"]
    assert "smaller than one block of 4 x 4" in reasons["5"]
    assert [record.layer for record in records if isinstance(record, Change)] == ["3"]


def test_layers_that_are_named_are_taken_and_no_others() -> None:
    network, before = tiny.trained(), tiny.trained()
    records = list(at_once(network, UnifyConfig(), ("fc",)).records())
    assert [(type(record), record.layer) for record in records] == [(Change, "fc")]
    altered = {name for name, data in tiny.state(network).items() if data != tiny.state(before)[name]}
    assert altered == {"fc.weight"}


def test_training_leads_to_the_targets_and_projection_then_costs_little() -> None:
    network, data = tiny.trained(), tiny.digits()
    hook = Unify(UnifyConfig(pruned=0.4, unified=1.0))
    led = fit(network, data, hook, config=FitConfig(epochs=8, batch_size=32, learning_rate=0.05))
    assert len(hook.residuals) == 1 + 12
    assert hook.residuals[-1] < 1e-2 < hook.residuals[0]
    thirds = [np.mean(part) for part in np.array_split(hook.residuals[1:], 3)]
    assert thirds == sorted(thirds, reverse=True)
    cut = tiny.trained()
    at_once(cut, UnifyConfig(pruned=0.4, unified=1.0))
    assert evaluate(led, data.test, data) > evaluate(cut, data.test, data)


def test_the_pull_is_a_quadratic_penalty_in_the_gradient() -> None:
    network = tiny.trained()
    hook = Unify(UnifyConfig(updates=2, strengths=(0.5,)))
    hook.attach(network)
    weight = network.tensor("conv2.weight")
    weight.grad = torch.zeros_like(weight)
    x, y = torch.zeros(1, 1, 8, 8), torch.zeros(1)
    hook.after_backward(Step(network, x, y, y, index=0, total=10, learning_rate=0.1))
    target = weight.detach().clone().requires_grad_()
    aim = with_blocks(
        weight,
        project(as_blocks(weight, (4, 4)), select(as_blocks(weight, (4, 4)).detach(), 0.5, 0.9)),
        (4, 4),
    )
    rho = 0.5 / (10 / 2) / 0.1
    (rho / 2 * (target - aim.detach()).square().sum()).backward()
    torch.testing.assert_close(weight.grad, target.grad)


def retrained(hook: Hook, small: GraphNetwork, optimizer: torch.optim.Optimizer, steps: int = 20) -> None:
    """A plain loop, in place."""
    data = tiny.digits()
    x, y = torch.from_numpy(data.train.inputs[:64]), torch.from_numpy(data.train.targets[:64])
    small.train()
    hook.attach(small)
    for index in range(steps):
        hook.before_forward(small)
        outputs = small(x)
        optimizer.zero_grad()
        F.cross_entropy(outputs, y).backward()
        step = Step(small, x, outputs, y, index, steps, 0.05)
        hook.after_backward(step)
        optimizer.step()
        hook.after_step(step)
    hook.finish(small)
    small.eval()


def optimizers(small: GraphNetwork) -> dict[str, torch.optim.Optimizer]:
    parameters = list(small.parameters())
    return {
        "sgd": torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4),
        "adam": torch.optim.AdamW(parameters, lr=0.01),
    }


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("block", BLOCKS)
def test_magnitudes_stay_equal_to_the_last_bit_while_they_learn(block: tuple[int, int], name: str) -> None:
    small = tiny.trained()
    hook = at_once(small, UnifyConfig(block=block, pruned=0.3, unified=0.6))
    before = {layer: small.tensor(f"{layer}.weight").detach().clone() for layer in ("conv2", "conv3")}
    kinds = {layer: kinds_of(small, layer, block) for layer in before}
    retrained(hook.settling(), small, optimizers(small)[name])
    for layer, old in before.items():
        new = small.tensor(f"{layer}.weight").detach()
        np.testing.assert_array_equal(kinds_of(small, layer, block), kinds[layer])
        held = torch.from_numpy(kinds[layer])
        first, second = as_blocks(old, block), as_blocks(new, block)
        unified = held == UNIFIED
        bits = second[unified].abs().view(torch.int32)
        assert torch.equal(bits, bits[:, :1].expand_as(bits))
        turned = signs(first[unified]) * signs(second[unified])
        assert torch.equal(turned, turned[:, :1].expand_as(turned))  # signs stay, or all turn at once
        assert (first[unified] != second[unified]).float().mean() > 0.9  # the numbers learn
        assert (first[held == FREE] != second[held == FREE]).float().mean() > 0.9
        assert not second[held == PRUNED].any()


def test_without_settling_magnitudes_fall_apart() -> None:
    small = tiny.trained()
    at_once(small, UnifyConfig())
    retrained(Hook(), small, optimizers(small)["sgd"])
    assert not (kinds_of(small, "conv2") == UNIFIED).any()


class Scalars(nn.Module):
    """One linear layer whose blocks of 1 x 4 are scalars times signs: the reference for retraining."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        blocks = as_blocks(weight, (1, 4))
        self.signs, self.shape = signs(blocks), weight.shape
        self.numbers = nn.Parameter(blocks[:, :1].abs().clone())
        self.bias = nn.Parameter(bias.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, (self.signs * self.numbers).reshape(self.shape), self.bias)


def test_reference_a_unified_block_trains_as_one_scalar_does() -> None:
    layer = nn.Linear(8, 4)
    with torch.no_grad():
        layer.weight.copy_(unify(drawn(8, 4).float()).reshape(4, 8))
        layer.bias.zero_()
    network = trace(layer.eval(), torch.zeros(1, 8))
    (name,) = network.program.weighted_layers()
    x, wanted = drawn(32, 8, seed=1).float(), drawn(32, 4, seed=2).float()
    weight = next(node.weight for node in network.program.nodes if node.layer == name)
    reference = Scalars(network.tensor(weight).detach(), torch.zeros(4))
    hook = OneMagnitude((1, 4), (name,))
    hook.attach(network)
    for model in (network, reference):
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01
        )
        for index in range(25):
            optimizer.zero_grad()
            outputs = model(x)
            F.mse_loss(outputs, wanted).backward()
            step = Step(model, x, outputs, wanted, index, 25, 0.02)
            if model is network:
                hook.after_backward(step)
            optimizer.step()
            if model is network:
                hook.after_step(step)
    numbers = (reference.signs * reference.numbers).reshape(4, 8).detach()
    torch.testing.assert_close(network.tensor(weight).detach(), numbers, rtol=1e-4, atol=1e-5)


def test_at_once_projects_first_and_trains_numbers_from_then_on() -> None:
    network = tiny.trained()
    projected = copy.deepcopy(network)
    at_once(projected, QUICK)
    hook = Unify(QUICK.model_copy(update={"gradual": False}))
    small = fit(network, tiny.digits(), hook, config=SHORT)
    settled = fit(projected, tiny.digits(), OneMagnitude((4, 4), ("conv2", "conv3")), config=SHORT)
    assert tiny.state(small) == tiny.state(settled)
    assert hook.residuals[0] > 0.1
    assert [record.layer for record in hook.records() if isinstance(record, Change)] == ["conv2", "conv3"]


def test_a_plain_loop_does_as_fit_does() -> None:
    small = tiny.trained()
    hook = Unify(UnifyConfig(updates=5))
    retrained(hook, small, optimizers(small)["sgd"])
    assert len(hook.residuals) == 1 + 5
    assert (kinds_of(small, "conv3") == PRUNED).sum() == round(0.5 * 4 * 36)


def test_a_hook_serves_twice_and_settles_twice() -> None:
    hook = Unify(QUICK)
    first, second = (fit(tiny.trained(), tiny.digits(), hook, config=SHORT) for _ in range(2))
    assert tiny.state(first) == tiny.state(second)
    assert len(list(hook.records())) == 4
    assert len(hook.residuals) == 1 + 10
    keeping = hook.settling()
    one, two = (fit(first, tiny.digits(), keeping, config=SHORT) for _ in range(2))
    assert tiny.state(one) == tiny.state(two)


def test_fewer_steps_than_updates_are_enough() -> None:
    hook = Unify(UnifyConfig(updates=100))
    small = fit(tiny.trained(), tiny.digits(), hook, config=SHORT)
    assert len(hook.residuals) == 1 + 30
    assert (kinds_of(small, "conv2") == PRUNED).sum() == round(0.5 * 4 * 18)


def test_nothing_asked_is_nothing_done_by_the_projection() -> None:
    network = tiny.trained()
    before = tiny.state(network)
    at_once(network, UnifyConfig(pruned=0, unified=0))
    assert tiny.state(network) == before
    at_once(network, UnifyConfig(pruned=1))
    assert not network.tensor("conv2.weight").any()


@pytest.mark.parametrize("block", BLOCKS)
def test_what_is_saved_packed_computes_the_same_in_fewer_bytes(
    block: tuple[int, int], tmp_path: Path
) -> None:
    small = tiny.trained()
    at_once(small, UnifyConfig(block=block, pruned=0.3, unified=0.8))
    formats = {f"{layer}.weight": BY_SHAPE[block] for layer in ("conv2", "conv3")}
    packed = save(small, tmp_path / "packed.wieldy", formats=formats)
    dense = save(small, tmp_path / "dense.wieldy")
    x = tiny.digits().test.inputs[:20]
    np.testing.assert_array_equal(open_package(packed)(x), open_package(dense)(x))
    with torch.no_grad():
        wanted = small(torch.from_numpy(x)).numpy()
        np.testing.assert_array_equal(load(packed)(torch.from_numpy(x)).numpy(), wanted)
    np.testing.assert_allclose(open_package(packed)(x), wanted, atol=1e-4 * np.abs(wanted).max())
    saved = sum(
        small.tensor(name).numel() * 4 - FORMATS[form].byte_count(small.tensor(name).detach().numpy())
        for name, form in formats.items()
    )
    assert saved > 0
    assert abs(dense.stat().st_size - packed.stat().st_size - saved) < 1500  # names of the parts
    again = save(load(packed), tmp_path / "again.wieldy")
    assert again.read_bytes() == packed.read_bytes()


def test_the_pull_rises_by_stages() -> None:
    assert [strength_at(index / 9, (1, 2, 3)) for index in range(9)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"block": (3, 3)}, r"block: .*must be one of \(1, 4\), \(4, 1\).*got \(3, 3\)"),
        ({"pruned": 1.5}, "pruned"),
        ({"unified": -0.1}, "unified"),
        ({"updates": 0}, "updates"),
        ({"strengths": ()}, "strengths"),
        ({"strengths": (1.0, 0.0)}, "strengths"),
    ],
)
def test_rejects_settings_out_of_range(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UnifyConfig(**fields)


def test_config_is_the_same_after_json() -> None:
    config = UnifyConfig(block=(8, 8), seed=7)
    assert UnifyConfig.from_json(config.to_json()) == config


def test_rejects_networks_and_layers_that_do_not_fit() -> None:
    for hook in (Unify(), OneMagnitude((4, 4), ("conv2",))):
        with pytest.raises(ConfigError, match=r"needs a traced network; got Net"):
            hook.attach(tiny.net())
    for hook in (Unify(layers=("conv9",)), OneMagnitude((4, 4), ("conv9",))):
        with pytest.raises(
            ConfigError, match=r"unify: 'conv9' is no layer with weights\. Layers are conv1, "
        ):
            hook.attach(tiny.traced())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rejects_weights_that_are_not_finite(bad: float) -> None:
    network = tiny.traced()
    with torch.no_grad():
        network.tensor("conv2.weight")[0, 0, 0, 0] = bad
    with pytest.raises(DataError, match=r"unify: conv2\.weight holds NaN or infinity"):
        Unify().attach(network)
