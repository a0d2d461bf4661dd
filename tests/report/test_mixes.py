"""The trade-off of mixes."""

from itertools import pairwise

import sample
from hypothesis import given
from hypothesis import strategies as st

from wieldy.core.records import MixPoint
from wieldy.report.mixes import curve_of
from wieldy.report.page import render
from wieldy.report.view import mixed

POINTS = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), max_size=12)


def point(ms: int, damage: int) -> MixPoint:
    return MixPoint(
        mix=f"{ms} {damage}", track="", timing=sample.timing(ms / 20), forecast_ratio=1.0, macs=1, bytes=1,
        parameters=1, damage=damage / 20, score=0.5,
    )  # fmt: skip


@given(POINTS)
def test_every_mix_is_on_the_curve_or_beaten_by_one_that_is(pairs: list[tuple[int, int]]) -> None:
    points = [point(*pair) for pair in pairs]
    curve = curve_of(points)
    for one in points:
        assert one in curve or any(
            other.timing.ratio.value <= one.timing.ratio.value and other.damage <= one.damage
            for other in curve
        )


@given(POINTS)
def test_along_the_curve_what_is_quicker_does_more_damage(pairs: list[tuple[int, int]]) -> None:
    curve = curve_of([point(*pair) for pair in pairs])
    for slow, quick in pairwise(curve):
        assert slow.timing.ratio.value > quick.timing.ratio.value
        assert slow.damage < quick.damage


def test_the_page_tells_which_mixes_are_beaten_and_which_way_down_each_mark_stands_for() -> None:
    record = sample.mixed_record()
    written = render(record)
    beaten = len(record.mixes) - len(curve_of(record.mixes))
    assert beaten > 0
    assert written.count("beaten by another") == beaten
    assert len({mark for mark, _ in (mixed(record) or {})["series"]}) == 5
