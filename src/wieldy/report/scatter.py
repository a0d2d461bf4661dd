"""Points of two records in one chart, each with its intervals: the first hollow, the second solid."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wieldy.core.records import Interval
from wieldy.report.charts import BOTTOM, TOP, WIDE, marker
from wieldy.report.svg import Scale, axes, dot, drawing, line, titled

KINDS = ("original", "package")  # how the first and the second record are drawn
MARGIN = 0.08  # of a range, on both sides


@dataclass(frozen=True, slots=True)
class Point:
    """One measured point; an interval of no width has no whisker."""

    x: Interval
    y: Interval
    words: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis is called, how its ticks are written, and which values must be on it."""

    name: str
    form: Callable[[float], str]
    least: tuple[float, ...] = ()

    def span(self, ends: Sequence[Interval]) -> tuple[float, float]:
        """Return a range that holds all intervals, with some room."""
        values = [*self.least, *(end for i in ends for end in (i.low, i.high))]
        low, high = min(values), max(values)
        room = MARGIN * (high - low) or 0.05 * abs(high) or 0.05
        return (low if low in self.least else low - room), high + room


def exact(value: float) -> Interval:
    """Return a figure that has no interval."""
    return Interval(value=value, low=value, high=value)


def scatter(
    series: Sequence[Sequence[Point]], across: Axis, along: Axis, words: str, width: float = WIDE
) -> str:
    """Draw two series of points; `across` is the horizontal axis, `along` the vertical one."""
    height = 360.0 if width > 800 else 320.0
    points = [point for one in series for point in one]
    x = Scale(*across.span([point.x for point in points]), 56, width - 22)
    y = Scale(*along.span([point.y for point in points]), height - BOTTOM, TOP)
    parts = [axes(x, y, (across.name, along.name), (across.form, along.form))]
    for index, one in enumerate(series):
        last = sorted(one, key=lambda of: of.chosen)  # the chosen one is drawn last
        parts += [_point(point, x, y, index) for point in last]
    return drawing(width, height, words, *parts)


def _point(point: Point, x: Scale, y: Scale, series: int) -> str:
    kind, at = KINDS[series], (x(point.x.value), y(point.y.value))
    parts = []
    if point.x.low < point.x.high:
        parts.append(line(x(point.x.low), at[1], x(point.x.high), at[1], f"whisker {kind}-line"))
    if point.y.low < point.y.high:
        parts.append(line(at[0], y(point.y.low), at[0], y(point.y.high), f"whisker {kind}-line"))
    parts.append(marker(*at, 6.0 if point.chosen else 3.5, series, kind))
    if point.chosen:
        parts.append(dot(*at, 11, "ring"))
    return titled(point.words, *parts, class_="candidate")
