"""One order over all channels, and what goes when a share of it does."""

import networks
import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from wieldy.compress.apply import apply_plan
from wieldy.core.data import Data
from wieldy.core.errors import DataError
from wieldy.core.records import Plan
from wieldy.graph.cost import total_macs
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import MethodConfig
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.random import RandomConfig
from wieldy.methods.prune.taylor import TaylorConfig
from wieldy.methods.registry import METHODS, Method
from wieldy.plan.ranking import Ranking, macs_per_unit, rank, rank_in_rounds
from wieldy.stats.collect import Stats

SIZES = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 70), min_size=1)


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    sizes = draw(SIZES)
    order = [(name, unit) for name, size in sizes.items() for unit in range(size)]
    np.random.default_rng(draw(st.integers(0, 99))).shuffle(order)
    return Ranking(tuple((str(name), int(unit)) for name, unit in order), sizes)


fractions = st.floats(0, 1)
multiples = st.sampled_from([1, 2, 8, 16])


@given(ranking=rankings(), one=fractions, two=fractions, multiple=multiples)
def test_a_larger_share_removes_all_that_a_smaller_one_does(
    ranking: Ranking, one: float, two: float, multiple: int
) -> None:
    less, more = (ranking.removal(fraction, multiple) for fraction in sorted((one, two)))
    assert all(set(units) <= set(more[name]) for name, units in less.items())


@given(ranking=rankings(), fraction=fractions, multiple=multiples)
def test_what_stays_is_a_multiple_and_at_least_a_tenth_and_one(
    ranking: Ranking, fraction: float, multiple: int
) -> None:
    for name, units in ranking.removal(fraction, multiple).items():
        size, kept = ranking.sizes[name], ranking.sizes[name] - len(units)
        assert units == tuple(sorted(set(units)))
        assert 0 < kept < size
        assert kept >= round(0.1 * size)
        assert kept % multiple == 0


@given(ranking=rankings(), fraction=fractions, multiple=multiples)
def test_the_cheapest_of_each_group_go_and_no_more_than_were_chosen(
    ranking: Ranking, fraction: float, multiple: int
) -> None:
    chosen = ranking.order[: round(fraction * len(ranking.order))]
    for name, units in ranking.removal(fraction, multiple).items():
        cheapest = [unit for group, unit in chosen if group == name]
        assert set(units) == set(cheapest[: len(units)])


@given(ranking=rankings(), multiple=multiples)
def test_nothing_chosen_removes_nothing(ranking: Ranking, multiple: int) -> None:
    assert ranking.removal(0.0, multiple) == {}


def test_reference_by_hand() -> None:
    order = tuple(("a", unit) for unit in (5, 3, 1, 0, 2, 4, 6, 7))
    ranking = Ranking(order, {"a": 8})
    assert ranking.removal(0.5, 1) == {"a": (0, 1, 3, 5)}
    assert ranking.removal(0.375, 4) == {}  # five would stay, which rounds up to all eight
    assert ranking.removal(0.375, 2) == {"a": (3, 5)}
    assert ranking.removal(1.0, 1) == {"a": (0, 1, 2, 3, 4, 5, 6)}


class Given(MethodConfig):
    """Scores that a test hands in."""


def given_scores(
    monkeypatch: pytest.MonkeyPatch, scores: dict[str, list[float]], *, in_loss: bool = False
) -> None:
    def score(network: GraphNetwork, group: object, stats: Stats, config: MethodConfig) -> np.ndarray:
        return np.array(scores[group.name], np.float64)

    monkeypatch.setitem(METHODS, Given, Method("given", "score", score, in_loss=in_loss))


def test_scores_that_are_no_loss_are_not_divided_by_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"conv1": np.arange(8)[::-1] + 1.5, "conv2": np.arange(16) + 1.0}
    given_scores(monkeypatch, scores)
    found = [scores[name][unit] for name, unit in rank(tiny.traced(), Stats(), Given()).order]
    assert found == sorted(found)


def test_scores_in_loss_are_ordered_per_multiply_accumulate(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.traced()
    coupling = couple(network.program)
    costs = {group.name: macs_per_unit(network.program, coupling, group) for group in coupling.groups}
    scores = {"conv1": np.arange(8)[::-1] + 1.0, "conv2": np.arange(16) + 1.0}
    given_scores(monkeypatch, scores, in_loss=True)
    found = rank(network, Stats(), Given())
    per_mac = [scores[name][unit] / costs[name] for name, unit in found.order]
    assert per_mac == sorted(per_mac)
    assert sorted(found.order) == [("conv1", k) for k in range(8)] + [("conv2", k) for k in range(16)]
    assert found.sizes == {"conv1": 8, "conv2": 16}


def test_cost_of_a_channel_is_what_its_removal_saves() -> None:
    network = tiny.traced()
    coupling = couple(network.program)
    for group in coupling.groups:
        small = apply_plan(network, Plan(method={}, remove={group.name: (2,)}))
        saved = total_macs(network.program) - total_macs(small.program)
        assert macs_per_unit(network.program, coupling, group) == saved > 0
    # conv1: 64 positions x 9 weights in, 16 positions x 9 weights x 16 channels out
    assert macs_per_unit(network.program, coupling, coupling.group("conv1")) == 64 * 9 + 16 * 9 * 16


def test_ties_are_broken_by_the_seed_and_not_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    given_scores(monkeypatch, {"conv1": [1.0] * 8, "conv2": [1.0] * 16})
    one, again, other = (rank(tiny.traced(), Stats(), Given(seed=seed)).order for seed in (0, 0, 1))
    assert one == again != other
    assert [unit for name, unit in one if name == "conv2"] != list(range(16))


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ([1.0] * 7 + [np.nan], "1 of them"),
        ([-1.0] * 8, "8 of them"),
        ([np.inf] * 2 + [0.0] * 6, "2 of them"),
        ([1.0] * 7, r"shape \(7,\)"),
    ],
)
def test_scores_that_are_no_importances_are_refused(
    values: list[float], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_scores(monkeypatch, {"conv1": values, "conv2": [1.0] * 16})
    with pytest.raises(DataError, match=rf"importance of 'conv1': must be 8 finite.*{wrong}"):
        rank(tiny.traced(), Stats(), Given())


@pytest.mark.parametrize("kind", [TaylorConfig, MagnitudeConfig, RandomConfig])
def test_rounds_name_each_channel_once_and_leave_a_tenth(kind: type[MethodConfig]) -> None:
    network, data = tiny.trained(), tiny.digits()
    before = tiny.state(network)
    found = rank_in_rounds(network, data, kind(), rounds=5, examples=64)
    assert tiny.state(network) == before
    assert found.sizes == {"conv1": 8, "conv2": 16}
    assert len(set(found.order)) == len(found.order) == (8 - 1) + (16 - 2)
    assert found == rank_in_rounds(network, data, kind(), rounds=5, examples=64)
    again = rank_in_rounds(network, data, kind(seed=1), rounds=5, examples=64)
    assert (again == found) is (kind is MagnitudeConfig)  # without ties its seed decides nothing


def test_rounds_go_on_counting_channels_as_the_whole_network_does() -> None:
    # magnitudes of filters do not depend on what went before, up to the input columns: the weights of conv1
    # alone stay as they are, so its channels must come out in the order of one round
    network, data = tiny.trained(), tiny.digits()
    wanted = [unit for name, unit in rank(network, Stats(), MagnitudeConfig()).order if name == "conv1"]
    found = rank_in_rounds(network, data, MagnitudeConfig(), rounds=6, examples=32)
    assert [unit for name, unit in found.order if name == "conv1"] == wanted[:7]


def test_removal_of_a_ranking_in_rounds_fits_the_network() -> None:
    network, data = tiny.trained(), tiny.digits()
    ranking = rank_in_rounds(network, data, TaylorConfig(), rounds=4, examples=32)
    small = apply_plan(network, Plan(method={}, remove=ranking.removal(1.0, 1)))
    assert [group.size for group in couple(small.program).groups] == [1, 2]


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_rounds_go_on_where_groups_have_one_channel_left(name: str) -> None:
    model, x, network = networks.traced(name)
    rows = x.numpy(), np.arange(len(x))
    found = rank_in_rounds(network, Data(rows, rows, rows), TaylorConfig(), rounds=4, examples=4)
    assert found.sizes == {group.name: group.size for group in couple(network.program).groups}
    assert len(set(found.order)) == len(found.order)
    assert all(0 <= unit < found.sizes[group] for group, unit in found.order)
    small = apply_plan(network, Plan(method={}, remove=found.removal(1.0, 1)))
    assert total_macs(small.program) < 0.5 * total_macs(network.program)
    assert small(x).shape == model(x).shape


def test_a_group_of_one_channel_is_not_ranked() -> None:
    narrow = apply_plan(tiny.traced(), Plan(method={}, remove={"conv1": tuple(range(7))}))
    found = rank(narrow, Stats(), MagnitudeConfig())
    assert {name for name, _ in found.order} == {"conv2"}
    assert found.removal(1.0, 1).keys() == {"conv2"}
