"""Small charts side by side, pairs of dots, and points of two records."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
import sample
from hypothesis import given
from hypothesis import strategies as st

from wieldy.report import panels, svg
from wieldy.report.charts import NARROW, WIDE
from wieldy.report.evidence import BinNumbers
from wieldy.report.panels import Axes, Panel, Row, Stop
from wieldy.report.scatter import Axis, Point, exact, scatter

AXES = Axes(("severity", "accuracy"), tuple((float(k), f"{k}") for k in range(1, 6)))
STOPS = tuple(Stop(float(k), 1 - k / 10, 1 - k / 8, f"{k}") for k in range(1, 6))
PANELS = [Panel(f"panel {k}", STOPS, f"{k} lost", k > 10) for k in range(15)]
WIDTHS = (NARROW, WIDE, 740.0, 1140.0)


def stops(drawing: str, kind: str = "stop") -> list[ET.Element]:
    return [g for g in ET.fromstring(drawing).iter("g") if kind in g.get("class", "").split()]


def places(group: ET.Element) -> list[tuple[float, float]]:
    return [(float(c.get("cx", "nan")), float(c.get("cy", "nan"))) for c in group.iter("circle")]


def texts(drawing: str) -> dict[str, tuple[float, float]]:
    found = ET.fromstring(drawing).iter("text")
    return {t.text or "": (float(t.get("x", "nan")), float(t.get("y", "nan"))) for t in found}


@pytest.mark.parametrize("width", WIDTHS)
def test_every_panel_and_every_stop_is_drawn_with_words(width: float) -> None:
    drawing = panels.panels(PANELS, AXES, "fifteen", width=width)
    assert ET.fromstring(drawing).get("aria-label") == "fifteen"
    found = stops(drawing)
    assert len(found) == 75
    assert all(group[0].tag == "title" and group[0].text for group in found)
    titles = texts(drawing)
    assert all(panel.title in titles for panel in PANELS)


@pytest.mark.parametrize("width", WIDTHS)
def test_panels_do_not_overlap_and_stay_inside(width: float) -> None:
    drawing = panels.panels(PANELS, AXES, "fifteen", width=width)
    at = [texts(drawing)[panel.title] for panel in PANELS]
    assert len(set(at)) == 15
    assert len({x for x, _ in at}) == min(5, {NARROW: 2, WIDE: 3, 740.0: 4, 1140.0: 5}[width])
    view = [float(part) for part in ET.fromstring(drawing).get("viewBox", "").split()]
    points = [point for group in stops(drawing) for point in places(group)]
    assert all(0 < x < view[2] and 0 < y < view[3] for x, y in points)


def test_better_is_higher_and_the_original_lies_around_the_package() -> None:
    group = stops(panels.panels(PANELS[:1], AXES, "one"))[2]
    (_, first), (_, second) = places(group)
    assert first < second  # 1 - 3 / 10 is above 1 - 3 / 8
    radii = [float(c.get("r", "nan")) for c in group.iter("circle")]
    assert radii[0] > radii[1]


def test_bad_news_differs_in_more_than_its_colour() -> None:
    drawing = panels.panels([Panel("p", STOPS, "✕ 3.0 lost", True)], AXES, "one")
    assert "✕ 3.0 lost" in drawing
    assert "bad-text" in drawing


@pytest.mark.parametrize("width", WIDTHS)
def test_bins_on_the_diagonal_lie_on_it(width: float) -> None:
    even = [BinNumbers(count=1, confidence=share, accuracy=share) for share in (0.1, 0.5, 0.9)]
    drawing = panels.reliability([("as they are", even, even), ("after", [], even)], width)
    lines = [e for e in ET.fromstring(drawing).iter("line") if e.get("class") == "reference"]
    assert len(lines) == 2
    groups = stops(drawing)
    for line, of_panel in zip(lines, (groups[:6], groups[6:]), strict=True):
        x1, y1, x2, y2 = (float(line.get(name, "nan")) for name in ("x1", "y1", "x2", "y2"))
        for x, y in (point for group in of_panel for point in places(group)):
            assert (y - y1) * (x2 - x1) == pytest.approx((x - x1) * (y2 - y1), abs=5)


@pytest.mark.parametrize("width", WIDTHS)
def test_dots_of_a_row_stand_where_their_values_are(width: float) -> None:
    rows = [Row("a", 0.5, 0.75, "0.5 → 0.75"), Row("<b>", 1.0, 0.5, "1 → 0.5", True)]
    first, second = stops(panels.dumbbells(rows, "AUROC", (0.5, 1.0), str, "two", width), "row")
    low, middle = (x for x, _ in places(first))
    high, _ = (x for x, _ in places(second))
    assert middle == pytest.approx((low + high) / 2, abs=0.1)
    assert places(second)[1][0] == pytest.approx(low, abs=0.1)
    assert "<b>" in "".join(second.itertext())
    assert "bad" in [c.get("class") for c in second.iter("circle")]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.sampled_from(WIDTHS))
def test_labels_below_a_panel_never_touch(at: list[float], width: float) -> None:
    marked = tuple((x, f"{x:.3f}") for x in sorted(at))
    drawing = panels.panels([Panel("", STOPS)], Axes(("x", "y"), marked), "one", width=width)
    bottom = max(float(t.get("y", "0")) for t in ET.fromstring(drawing).iter("text") if t.text != "x")
    labels = [
        (float(t.get("x", "nan")), svg.extent(t.text or "", svg.SMALL) / 2)
        for t in ET.fromstring(drawing).iter("text")
        if t.get("text-anchor") == "middle" and float(t.get("y", "nan")) == bottom
    ]
    assert all(b - b_half > a + a_half for (a, a_half), (b, b_half) in pairwise(labels))


@pytest.mark.parametrize("width", WIDTHS)
def test_two_records_differ_in_form_and_the_chosen_one_has_a_ring(width: float) -> None:
    first = [
        Point(exact(0.1), sample.interval(0.9, 0.01), "a"),
        Point(exact(0.5), exact(0.4), "b", chosen=True),
    ]
    second = [Point(exact(0.3), sample.interval(0.6, 0.02), "c")]
    across, along = Axis("removed", str, (0.0,)), Axis("ratio", str, (0.0,))
    drawing = scatter([first, second], across, along, "three", width)
    groups = {group[0].text: group for group in stops(drawing, "candidate")}
    assert set(groups) == {"a", "b", "c"}
    assert list(groups["c"].iter("polygon"))
    assert not list(groups["a"].iter("polygon"))
    assert drawing.count('class="ring"') == 1
    assert places(groups["a"])[0][0] < places(groups["b"])[0][0]
    assert places(groups["a"])[0][1] < places(groups["b"])[0][1]
