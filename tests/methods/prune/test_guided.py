"""Guided pruning: the model says where, the band says how far, and what stalls gets its weights back."""

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.graph.cost_table import CostTable, Work
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import Step
from wieldy.methods.prune.guided import Band, Guided, GuidedConfig, cut, paying_layers, shrunk, useful_band
from wieldy.train.fit import FitConfig, fit

SHORT = FitConfig(epochs=4, batch_size=32, learning_rate=0.05)  # 40 steps


def table(conv: float = 1.0, linear: float = 1.0, fixed: float = 0.0, edge: float = 0.0) -> CostTable:
    """A machine on which dense work costs 1, and zeros so much for each weight that stays."""
    dense = (1.0, 0.0, 0.0, 0.0)
    kinds = {"conv": conv, "linear": linear, "depthwise": 9.0}
    sparse = {
        f"{form}/{kind}": (cost, cost, 0.0, 0.0, 0.0, fixed)
        for form in ("csr", "block_4x1", "block_8x1")
        for kind, cost in kinds.items()
    }
    return CostTable("none", "avx2", 1, {f"dense/{kind}": dense for kind in kinds} | sparse, edge)


def densities(network: GraphNetwork) -> dict[str, float]:
    names = ("conv1", "conv2", "conv3", "fc")
    weights = {name: network.tensor(f"{name}.weight") for name in names}
    return {name: int(weight.count_nonzero()) / weight.numel() for name, weight in weights.items()}


def trained(hook: Guided) -> GraphNetwork:
    return fit(tiny.trained(), tiny.digits(), hook, config=SHORT)


@given(cost=st.floats(0.5, 8), fixed=st.floats(0, 1), gain=st.floats(0, 0.5), margin=st.floats(0, 0.5))
def test_the_band_is_where_the_model_says_that_zeros_pay(
    cost: float, fixed: float, gain: float, margin: float
) -> None:
    work, model = Work("conv", 900, 9, 10, 1000, 0, 0, False), table(cost, fixed=fixed)
    band, dense = useful_band(model, work, gain, margin), 0.9
    assert 0 <= band.density_min <= band.density_max <= 1 - margin
    if 0 < band.density_max < 1 - margin:
        at_edge = model.ms("csr", work, round(band.density_max / (1 - margin) * work.weights))
        assert at_edge == pytest.approx(dense, abs=2e-3 * cost)
    if band.density_min < band.density_max:
        saved = cost * 0.9 * band.density_min
        assert saved == pytest.approx(gain * dense)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=20), st.floats(0, 1))
def test_shrinking_is_the_nearest_point_with_its_penalty(values: list[float], amount: float) -> None:
    weight = torch.tensor(values, dtype=torch.float64)
    found = shrunk(weight, amount)
    grid = torch.linspace(-2, 2, 801, dtype=torch.float64)
    cost = (grid[:, None] - weight).square() / 2 + amount * grid.abs()[:, None]
    ours = (found - weight).square() / 2 + amount * found.abs()
    assert bool((ours <= cost.min(0).values + 1e-9).all())


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_weight_that_moves_more_is_cut_less(one: float, two: float) -> None:
    less, more = sorted((one, two))
    found = cut(torch.tensor([less, more], dtype=torch.float64), 1e-4, 10.0)
    assert 0 < found[1] <= found[0] <= 1e-3 + 1e-15


def test_what_does_not_pay_is_left_dense_and_named_with_both_times() -> None:
    hook = Guided(GuidedConfig(penalty=2.0), table=table(linear=20.0))
    small = trained(hook)
    found = densities(small)
    assert found["fc"] == 1.0 == found["conv1"]
    assert found["conv2"] < 0.9
    refused = {record.layer: record.reason for record in hook.records() if isinstance(record, Refused)}
    assert "on avx2" in refused["fc"]
    assert "ms dense" in refused["fc"]
    assert set(refused) | {r.layer for r in hook.records() if isinstance(r, Change)} == set(found)


def test_edges_of_a_region_can_be_dearer_than_what_its_zeros_save() -> None:
    reasons = paying_layers(tiny.trained(), table(edge=1e6), 0.1)
    assert "region" in reasons["conv2"]
    assert reasons["fc"] == ""


def test_a_layer_stops_at_the_lower_edge() -> None:
    soft = Guided(GuidedConfig(penalty=8.0, gain=0.0), table=table())
    hard = Guided(GuidedConfig(penalty=8.0, gain=0.4), table=table())
    without, stopped = densities(trained(soft)), densities(trained(hard))
    for name in ("conv2", "conv3"):
        assert stopped[name] > without[name]
        guide = hard.guides[name]
        assert guide.verdict == "stopped at the lower edge"
        assert stopped[name] <= guide.band.density_min == pytest.approx(0.4)


def test_a_layer_that_stalls_above_its_band_gets_its_dense_weights_back() -> None:
    hook = Guided(GuidedConfig(penalty=0.5, patience=2), table=table())
    before = tiny.trained()
    hook.attach(before)
    guide = hook.guides["conv2"]
    guide.band = Band(0.0, 0.01)
    with torch.no_grad():
        before.tensor("conv2.weight")[0] = 0
    step = Step(before, torch.zeros(1), torch.zeros(1), torch.zeros(1), 0, 20, 0.0)
    for index in range(3):
        hook.before_forward(before)
        hook.after_step(Step(step.network, step.inputs, step.outputs, step.targets, index, 20, 0.0))
    assert guide.verdict.startswith("dense weights restored: stalled")
    assert torch.equal(before.tensor("conv2.weight"), guide.dense)
    hook.finish(before)
    assert "conv2" in {record.layer for record in hook.records() if isinstance(record, Refused)}


def test_what_remains_ends_in_its_band() -> None:
    hook = Guided(GuidedConfig(penalty=3.0), table=table(conv=1.5))
    small = trained(hook)
    found = densities(small)
    for record in hook.records():
        if isinstance(record, Change):
            assert found[record.layer] == record.figures["density"] <= record.figures["density_max"]


def test_linear_layers_are_pruned_for_bytes_where_that_is_asked() -> None:
    dear = table(linear=20.0)
    plain = densities(trained(Guided(GuidedConfig(penalty=2.0), table=dear)))
    hook = Guided(GuidedConfig(penalty=2.0, bytes_weight=1.0), table=dear)
    small = densities(trained(hook))
    assert small["fc"] < plain["fc"] == 1.0
    assert {r.note for r in hook.records() if isinstance(r, Change) and r.layer == "fc"} == {
        "for bytes alone"
    }


def test_a_hook_serves_twice_and_does_the_same() -> None:
    hook = Guided(GuidedConfig(penalty=2.0), table=table())
    assert tiny.state(trained(hook)) == tiny.state(trained(hook))


def test_layers_that_were_not_named_are_left_alone() -> None:
    hook = Guided(GuidedConfig(penalty=2.0), ("conv3",), table())
    found = densities(trained(hook))
    assert found["conv2"] == 1.0 > found["conv3"]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="penalty"):
        GuidedConfig(penalty=-1)
    with pytest.raises(ConfigError, match="traced"):
        Guided(table=table()).attach(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="guided: 'conv9' is no layer"):
        Guided(layers=("conv9",), table=table()).attach(tiny.trained())
    network = tiny.trained()
    with torch.no_grad():
        network.tensor("conv3.weight")[0, 0] = float("nan")
    with pytest.raises(DataError, match=r"conv3\.weight holds NaN"):
        Guided(table=table()).attach(network)
