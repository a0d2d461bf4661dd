"""Where values lie: what lives at one time never shares a float, and what does not shares memory."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_cases import layer, regions

from wieldy.kernels.region.layout import Geometry, Lifetime, place
from wieldy.kernels.region.ops import Op, Size
from wieldy.kernels.region.places import place_values
from wieldy.kernels.region.plan import sizes_of
from wieldy.kernels.region.schedule import Tiling, schedule


def tiling(conv) -> Tiling:  # type: ignore[no-untyped-def]
    return Tiling(64, 2)


@st.composite
def lifetimes(draw):  # type: ignore[no-untyped-def]
    count = draw(st.integers(0, 12))
    ends = [sorted((draw(st.integers(0, 6)), draw(st.integers(0, 6)))) for _ in range(count)]
    return {str(i): Lifetime(draw(st.integers(1, 50)), *ends[i]) for i in range(count)}


@given(lifetimes())
def test_what_lives_at_one_time_shares_no_float(wanted):  # type: ignore[no-untyped-def]
    places, floats = place(wanted)
    for moment in range(7):
        alive = sorted(
            (places[name], places[name] + life.floats)
            for name, life in wanted.items()
            if life.first <= moment <= life.last
        )
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(alive))
        assert all(begin >= 0 and end <= floats for begin, end in alive)


def test_a_row_of_values_that_follow_each_other_takes_the_two_largest_neighbours():
    sizes = [10, 40, 20, 30, 5]
    wanted = {index: Lifetime(size, index, index + 1) for index, size in enumerate(sizes)}
    assert place(wanted)[1] == 60


@settings(max_examples=100, deadline=None)
@given(region=regions())
def test_planes_hold_the_zeros_that_lie_before_them(region):  # type: ignore[no-untyped-def]
    inputs, ops, outputs = region
    sizes = sizes_of({name: Size(*array.shape[1:]) for name, array in inputs.items()}, ops)
    chains = schedule(ops, sizes, outputs, tiling, 2)
    planes, floats = place_values(inputs, chains, outputs, sizes, Geometry(ops, sizes))
    for found in planes.values():
        assert found.begin - found.lead >= 0
        assert found.begin - found.lead + found.floats <= floats
        assert found.begin % 16 == 0


@pytest.mark.parametrize("padding", [0, 1])
def test_only_what_is_read_past_its_pixels_is_surrounded_by_zeros(padding):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    ops: list[Op] = [
        layer(rng, 8, 8, (1, 1), target="a"),
        layer(rng, 8, 8, (3, 3), source="a", target="b", padding=(padding, padding)),
    ]
    sizes = sizes_of({"x": Size(8, 9, 9)}, ops)
    chains = schedule(ops, sizes, ["b"], tiling, 2)
    planes, _ = place_values(["x"], chains, ["b"], sizes, Geometry(ops, sizes))
    assert {name for name, found in planes.items() if found.lead} == ({"a"} if padding else set())


def test_a_value_takes_the_place_of_one_of_another_size():
    rng = np.random.default_rng(0)
    ops: list[Op] = [
        layer(rng, 8, 64, (3, 3), target="a", padding=(1, 1)),
        layer(rng, 64, 8, (3, 3), source="a", target="b"),
        layer(rng, 8, 64, (3, 3), source="b", target="c", padding=(1, 1)),
    ]
    sizes = sizes_of({"x": Size(8, 17, 17)}, ops)
    chains = schedule(ops, sizes, ["c"], tiling, 2)
    planes, _ = place_values(["x"], chains, ["c"], sizes, Geometry(ops, sizes))
    assert planes["a"].begin < planes["c"].begin + planes["c"].floats
    assert planes["c"].begin < planes["a"].begin + planes["a"].floats
