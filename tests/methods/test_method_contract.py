"""What every entry of METHODS owes to the planner and to whoever reads the table."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

import wieldy.methods
from wieldy.compress.apply import apply_plan
from wieldy.compress.load import load
from wieldy.core.errors import ConfigError, DataError, WieldyError
from wieldy.core.records import Change, Plan, Refused
from wieldy.graph.cost import total_parameters
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program_json import program_to_json
from wieldy.methods.contract import MethodConfig
from wieldy.methods.factor.svd import SvdConfig
from wieldy.methods.prune.lobs import LobsConfig
from wieldy.methods.prune.random import RandomConfig
from wieldy.methods.quantize.integer import IntegerConfig, prepare
from wieldy.methods.registry import METHODS, by_name
from wieldy.package.save import save
from wieldy.plan.ranking import rank
from wieldy.runtime.session import open as open_package
from wieldy.stats.collect import Stats, collect
from wieldy.stats.moments import collect_moments
from wieldy.stats.ranges import collect_ranges

SCORES = [kind for kind, method in METHODS.items() if method.shape == "score"]
every_method = pytest.mark.parametrize("kind", METHODS, ids=lambda kind: METHODS[kind].name)
TRANSFORMS = [kind for kind, method in METHODS.items() if method.shape == "transform"]
every_transform = pytest.mark.parametrize("kind", TRANSFORMS, ids=lambda kind: METHODS[kind].name)
every_score = pytest.mark.parametrize("kind", SCORES, ids=lambda kind: METHODS[kind].name)


def stats_for(network: GraphNetwork) -> Stats:
    return collect(network, tiny.digits(), examples=128)


def ready(network: GraphNetwork, kind: type[MethodConfig], scope: tuple[str, ...]) -> Stats:
    """What a transform has to be handed; an integer one also wants the network's norms folded."""
    x = tiny.digits().train.inputs[:64]
    if kind in (SvdConfig, LobsConfig):
        return Stats(moments=collect_moments(network, [(x,)], scope))
    if kind is not IntegerConfig:
        return Stats()
    return Stats(ranges=collect_ranges(network, [(x,)], prepare(network, scope)))


def scores(network: GraphNetwork, stats: Stats, config: MethodConfig) -> dict[str, np.ndarray]:
    apply = METHODS[type(config)].apply
    return {group.name: apply(network, group, stats, config) for group in couple(network.program).groups}


def test_each_method_file_appears_once() -> None:
    folder = Path(wieldy.methods.__file__).parent
    files = sorted(path.stem for path in folder.glob("*/*.py") if path.stem != "__init__")
    listed = sorted(kind.__module__.rsplit(".", 1)[1] for kind in METHODS)
    assert listed == files
    assert all(kind.__module__ == method.apply.__module__ for kind, method in METHODS.items())


def test_each_method_file_has_a_test_file() -> None:
    folder = Path(__file__).parent
    for kind in METHODS:
        _, _, *parents, name = kind.__module__.split(".")
        assert folder.joinpath(*parents, f"test_{name}.py").is_file()


@every_method
def test_by_name_finds_the_config_of_each_name(kind: type[MethodConfig]) -> None:
    assert by_name(METHODS[kind].name) is kind


def test_names_differ() -> None:
    assert len({method.name for method in METHODS.values()}) == len(METHODS)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    names = ", ".join(method.name for method in METHODS.values())
    with pytest.raises(ConfigError, match=f"{names}; got 'tailor'"):
        by_name("tailor")


@every_method
def test_config_is_the_same_after_json(kind: type[MethodConfig]) -> None:
    config = kind(seed=7)
    assert kind.from_json(config.to_json()) == config != kind(seed=8)
    with pytest.raises(ConfigError, match="sede"):
        kind.from_json('{"sede": 7}')


@every_score
def test_network_and_stats_are_left_alone(kind: type[MethodConfig]) -> None:
    network = tiny.traced()
    stats = stats_for(network)
    before, program = tiny.state(network), program_to_json(network.program)
    products = {name: array.tobytes() for name, array in stats.products.items()}
    scores(network, stats, kind())
    assert tiny.state(network) == before
    assert program_to_json(network.program) == program
    assert {name: array.tobytes() for name, array in stats.products.items()} == products


@every_score
def test_same_seed_gives_the_same_scores_and_order(kind: type[MethodConfig]) -> None:
    first, second = tiny.traced(), tiny.traced()
    one, two = (scores(n, stats_for(n), kind(seed=3)) for n in (first, second))
    assert {name: array.tobytes() for name, array in one.items()} == {
        name: array.tobytes() for name, array in two.items()
    }
    assert rank(first, stats_for(first), kind(seed=3)) == rank(second, stats_for(second), kind(seed=3))


@every_score
def test_scores_are_finite_and_not_negative_for_every_channel(kind: type[MethodConfig]) -> None:
    network = tiny.traced()
    groups = couple(network.program).groups
    found = scores(network, stats_for(network), kind())
    assert {group.name for group in groups} == set(found) == {"conv1", "conv2"}
    for group in groups:
        values = found[group.name]
        assert values.shape == (group.size,)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert len(np.unique(values)) > 1  # it tells channels apart


@pytest.mark.parametrize("kind", [kind for kind in SCORES if kind is not RandomConfig])  # reads no weights
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_never_reach_a_plan(kind: type[MethodConfig], bad: float) -> None:
    network = tiny.traced()
    with torch.no_grad():
        network.tensor("conv2.weight")[0, 0, 0, 0] = bad
    stats = stats_for(network)
    with pytest.raises(WieldyError, match=r"conv\d"):
        rank(network, stats, kind())


def test_stats_that_are_nan_are_refused() -> None:
    network = tiny.traced()
    stats = stats_for(network)
    stats.products["conv2.weight"][0, 3] = np.nan
    for kind in SCORES:
        if METHODS[kind].needs_stats:
            with pytest.raises(DataError, match=r"importance of 'conv1'.*1 of them NaN"):
                rank(network, stats, kind())


@every_score
def test_a_method_that_needs_stats_says_so_and_no_other_does(kind: type[MethodConfig]) -> None:
    network = tiny.traced()
    if METHODS[kind].needs_stats:
        with pytest.raises(ConfigError, match=r"wieldy\.collect"):
            rank(network, Stats(), kind())
    else:
        assert rank(network, Stats(), kind()).order == rank(network, stats_for(network), kind()).order


@every_score
def test_what_is_saved_after_removal_runs_as_the_network_does(
    kind: type[MethodConfig], tmp_path: Path
) -> None:
    network = tiny.traced()
    removal = rank(network, stats_for(network), kind()).removal(0.5, 1)
    small = apply_plan(network, Plan(method={"name": METHODS[kind].name}, remove=removal))
    assert total_parameters(small.program) < total_parameters(network.program)
    path = save(small, tmp_path / "small.wieldy")
    x = tiny.digits().test.inputs[:50]
    with torch.no_grad():
        wanted = small(torch.from_numpy(x)).numpy()
        again = load(path)(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(again, wanted)
    np.testing.assert_allclose(open_package(path)(x), wanted, atol=1e-4 * np.abs(wanted).max())


@every_transform
def test_a_transform_accounts_for_every_layer_of_its_scope_once(kind: type[MethodConfig]) -> None:
    network = tiny.traced()
    found = list(METHODS[kind].apply(network, ("conv2", "fc"), ready(network, kind, ("conv2", "fc")), kind()))
    assert [item.layer for item in found] == ["conv2", "fc"]
    assert all(isinstance(item, Change | Refused) and item.method == METHODS[kind].name for item in found)


@every_transform
def test_a_transform_alters_nothing_outside_its_scope_and_does_the_same_twice(
    kind: type[MethodConfig],
) -> None:
    one, two, before = tiny.traced(), tiny.traced(), tiny.traced()
    stats = [ready(network, kind, ("conv2",)) for network in (one, two, before)]
    for network, found in zip((one, two), stats[:2], strict=True):
        list(METHODS[kind].apply(network, ("conv2",), found, kind(seed=3)))
    assert tiny.state(one) == tiny.state(two)
    altered = {name for name, data in tiny.state(one).items() if data != tiny.state(before).get(name)}
    assert altered
    assert all(name.startswith("conv2.") for name in altered)
