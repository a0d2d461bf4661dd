"""Random: drawn from the seed and the group's name, and from nothing else."""

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from wieldy.core import rng
from wieldy.core.errors import ConfigError
from wieldy.graph.coupling import Group, couple
from wieldy.graph.network import GraphNetwork
from wieldy.methods.prune.random import RandomConfig, score
from wieldy.stats.collect import Stats

NETWORK = tiny.traced()


def scored(network: GraphNetwork, group: str, seed: int = 0) -> np.ndarray:
    return score(network, couple(network.program).group(group), Stats(), RandomConfig(seed=seed))


def test_reference_is_one_minus_numpys_generator() -> None:
    draw = np.random.default_rng(rng.derive(5, "random importance", "conv1"))
    np.testing.assert_array_equal(scored(NETWORK, "conv1", 5), 1 - draw.random(8))


def test_weights_play_no_part() -> None:
    other = tiny.traced()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_()
    np.testing.assert_array_equal(scored(other, "conv2"), scored(NETWORK, "conv2"))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 2))
def test_seeds_differ_and_scores_lie_above_zero_up_to_one(seed: int) -> None:
    one, two = scored(NETWORK, "conv2", seed), scored(NETWORK, "conv2", seed + 1)
    assert (one != two).all()
    assert ((one > 0) & (one <= 1)).all()


def test_groups_of_one_size_differ() -> None:
    members = {("weight", 0): tuple((k,) for k in range(8))}
    one, two = (score(NETWORK, Group(name, members), Stats(), RandomConfig()) for name in ("a", "b"))
    assert (one != two).all()


def test_scores_are_uniform() -> None:
    members = {("weight", 0): tuple((k,) for k in range(5000))}
    found = score(NETWORK, Group("wide", members), Stats(), RandomConfig())
    assert scipy_stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_rejects_a_seed_out_of_range(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed"):
        scored(NETWORK, "conv1", seed)
