"""Bends lie between their lines, in exact arithmetic, and their boxes are exact."""

import itertools
from fractions import Fraction
from math import inf

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wieldy.assure.bounds.relaxed import Bend, Clamp, Largest, Lines, Relax, Round, relax
from wieldy.assure.bounds.rounding import Box
from wieldy.assure.bounds.steps import steps_of
from wieldy.claims.bounds import WRONG
from wieldy.graph.trace import trace

CLAMPS = {
    "relu": Clamp(("x",), 0.0, inf),
    "relu6": Clamp(("x",), 0.0, 6.0),
    "hardtanh": Clamp(("x",), -1.0, 1.0),
    "at most": Clamp(("x",), -inf, 0.3),
    "one number": Clamp(("x",), 0.7, 0.7),
}
NUMBERS = st.floats(-9, 9, width=32) | st.sampled_from([0.0, 1.0, 6.0, -1.0, 0.3, 1e-300, 1e30, -1e30])


def box_of(low: float, high: float) -> Box:
    low, high = sorted((low, high))
    return Box(torch.tensor([[low]], dtype=torch.float64), torch.tensor([[high]], dtype=torch.float64))


def clamped(bend: Clamp, x: Fraction) -> Fraction:
    x = max(x, Fraction(bend.least)) if bend.least > -inf else x
    return min(x, Fraction(bend.largest)) if bend.largest < inf else x


def are_around(lines: Lines, x: Fraction, value: Fraction) -> bool:
    """Whether a value lies between two lines at x, in exact arithmetic."""
    low, high, lower, upper = (
        Fraction(of.item()) for of in (lines.low_slope, lines.high_slope, lines.low_shift, lines.high_shift)
    )
    return low * x + lower <= value <= high * x + upper


@pytest.mark.parametrize("bend", CLAMPS.values(), ids=CLAMPS)
@given(low=NUMBERS, high=NUMBERS, share=st.fractions(0, 1))
def test_a_clamp_lies_between_its_lines(bend: Clamp, low: float, high: float, share: Fraction) -> None:
    box = box_of(low, high)
    first, last = Fraction(box.low.item()), Fraction(box.high.item())
    lines = bend.lines(box)
    kinks = [Fraction(end) for end in (bend.least, bend.largest) if abs(end) < inf]
    for x in (first, last, first + share * (last - first), *(k for k in kinks if first <= k <= last)):
        assert are_around(lines, x, clamped(bend, x))


@given(low=st.floats(-5, -0.1), high=st.floats(0.1, 5))
def test_the_lines_of_a_relu_are_the_chord_and_the_flatter_or_steeper_side(low: float, high: float) -> None:
    lines = CLAMPS["relu"].lines(box_of(low, high))
    assert lines.high_slope.item() == pytest.approx(high / (high - low), rel=1e-12)
    assert lines.high_shift.item() == pytest.approx(-low * high / (high - low), rel=1e-9)
    assert lines.low_slope.item() == float(high > -low)
    assert abs(lines.low_shift.item()) < 1e-14


@pytest.mark.parametrize(("low", "high", "slope"), [(0.5, 2.0, 1.0), (-2.0, -0.5, 0.0)])
def test_a_decided_relu_is_itself(low: float, high: float, slope: float) -> None:
    bend = CLAMPS["relu"]
    lines = bend.lines(box_of(low, high))
    assert lines.low_slope.item() == lines.high_slope.item() == slope
    assert max(abs(lines.low_shift.item()), abs(lines.high_shift.item())) < 1e-14
    assert not bend.undecided(box_of(low, high))
    assert bend.undecided(box_of(-0.5, 0.5))


ROUNDS = st.builds(
    Round,
    st.just(("x",)),
    st.floats(1e-3, 1.5),
    st.integers(-128, 0),
    st.integers(0, 255),
)


@given(bend=ROUNDS, low=st.floats(-9, 9), width=st.floats(0, 9), share=st.fractions(0, 1))
def test_rounding_lies_in_its_box_and_between_its_lines(
    bend: Round, low: float, width: float, share: Fraction
) -> None:
    box = box_of(low, low + width)
    first, last, scale = Fraction(box.low.item()), Fraction(box.high.item()), Fraction(bend.scale)
    lines, image = bend.lines(box), bend.image(box)
    for x in (first, last, first + share * (last - first)):
        level = Fraction(round(x / scale))  # halves to even: one of the two ways
        value = scale * min(max(level, Fraction(bend.least)), Fraction(bend.largest))
        assert Fraction(image.low.item()) <= value <= Fraction(image.high.item())
        assert are_around(lines, x, value)


def test_rounding_within_one_level_is_known() -> None:
    bend = Round(("x",), 0.5, -4, 4)
    image = bend.image(box_of(0.8, 1.2))
    assert image.low.item() == pytest.approx(1.0)
    assert image.high.item() == pytest.approx(1.0)
    assert not bend.undecided(box_of(0.8, 1.2))
    assert bend.undecided(box_of(0.7, 1.2))
    halfway = bend.image(box_of(0.75, 0.75))
    assert halfway.high.item() - halfway.low.item() == pytest.approx(0.5)


POOLS = {
    "plain": nn.MaxPool2d(2),
    "overlapping": nn.MaxPool2d(3, 2, 1),
    "dilated": nn.MaxPool2d(2, 1, 1, dilation=2),
    "uneven": nn.MaxPool2d((3, 2), (1, 3), (1, 0), ceil_mode=True),
}


def pool_of(name: str) -> Largest:
    network = trace(POOLS[name], torch.zeros(1, 3, 6, 7))
    (step,) = steps_of(network.program, network.arrays()).steps.values()
    assert isinstance(step, Largest)
    return step


def planes(lines: Lines, x: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Both sides of the lines of a largest, at (n, ...) inputs."""
    seen = x.flatten(1)[:, lines.entries]
    sides = ((lines.low_slope, lines.low_shift), (lines.high_slope, lines.high_shift))
    low, high = ((seen * slope).sum(-1).reshape(len(x), *shape) + shift for slope, shift in sides)
    return low, high


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("width", [0.0, 0.3, 3.0])
def test_the_largest_lies_in_its_box_and_between_its_planes(name: str, width: float) -> None:
    bend, draw = pool_of(name), torch.Generator().manual_seed(0)
    centre = torch.randn(1, 3, 6, 7, dtype=torch.float64, generator=draw)
    spread = width * torch.rand(centre.shape, dtype=torch.float64, generator=draw).round(decimals=1)
    box = Box(centre - spread, centre + spread)
    lines, image = bend.lines(box), bend.image(box)
    share = torch.rand(4000, *centre.shape[1:], dtype=torch.float64, generator=draw)
    share[2000:] = share[2000:].round()
    x = box.low + share * (box.high - box.low)
    value = POOLS[name](x)
    low, high = planes(lines, x, value.shape[1:])
    assert (low <= value + 1e-12).all()
    assert (value <= high + 1e-12).all()
    torch.testing.assert_close(image.low, POOLS[name](box.low), rtol=0, atol=0)
    torch.testing.assert_close(image.high, POOLS[name](box.high), rtol=0, atol=0)


@given(
    ends=st.lists(st.tuples(st.fractions(-4, 4), st.fractions(0, 3)), min_size=2, max_size=4),
    shares=st.lists(st.fractions(0, 1), min_size=4, max_size=4),
)
@settings(max_examples=60)
def test_the_plane_over_a_window_is_above_it_in_exact_arithmetic(
    ends: list[tuple[Fraction, Fraction]], shares: list[Fraction]
) -> None:
    bend = Largest(("x",), torch.arange(len(ends))[None], (1,))
    low = torch.tensor([[float(start) for start, _ in ends]], dtype=torch.float64)
    box = Box(low, low + torch.tensor([[float(width) for _, width in ends]], dtype=torch.float64))
    lines = bend.lines(box)
    slopes = [[Fraction(of) for of in side[0].tolist()] for side in (lines.low_slope, lines.high_slope)]
    first, last = ([Fraction(of) for of in end[0].tolist()] for end in (box.low, box.high))
    corners = [[high if i == j else low for j, (low, high) in enumerate(zip(first, last, strict=True))]
               for i in range(len(ends))]  # fmt: skip
    inside = [a + s * (b - a) for a, b, s in zip(first, last, shares, strict=False)]
    for x in (*corners, inside, first, last):
        below, above = (sum(s * v for s, v in zip(side, x, strict=True)) for side in slopes)
        assert below + Fraction(lines.low_shift.item()) <= max(x)
        assert max(x) <= above + Fraction(lines.high_shift.item())


def test_the_plane_over_two_entries_is_the_chord_of_their_difference() -> None:
    """max(a, b) = b + relu(a - b), with a - b between -2 and 1."""
    bend = Largest(("x",), torch.tensor([[0, 1]]), (1,))
    box = Box(torch.tensor([[-1.0, 0.0]]).double(), torch.tensor([[1.0, 1.0]]).double())
    lines = bend.lines(box)
    np.testing.assert_allclose(lines.high_slope, [[1 / 3, 2 / 3]], atol=1e-8)
    np.testing.assert_allclose(lines.high_shift, [[2 / 3]], atol=1e-8)
    assert lines.low_slope.tolist() == [[0.0, 1.0]]
    assert bend.undecided(box).all()


def test_a_sure_largest_is_itself() -> None:
    bend = Largest(("x",), torch.tensor([[0, 1, -1]]), (1,))
    box = Box(torch.tensor([[2.0, -3.0]]).double(), torch.tensor([[4.0, 1.5]]).double())
    lines = bend.lines(box)
    assert lines.low_slope.tolist() == lines.high_slope.tolist() == [[1.0, 0.0, 0.0]]
    assert abs(lines.high_shift.item()) < 1e-13
    assert not bend.undecided(box).any()


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (nn.ReLU(), (0.0, inf)),
        (nn.ReLU6(), (0.0, 6.0)),
        (nn.Hardtanh(-2, 3), (-2.0, 3.0)),
        (F.relu6, (0.0, 6.0)),
        (lambda x: x.clamp(min=-0.5), (-0.5, inf)),
        (lambda x: x.clamp(max=0.5), (-inf, 0.5)),
        (lambda x: x.clamp(2, 1), (1.0, 1.0)),
    ],
)
def test_clamps_are_read_with_their_ends(module: object, found: tuple[float, float]) -> None:
    class Call(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return module(x)  # type: ignore[operator]

    network = trace(Call(), torch.zeros(1, 3))
    (step,) = steps_of(network.program, network.arrays()).steps.values()
    assert isinstance(step, Clamp)
    assert (step.least, step.largest) == found


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_sign_makes_lines_that_are_none(name: str) -> None:
    """Of the right ones all points are enclosed; of each wrong one some are not."""
    boxes = [box_of(low, high) for low, high in ((-2, 1), (-1, 3), (0.2, 2), (-3, -1), (-0.5, 4), (-4, 7))]
    bends: list[Bend] = [*CLAMPS.values(), Round(("x",), 0.5, -3, 3)]

    def all_enclosed(lines_of: Relax) -> bool:
        found = []
        for bend, box in itertools.product(bends, boxes):
            lines = lines_of(bend, box)
            for x in torch.linspace(box.low.item(), box.high.item(), 9, dtype=torch.float64):
                image, at = bend.image(Box(x[None, None], x[None, None])), Fraction(x.item())
                middle = (Fraction(image.low.item()) + Fraction(image.high.item())) / 2
                value = clamped(bend, at) if isinstance(bend, Clamp) else middle
                found.append(are_around(lines, at, value))
        return all(found)

    assert all_enclosed(relax)
    assert not all_enclosed(WRONG[name])
