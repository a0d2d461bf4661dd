import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
import sample

from wieldy.core.records import Candidate, Epoch
from wieldy.report import charts, svg
from wieldy.report.charts import ClassBar, LayerBar

WIDTHS = (charts.NARROW, charts.WIDE, 1140.0)
BARS = [
    LayerBar("a", "k", 4.0, 2.0),
    LayerBar("b", "k → l", 2.0, None, "no gain"),
    LayerBar("c", "k", None, 1.0),
]
CLASSES = [ClassBar("x", sample.interval(-2.0, 1.0), "worse"), ClassBar("<y>", sample.interval(1.0, 0.5))]
EPOCHS = [Epoch(epoch=k, metric=0.8 + 0.02 * k) for k in range(1, 6)]


def drawn(width: float) -> dict[str, str]:
    some = sample.candidates()
    return {
        "tradeoff": charts.tradeoff(some, 0.5, width),
        "one candidate": charts.tradeoff(some[:1], None, width),
        "layer_times": charts.layer_times(BARS, width),
        "class_changes": charts.class_changes(CLASSES, width),
        "recovery": charts.recovery(EPOCHS, "accuracy", width),
        "one epoch": charts.recovery(EPOCHS[:1], "loss", width),
        "intervals": charts.intervals(sample.interval(0.9, 0.01), sample.interval(0.9, 0.0), True, width),
    }


def groups(drawing: str, kind: str) -> list[ET.Element]:
    return [g for g in ET.fromstring(drawing).iter("g") if kind in g.get("class", "").split()]


def place(group: ET.Element) -> tuple[float, float]:
    circle = next(group.iter("circle"))
    return float(circle.get("cx", "nan")), float(circle.get("cy", "nan"))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_chart_is_one_sound_drawing_with_words(width):
    for name, drawing in drawn(width).items():
        root = ET.fromstring(drawing)
        assert root.tag == "svg", name
        assert root.get("role") == "img"
        assert len(root.get("aria-label", "")) > 10
        assert "xmlns" not in drawing
        assert all(text.text for text in root.iter("text")), name


@pytest.mark.parametrize("width", WIDTHS)
def test_every_mark_has_a_tooltip(width):
    for name, drawing in drawn(width).items():
        marks = groups(drawing, "mark")
        assert marks, name
        assert all(mark[0].tag == "title" and mark[0].text for mark in marks), name


def test_candidates_stand_where_they_were_measured():
    one = [c for c in sample.candidates() if c.multiple == 8]
    at = [place(group) for group in groups(charts.tradeoff(one, 0.5), "candidate")]
    assert [x for x, _ in at] == sorted(x for x, _ in at)
    assert [y for _, y in at] == sorted(y for _, y in at)  # faster is lower on the page
    steps = [b[0] - a[0] for a, b in pairwise(at)]
    assert max(steps) - min(steps) < 0.05  # shares are evenly spaced, so are the points


def test_the_chosen_candidate_is_marked_in_form_and_words():
    drawing = charts.tradeoff(sample.candidates(), 0.5)
    assert drawing.count('class="ring"') == 1
    assert "chosen 0.48" in drawing
    nothing = [Candidate(**(dict(c) | {"chosen": False})) for c in sample.candidates()]
    assert "ring" not in charts.tradeoff(nothing, 0.5)


def test_the_goal_lies_at_its_ratio():
    root = ET.fromstring(charts.tradeoff(sample.candidates(), 0.5))
    lines = {e.get("class"): float(e.get("y1", "nan")) for e in root.iter("line")}
    ticks = {t.text: float(t.get("y", "nan")) - 4 for t in root.iter("text")}
    assert lines["goal"] == pytest.approx((ticks["0.4"] + ticks["0.6"]) / 2, abs=0.02)
    assert lines["reference"] == pytest.approx(ticks["1.0"], abs=0.02)
    assert 'class="goal"' not in charts.tradeoff(sample.candidates(), None)


def test_bars_are_as_long_as_their_times():
    first, second, third = groups(charts.layer_times(BARS), "layer")
    lengths = [[float(r.get("width", "nan")) for r in group.iter("rect")] for group in (first, second, third)]
    assert lengths[0][0] == pytest.approx(2 * lengths[0][1], abs=0.02)
    assert lengths[1] == [pytest.approx(lengths[0][0] / 2, abs=0.02)]
    assert lengths[2] == [pytest.approx(lengths[0][0] / 4, abs=0.02)]


def test_worse_classes_lie_left_of_zero_and_say_so():
    worse, better = groups(charts.class_changes(CLASSES), "class")
    assert place(worse)[0] < place(better)[0]
    assert "✕" in "".join(worse.itertext())
    assert "✕" not in "".join(better.itertext())
    assert "<y>" in "".join(better.itertext())


def test_what_gains_nothing_is_hatched_and_nothing_else():
    slow, fast = LayerBar("a", "k", 4.0, 4.0, "no gain"), LayerBar("b", "k", 4.0, 2.0)
    first, second = groups(charts.layer_times([slow, fast]), "layer")
    assert [r.get("class") for r in first.iter("rect")] == ["original", "package hatched"]
    assert [r.get("class") for r in second.iter("rect")] == ["original", "package"]


def test_epochs_run_to_the_right_and_better_is_higher():
    at = [place(group) for group in groups(charts.recovery(EPOCHS, "accuracy"), "epoch")]
    assert [x for x, _ in at] == sorted(x for x, _ in at)
    assert [y for _, y in at] == sorted((y for _, y in at), reverse=True)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 0.4), (0.9421, 0.9424), (0, 1234567), (5, 5)])
def test_ticks_are_round_and_inside(low, high):
    found = svg.ticks(low, high)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
    assert len(found) <= 8
    assert found == sorted(found)


def test_control_characters_cannot_break_a_drawing():
    ET.fromstring(charts.class_changes([ClassBar("a\x00b\x1f\ud800]]>", sample.interval(0, 1))]))
