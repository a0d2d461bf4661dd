"""Magnitude: mean absolute filter weights, normalised within each group."""

import copy

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wieldy.core.errors import ConfigError
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.prune.magnitude import MagnitudeConfig, row_norms, score
from wieldy.stats.collect import Stats

PLAIN = trace(tiny.plain(), torch.zeros(1, 4))


def scored(network: GraphNetwork, group: str, norm: str = "l1") -> np.ndarray:
    return score(network, couple(network.program).group(group), Stats(), MagnitudeConfig(norm=norm))


def with_weight(rows: list[list[float]]) -> GraphNetwork:
    model = nn.Sequential(nn.Linear(2, len(rows)), nn.Linear(len(rows), 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(rows))
    return trace(model, torch.zeros(1, 2))


def test_reference_by_hand() -> None:
    # L1 per weight: (3 + 1) / 2, (0 + 2) / 2, (1 + 5) / 2 = 2, 1, 3 with mean 2
    # L2 per weight: sqrt(10 / 2), sqrt(4 / 2), sqrt(26 / 2)
    network = with_weight([[3.0, -1.0], [0.0, 2.0], [-1.0, 5.0]])
    np.testing.assert_allclose(scored(network, "0"), [1.0, 0.5, 1.5])
    roots = np.sqrt([5.0, 2.0, 13.0])
    np.testing.assert_allclose(scored(network, "0", "l2"), roots / roots.mean())


def test_layers_that_share_channels_are_averaged() -> None:
    network = tiny.traced()
    own = [
        row_norms(network.tensor(f"{name}.weight").detach().double().numpy(), "l1")
        for name in ("conv2", "conv3")
    ]
    wanted = (own[0] + own[1]) / 2
    np.testing.assert_allclose(scored(network, "conv2"), wanted / wanted.mean())


def test_a_flattened_channel_is_scored_by_its_one_filter() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    network = trace(model, torch.zeros(1, 1, 4, 4))
    wanted = model[0].weight.detach().double().abs().mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(scored(network, "0"), wanted / wanted.mean())


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(1e-3, 1e3), norm=st.sampled_from(["l1", "l2"]))
def test_scaling_all_filters_of_a_layer_changes_no_score(factor: float, norm: str) -> None:
    scaled = copy.deepcopy(PLAIN)
    with torch.no_grad():
        scaled.tensor("first.weight").mul_(factor)
    np.testing.assert_allclose(scored(scaled, "first", norm), scored(PLAIN, "first", norm), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(6)), norm=st.sampled_from(["l1", "l2"]))
def test_permuting_channels_permutes_scores(order: list[int], norm: str) -> None:
    permuted = copy.deepcopy(PLAIN)
    with torch.no_grad():
        weight = permuted.tensor("first.weight")
        weight.copy_(weight[order].clone())
    np.testing.assert_allclose(scored(permuted, "first", norm), scored(PLAIN, "first", norm)[order])


@settings(max_examples=30, deadline=None)
@given(unit=st.integers(0, 5), factor=st.floats(1.5, 100))
def test_a_larger_filter_is_dearer(unit: int, factor: float) -> None:
    grown = copy.deepcopy(PLAIN)
    with torch.no_grad():
        grown.tensor("first.weight")[unit] *= factor
    assert scored(grown, "first")[unit] > scored(PLAIN, "first")[unit]


def test_filters_of_zeros_all_count_the_same() -> None:
    assert scored(with_weight([[0.0, 0.0], [0.0, 0.0]]), "0").tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_shows_in_the_scores(bad: float) -> None:
    network = with_weight([[3.0, 1.0], [0.0, 2.0]])
    with torch.no_grad():
        network.tensor("0.weight")[0, 0] = bad
    assert not np.isfinite(scored(network, "0")).all()


def test_rejects_a_norm_that_it_does_not_know() -> None:
    with pytest.raises(ConfigError, match=r"norm.*l3"):
        MagnitudeConfig(norm="l3")


def test_rejects_a_setting_that_it_does_not_know() -> None:
    with pytest.raises(ConfigError, match="power"):
        MagnitudeConfig(power=2)
