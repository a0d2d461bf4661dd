"""What planning a mix rests on: damage, effects, forecasts, and the way down."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import wieldy
from wieldy.core.data import Arrays, Metric
from wieldy.core.errors import ConfigError
from wieldy.core.first import First
from wieldy.core.ledger import Ledger
from wieldy.graph.cost_table import CostTable
from wieldy.graph.network import GraphNetwork
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.zeros import block_scores
from wieldy.plan import sensitivity
from wieldy.plan.damage import BROKEN, Damage
from wieldy.plan.forecast import Forecast, Forecaster
from wieldy.plan.greedy import descent, joined
from wieldy.plan.keep import kept_layers
from wieldy.plan.mix import KINDS, Mix, masks, thinned, zeroed
from wieldy.plan.ranking import rank
from wieldy.plan.sensitivity import Option, options_of, touched
from wieldy.runtime.costs import cost_table
from wieldy.stats.collect import Stats
from wieldy.zoo.data.digits import optical_digits


@pytest.fixture(scope="module")
def data() -> wieldy.Data:
    whole = optical_digits()
    return wieldy.Data(whole.train.take(np.arange(300)), whole.validate.take(np.arange(100)), whole.test)


@pytest.fixture(scope="module")
def network() -> GraphNetwork:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    return wieldy.trace(net, torch.zeros(1, 1, 8, 8))


@pytest.fixture(scope="module")
def table() -> CostTable:
    """A table of this machine, or one that comes with the package, without its rows in eight bits."""
    found = cost_table("avx2", 2)
    assert found is not None
    return replace(found, terms={key: of for key, of in found.terms.items() if not key.startswith("int8")})


@pytest.fixture(scope="module")
def options(network: GraphNetwork, data: wieldy.Data) -> tuple[Option, ...]:
    ranking = rank(network, Stats(), MagnitudeConfig())
    return options_of(network, data, ranking, Stats(), kinds=KINDS)


def test_the_original_does_no_damage_and_noise_does_more_the_louder_it_is(
    network: GraphNetwork, data: wieldy.Data
) -> None:
    damage = Damage(network, data)
    assert damage.of(network) == pytest.approx(0, abs=1e-6)
    mixes = [Mix(zeros={"7": sparsity, "9": sparsity}) for sparsity in (0.5, 0.9, 1.0)]
    found = [damage.of(zeroed(network, mix)) for mix in mixes]
    assert 0 < found[0] < found[1] < found[2]


def test_damage_needs_no_labels(network: GraphNetwork, data: wieldy.Data) -> None:
    metric = Metric(name="distance", scores=lambda out, to: np.abs(out - to).mean(1), labels=False)
    rows = data.validate.inputs, np.zeros((100, 10), np.float32)
    other = wieldy.Data(rows, rows, rows, metric=metric)
    assert Damage(network, other).of(zeroed(network, Mix(zeros={"9": 1.0}))) > 0.1


def test_what_is_not_finite_is_infinitely_bad(network: GraphNetwork, data: wieldy.Data) -> None:
    damage, broken = Damage(network, data), zeroed(network, Mix())
    with torch.no_grad():
        broken.tensor("9.bias").fill_(float("nan"))
    assert damage.of(broken) == BROKEN


def test_every_layer_and_group_has_options_whose_damage_rises(options: Sequence[Option]) -> None:
    names = {kind: {option.name for option in options if option.kind == kind} for kind in KINDS}
    assert names == {
        "channels": {"0", "3", "7"}, "rank": {"0", "3", "7", "9"}, "zeros": {"3", "7", "9"}, "blocks": {"3"},
    }  # fmt: skip
    for option in options:
        assert list(option.damage) == sorted(option.damage)
        assert len(option.damage) == len(option.levels)


def test_effects_are_asked_once(network: GraphNetwork, data: wieldy.Data) -> None:
    ledger, ranking = Ledger(None), rank(network, Stats(), MagnitudeConfig())
    first = options_of(network, data, ranking, Stats(), kinds=("zeros",), ledger=ledger)
    count = len(ledger.of_kind("damage"))
    second = options_of(network, data, ranking, Stats(), kinds=("zeros",), ledger=ledger)
    assert count == len(ledger.of_kind("damage")) == sum(len(option.levels) for option in first)
    assert first == second


def test_a_kept_layer_is_touched_by_no_option(network: GraphNetwork, data: wieldy.Data) -> None:
    ranking = rank(network, Stats(), MagnitudeConfig())
    found = options_of(network, data, ranking, Stats(), kinds=KINDS, keep={"3"})
    assert found
    assert all("3" not in touched(network, option) for option in found)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["3"], {"3"}),
        (["Linear"], {"7", "9"}),
        ([r"re:[03]"], {"0", "3"}),
        (["0", "re:9"], {"0", "9"}),
        ([], set()),
    ],
)
def test_layers_are_kept_by_name_type_or_expression(
    network: GraphNetwork, patterns: list[str], expected: set[str]
) -> None:
    assert kept_layers(network, patterns) == expected


@pytest.mark.parametrize(
    ("pattern", "says"), [("conv1", "matches no layer"), ("re:(", "is no regular expression")]
)
def test_a_pattern_that_keeps_nothing_is_refused(network: GraphNetwork, pattern: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        kept_layers(network, [pattern])


def test_blocks_of_four_inputs_become_zero_together_and_stay_so(network: GraphNetwork) -> None:
    mix = Mix(blocks={"3": 0.75}, in_levels=True)
    weight = zeroed(network, mix).tensor("3.weight").detach().numpy().astype(np.float64)
    scores = block_scores(weight, 1, 4)
    assert np.count_nonzero(scores == 0) == round(0.75 * scores.size)
    (mask,) = masks(mix)
    assert mask.layers == ("3",)
    assert mask.config is not None
    assert (mask.config.sparsity, mask.config.inputs) == (0.75, 4)
    assert str(mix) == "75% zeros in blocks of four inputs in 1 layers, eight bits"


@pytest.fixture(scope="module")
def in_levels(table: CostTable) -> CostTable:
    """A table by which eight bits take half as long, and blocks of zeros a quarter less than half of that."""
    dense = tuple(0.5 * term for term in table.terms["dense/conv"])
    terms = {"int8/conv": dense, "int8_1x4/conv": (1e-3, 1e-3, 0.0, 0.0, 0.0, 0.0)}
    return replace(table, terms=dict(table.terms) | terms)


def test_a_forecast_in_eight_bits_counts_blocks_where_they_pay(
    network: GraphNetwork, in_levels: CostTable
) -> None:
    forecaster = Forecaster(network, in_levels)
    floats, whole = forecaster.of(Mix()), forecaster.of(Mix(in_levels=True))
    some = forecaster.of(Mix(in_levels=True, blocks={"3": 0.5}))
    most = forecaster.of(Mix(in_levels=True, blocks={"3": 0.95}))
    assert floats.ms > whole.ms > some.ms > most.ms
    assert floats.bytes > whole.bytes > some.bytes > most.bytes
    slow = dict(in_levels.terms) | {"int8_1x4/conv": (1e3,) * 6}
    dense = Forecaster(network, replace(in_levels, terms=slow)).of(Mix(in_levels=True, blocks={"3": 0.95}))
    assert dense.ms == whole.ms  # it is stored whole


def test_a_table_without_eight_bits_forecasts_them_as_floats(network: GraphNetwork, table: CostTable) -> None:
    forecaster = Forecaster(network, table)
    assert not table.knows_levels
    assert forecaster.of(Mix(in_levels=True)).ms == forecaster.of(Mix()).ms


def test_a_layer_has_zeros_in_blocks_or_a_rank_and_not_both(
    network: GraphNetwork, in_levels: CostTable, options: Sequence[Option]
) -> None:
    start = Mix(in_levels=True)
    kinds = [option for option in options if option.kind in ("rank", "blocks", "channels")]
    need = lambda forecast: forecast.apart_ms  # noqa: E731
    rates = dict.fromkeys(KINDS, 1.0)
    for point in descent(kinds, Forecaster(network, in_levels), need, rates, start):
        assert not set(point.mix.blocks) & set(point.mix.ranks)
        assert point.mix.in_levels


def test_a_forecast_falls_with_everything_that_goes(network: GraphNetwork, table: CostTable) -> None:
    forecaster = Forecaster(network, table)
    dense = forecaster.of(Mix())
    fewer = forecaster.of(Mix(remove={"3": tuple(range(16))}))
    assert fewer.ms < dense.ms
    assert fewer.bytes < dense.bytes
    assert fewer.macs < dense.macs
    sparse = forecaster.of(Mix(zeros={"3": 0.95}))
    assert sparse.ms < dense.ms
    assert sparse.bytes < dense.bytes
    assert sparse.macs == dense.macs
    thin = forecaster.of(Mix(ranks={"7": 0.25}))
    assert thin.bytes == pytest.approx(dense.bytes - 0.75 * 4 * 512 * 64, rel=0.02)


@settings(deadline=None, max_examples=40)
@given(shares=st.lists(st.sampled_from([0.0, 0.5, 0.9, 0.97]), min_size=4, max_size=4))
def test_zeros_are_never_forecast_to_cost_more_than_none_nor_less_than_each_for_itself(
    shares: list[float],
) -> None:
    layers = chain(4)
    found = cost_table("avx512", 2)
    assert found is not None
    forecaster = Forecaster(layers, found)
    zeros = {name: share for name, share in zip(["0", "2", "4", "6"], shares, strict=True) if share}
    mixed, dense = forecaster.of(Mix(zeros=zeros)), forecaster.of(Mix())
    assert mixed.ms <= dense.ms * (1 + 1e-9)
    assert mixed.apart_ms <= dense.ms * (1 + 1e-9)
    assert dense.ms == dense.apart_ms


def test_zeros_in_one_layer_alone_pay_for_its_edges_which_neighbours_with_zeros_share() -> None:
    found = cost_table("avx512", 2)
    assert found is not None
    forecaster = Forecaster(chain(6), found)
    names = [str(2 * index) for index in range(6)]
    dense = forecaster.of(Mix()).ms
    saved = [dense - forecaster.of(Mix(zeros=dict.fromkeys(names[:count], 0.9))).ms for count in (1, 6)]
    assert saved[1] > 6 * saved[0]


def chain(depth: int) -> GraphNetwork:
    """Return convolutions of 64 channels one after another, on 14 x 14."""
    torch.manual_seed(0)
    layers = [of for _ in range(depth) for of in (nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())]
    return wieldy.trace(nn.Sequential(*layers), torch.zeros(1, 64, 14, 14))


@pytest.mark.parametrize(("seconds", "examples"), [(1e-9, 64), (1e9, 512)])
def test_layers_of_a_slow_network_are_asked_with_fewer_examples(
    network: GraphNetwork,
    data: wieldy.Data,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    examples: int,
) -> None:
    monkeypatch.setattr(sensitivity, "SECONDS", seconds)
    ledger = Ledger(None)
    options_of(
        network, data, rank(network, Stats(), MagnitudeConfig()), Stats(), kinds=("rank",), ledger=ledger
    )
    assert [value for _, value in ledger.of_kind(sensitivity.PACE)] == [examples]
    assert {key["examples"] for key, _ in ledger.of_kind("damage")} == {examples}


def test_a_mix_is_built_as_it_says(network: GraphNetwork) -> None:
    mix = Mix(remove={"0": (0, 5)}, ranks={"7": 0.5}, zeros={"3": 0.75})
    small, records = thinned(network, mix, Stats())
    assert small.tensor("0.weight").shape[0] == 14
    assert [record.layer for record in records] == ["7"]
    done = zeroed(small, mix)
    assert float((done.tensor("3.weight") == 0).float().mean()) == pytest.approx(0.75, abs=0.01)
    assert small(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert [hook.layers for hook in masks(mix)] == [("3",)]
    assert str(mix) == "2 channels less in 1 groups, 1 layers as two, 75% zeros in 1 layers"


class Fixed:
    """A forecaster for which every level saves what a table says."""

    def __init__(self, saves: Mapping[str, float], whole: float) -> None:
        self._saves, self._whole = saves, whole

    def of(self, mix: Mix, *, together: bool = True) -> Forecast:
        left = self._whole - sum(self._saves[f"{layer}@{share}"] for layer, share in mix.zeros.items())
        return Forecast(left, left, 0.0, 0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_way_down_takes_the_cheapest_step_first(draw: st.DataObject) -> None:
    count = draw.draw(st.integers(1, 6))
    saves, options = {}, []
    for index in range(count):
        levels = draw.draw(st.integers(1, 3))
        costs = sorted(draw.draw(st.lists(st.integers(0, 50), min_size=levels, max_size=levels)))
        gains = sorted(draw.draw(st.lists(st.integers(1, 50), min_size=levels, max_size=levels, unique=True)))
        mixes = tuple(Mix(zeros={str(index): (level + 1) / 10}) for level in range(levels))
        saves |= {f"{index}@{(level + 1) / 10}": float(gains[level]) for level in range(levels)}
        options.append(Option("zeros", str(index), mixes, tuple(map(float, costs))))
    forecaster = Fixed(saves, 1000.0)
    points = descent(options, forecaster, lambda of: of.ms, {"zeros": 1.0})  # type: ignore[arg-type]
    steps = [
        (after.damage - before.damage) / (before.forecast.ms - after.forecast.ms)
        for before, after in pairwise(points)
    ]
    assert all(after.forecast.ms < before.forecast.ms for before, after in pairwise(points))
    assert steps == pytest.approx(sorted(steps))  # gains are independent here, so prices rise
    last = joined(options, {index: len(option.levels) - 1 for index, option in enumerate(options)})
    assert points[-1].mix == last


def test_a_layer_gets_zeros_or_two_factors_but_not_both(
    options: Sequence[Option], network: GraphNetwork, table: CostTable
) -> None:
    forecaster = Forecaster(network, table)
    rates = dict.fromkeys(KINDS, 1.0)
    for point in descent(options, forecaster, lambda of: of.ms, rates):
        assert not set(point.mix.zeros) & set(point.mix.ranks)


def test_the_first_batches_of_a_set_are_a_set() -> None:
    whole = Arrays(np.zeros((1000, 2), np.float32), np.arange(1000) % 3)
    first = First(whole, 250)
    assert first.size == 250
    assert first.labels == 3
    batches = list(first.batches(100))
    assert len(batches) == first.steps(100) == 3
    assert First(whole, 5000).steps(100) == whole.steps(100)
