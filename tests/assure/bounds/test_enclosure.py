"""Bounds on whole networks: sound to the last bit, exact where an exact answer is known."""

import copy
import itertools
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wieldy.assure.bounds import enclosure
from wieldy.assure.bounds.enclosure import Around, arounds, enclose, margins, too_large
from wieldy.assure.bounds.steps import Steps, steps_of
from wieldy.claims.bounds import (
    WRONG,
    Case,
    affine_case,
    attacked,
    bent_case,
    beyond,
    case_of,
    distances,
    drawn,
    extremes,
    fractions,
    layers_of,
    outside,
    sampled,
    tried,
    weighted,
)
from wieldy.core.errors import ConfigError, ShapeError, UnsupportedOpError
from wieldy.graph.fake_quantize import Levels, with_levels
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Program
from wieldy.graph.trace import trace

METHODS = ("ibp", "crown", "both")


class Drawn(nn.Module):
    """A small network whose parts are switched on and off."""

    def __init__(self, norm: bool, pool: str, shortcut: bool, clamp: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        self.second = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.last = nn.Linear(12 if pool else 48, 3)
        self.pool, self.shortcut, self.clamp = pool, shortcut, clamp

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        y = self.second(x).clamp(-self.clamp, self.clamp)
        x = F.relu(x - y) if self.shortcut else y
        if self.pool:
            x = F.max_pool2d(x, 2) if self.pool == "max" else F.avg_pool2d(x, 2)
        return self.last(x.flatten(1))


PARTS = st.sampled_from(
    [
        (False, "", False, 0.3),
        (True, "max", True, 5.0),
        (False, "max", False, 0.3),
        (True, "avg", True, 0.3),
        (False, "avg", True, 5.0),
        (True, "", True, 5.0),
    ]
)


def steps_for(model: nn.Module, *shape: int) -> Steps:
    network = trace(model.eval(), torch.zeros(1, *shape))
    return steps_of(network.program, network.arrays())


@cache
def program_of(parts: tuple) -> Program:
    return trace(Drawn(*parts).eval(), torch.zeros(1, 1, 4, 4)).program


def case_from(parts: tuple, seed: int) -> Case:
    model, program = weighted(lambda: Drawn(*parts), seed), program_of(parts)
    held = model.state_dict()
    steps = steps_of(program, {name: held[name].numpy() for name in program.tensors})
    draw = np.random.default_rng(seed)
    centre, radius = draw.normal(size=(1, 1, 4, 4)), draw.uniform(0, draw.uniform(), (1, 1, 4, 4))
    return Case(copy.deepcopy(model).double(), steps, centre - radius, centre + radius)


@given(parts=PARTS, seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_nothing_leaves_the_bounds_of_a_drawn_network(parts: tuple, seed: int) -> None:
    found = tried(case_from(parts, seed), 400, seed)
    assert (found.outside, found.attacked, found.apart) == (0, 0, 0)
    assert found.width["both"] <= min(found.width["ibp"], found.width["crown"])


@given(parts=PARTS, seed=st.integers(0, 999), share=st.floats(0, 1), shift=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_intervals_of_a_smaller_box_lie_inside(parts: tuple, seed: int, share: float, shift: float) -> None:
    case = case_from(parts, seed)
    width = case.high - case.low
    low = np.clip(case.low + (1 - share) * shift * width, case.low, case.high)
    high = np.clip(low + share * width, low, case.high)
    inner = enclose(case.steps, low, high, method="ibp")
    outer = enclose(case.steps, case.low, case.high, method="ibp")
    room = 1e-12 * (1 + np.abs(outer[0]) + np.abs(outer[1]))  # both are rounded
    assert (inner[0] >= outer[0] - room).all()
    assert (inner[1] <= outer[1] + room).all()


@pytest.mark.parametrize("number", range(6))
def test_nothing_leaves_the_bounds_of_a_larger_network(number: int) -> None:
    case = drawn(number)
    found = tried(case, 4000, number)
    assert (found.outside, found.attacked, found.apart) == (0, 0, 0)
    assert found.width["crown"] < found.width["ibp"]


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_sign_in_a_relaxation_is_found_out(name: str) -> None:
    found = (tried(drawn(number), 500, number, WRONG[name]) for number in range(12))
    assert any(case.outside + case.attacked for case in found)


@pytest.mark.parametrize("depth", [1, 2, 4, 9])
@pytest.mark.parametrize("method", METHODS)
def test_affine_networks_are_bounded_exactly_but_for_rounding(depth: int, method: str) -> None:
    case = affine_case(depth, (5,) * depth + (3,))
    inside, farthest = distances(case, method)
    assert inside == 0
    assert farthest <= 8 or (method == "ibp" and depth > 1)
    assert farthest <= 8 or farthest > 1e6  # intervals forget what they have in common


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("method", METHODS)
def test_exact_extremes_of_one_input_lie_inside(seed: int, method: str) -> None:
    case = bent_case(seed)
    low, high = case.bounds(method)
    exact = extremes(case)
    assert beyond((low, high), exact) == 0
    with torch.no_grad():
        line = np.linspace(case.low, case.high, 501).reshape(-1, 1)
        values = case.model(torch.from_numpy(line)).numpy()
    for end, seen, sign in zip(exact, (values.min(0), values.max(0)), (1, -1), strict=True):
        assert (sign * end.astype(float) <= sign * seen + 1e-12).all()  # the reference is one


@pytest.mark.parametrize("seed", range(6))
def test_exact_extremes_over_all_activation_patterns_lie_inside(seed: int) -> None:
    """One hidden layer on a rectangle: the extremes lie where two of its sides and of the bends meet."""
    model = weighted(lambda: nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 2)), seed)
    case = case_of(model, (2,), seed, widest=2.0)
    (weight, bias), (last, offset) = ([fractions(part) for part in layer] for layer in layers_of(case.model))
    low, high = fractions(case.low[0]), fractions(case.high[0])
    sides = [(np.array([1 - axis, axis]), -end[axis]) for end in (low, high) for axis in (0, 1)]
    points = []
    for (a, b), (c, d) in itertools.combinations([*zip(weight, bias, strict=True), *sides], 2):
        across = a[0] * c[1] - a[1] * c[0]
        if across:
            point = np.array([(a[1] * d - b * c[1]) / across, (b * c[0] - a[0] * d) / across])
            if (point >= low).all() and (point <= high).all():
                points.append(point)
    hidden = np.array(points) @ weight.T + bias
    values = np.where(hidden > 0, hidden, 0) @ last.T + offset
    assert len(points) >= 4
    for method in METHODS:
        assert beyond(case.bounds(method), (values.min(0), values.max(0))) == 0


def test_the_corners_of_an_affine_box_are_reached() -> None:
    case = affine_case(3, (4, 4, 4, 3))
    corners = np.array(list(itertools.product(*zip(case.low[0], case.high[0], strict=True))))
    values = case.model(torch.from_numpy(corners)).detach().numpy()
    low, high = case.bounds("crown")
    assert outside(values, low, high) == 0
    np.testing.assert_allclose(values.min(0), low, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(values.max(0), high, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_box_of_one_point_is_bounded_by_the_output(method: str) -> None:
    case = drawn(4)
    point = Case(case.model, case.steps, case.low, case.low)
    low, high = point.bounds(method)
    (value,) = case.model(torch.from_numpy(case.low)).detach().numpy()
    assert (low <= value).all()
    assert (value <= high).all()
    assert (high - low).max() < 1e-10


def test_each_example_is_bounded_by_itself() -> None:
    one, two = drawn(1), drawn(1)
    low, high = np.concatenate([one.low, two.low + 1]), np.concatenate([one.high, two.high + 1])
    together = enclose(one.steps, low, high)
    for index in (0, 1):
        alone = enclose(one.steps, low[index : index + 1], high[index : index + 1])
        for ours, theirs in zip(together, alone, strict=True):
            np.testing.assert_array_equal(ours[index], theirs[0])


def rounded(network: GraphNetwork, scale: float) -> GraphNetwork:
    """Round the input and what comes out of the first activation to eight bits."""
    levels = {"x": Levels(scale, 128), "relu": Levels(scale, 0)}
    program = with_levels(network.program, levels)
    return GraphNetwork.from_arrays(program, network.arrays(), {})


@pytest.mark.parametrize("scale", [0.3, 0.01])
def test_a_rounded_network_is_bounded(scale: float) -> None:
    network = rounded(tiny.traced(), scale)
    steps = steps_of(network.program, network.arrays())
    draw = np.random.default_rng(0)
    centre = draw.normal(size=(1, 1, 8, 8)).astype(np.float32)
    low, high = centre - np.float32(0.02), centre + np.float32(0.02)
    inputs = (low + draw.uniform(size=(500, 1, 8, 8)) * (high - low)).astype(np.float32)
    with torch.no_grad():
        values = network(torch.from_numpy(inputs)).numpy().astype(np.float64)
    for method in METHODS:
        first, last = enclose(
            steps, low - 1e-6, high + 1e-6, method=method
        )  # float32: near halves, either way
        assert outside(values, first - 1e-4, last + 1e-4) == 0


def test_margins_see_what_logits_have_in_common() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    model[0].weight.data = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 2.9]])
    model[0].bias.data = torch.tensor([0.5, 0.0])
    steps = steps_for(model, 3)
    low, high = -np.ones((1, 3)), np.ones((1, 3))
    for method in METHODS:
        found = margins(steps, low, high, np.array([0]), method=method)
        assert found[0, 0] == np.inf
        assert found[0, 1] == pytest.approx(0.4, abs=1e-6)
    first, last = enclose(steps, low, high)
    assert first[0, 0] - last[0, 1] < -10


@pytest.mark.parametrize("number", [0, 1, 3, 5])
def test_margins_hold_for_what_is_tried(number: int) -> None:
    case = drawn(number)
    values = np.concatenate([*sampled(case, 1000, number), *attacked(case, number)])
    for label in range(values.shape[1]):
        ahead = values[:, [label]] - np.delete(values, label, axis=1)
        for method in METHODS:
            found = margins(case.steps, case.low, case.high, np.array([label]), method=method)
            assert (ahead >= np.delete(found[0], label) - 1e-14).all()
            first, last = enclose(case.steps, case.low, case.high, method=method)
            assert (found[0] >= first[0, label] - last[0] - 1e-9).all()


def test_crown_only_asks_where_it_may_help() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU(), nn.MaxPool2d(2)
    )
    steps = steps_for(model, 1, 6, 6)
    names = [name for name, step in steps.steps.items() if name in steps.asking]
    assert names == ["relu_1"]  # the first box is exact, and that of a pooling follows from its source's
    assert steps.bends == 3 * 2 * 4 * 4
    assert steps_for(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), 2).asking == frozenset()
    assert len(steps_for(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.ReLU()), 2).asking) == 1


def test_crown_spends_on_undecided_bends_alone() -> None:
    case = drawn(2)
    narrow = (case.low + case.high) / 2
    for low, high, spends in ((case.low, case.high, True), (narrow, narrow, False)):
        (around,) = arounds(case.steps, low, high)
        assert isinstance(around, Around)
        around.output("ibp")
        assert around.spent == 0
        around.output("crown")
        assert (around.spent > 0) == spends


def test_a_network_too_large_for_crown_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    case = drawn(1)
    assert too_large(case.steps) == ""
    monkeypatch.setattr(enclosure, "MOST_MACS", 10)
    for method in ("crown", "both"):
        with pytest.raises(ConfigError, match=r"18 values that go into a bend.*ibp"):
            case.bounds(method)
    low, high = case.bounds("ibp")
    assert (low < high).all()


def test_ends_that_do_not_fit_are_refused() -> None:
    steps = steps_for(nn.Linear(3, 2), 3)
    box = np.zeros((2, 3))
    for low, high in ((box[:, :2], box[:, :2]), (box, box[:1]), (box + 1, box), (box, box * np.nan)):
        with pytest.raises(ShapeError, match="low <= high"):
            enclose(steps, low, high)
    with pytest.raises(ShapeError, match="takes 1 inputs; got 2"):
        enclose(steps, (box, box), (box, box))


def test_margins_are_of_rows_of_logits() -> None:
    steps = steps_for(nn.Conv2d(1, 2, 3), 1, 4, 4)
    with pytest.raises(ShapeError, match=r"\(n, classes\)"):
        margins(steps, np.zeros((1, 1, 4, 4)), np.ones((1, 1, 4, 4)), np.array([0]))


class Two(nn.Module):
    """Two inputs, two outputs of which one may be left out."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both = both

    def forward(self, x: Tensor, y: Tensor) -> object:
        return (x - y, x) if self.both else F.relu(x - y)


def test_several_inputs_are_bounded_together() -> None:
    network = trace(Two(both=False), (torch.zeros(1, 2), torch.zeros(1, 2)))
    steps = steps_of(network.program, network.arrays())
    low = (np.array([[1.0, -5.0]]), np.array([[0.0, 1.0]]))
    high = (np.array([[2.0, -4.0]]), np.array([[0.5, 2.0]]))
    for method in METHODS:
        first, last = enclose(steps, low, high, method=method)
        np.testing.assert_allclose(first, [[0.5, 0.0]], atol=1e-12)
        np.testing.assert_allclose(last, [[2.0, 0.0]], atol=1e-12)


def test_several_outputs_are_refused() -> None:
    network = trace(Two(both=True), (torch.zeros(1, 2), torch.zeros(1, 2)))
    with pytest.raises(UnsupportedOpError, match="one output"):
        enclose(steps_of(network.program, network.arrays()), (np.zeros((1, 2)),) * 2, (np.ones((1, 2)),) * 2)


def test_bounds_and_the_network_stay_as_they_are() -> None:
    network = tiny.traced()
    before = tiny.state(network)
    low, high = -np.ones((1, 1, 8, 8)) * 0.1, np.ones((1, 1, 8, 8)) * 0.1
    kept = low.copy(), high.copy()
    steps = steps_of(network.program, network.arrays())
    one, two = enclose(steps, low, high), enclose(steps, low, high)
    for ours, theirs in zip((*one, *kept), (*two, low, high), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert tiny.state(network) == before


def test_the_reference_in_fractions_is_no_copy_of_floats() -> None:
    assert fractions(np.array([0.1]))[0] == Fraction(0.1) != Fraction(1, 10)
    case = affine_case(1, (2, 4))
    moved = Case(copy.deepcopy(case.model), case.steps, case.low, case.high)
    moved.model[0].bias.data += 1e-9
    assert distances(moved, "crown")[0] == 4  # half of the ends of a shifted network lie beyond
