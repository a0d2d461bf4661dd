"""The trade-off of a run whose planner mixed methods: what each keeps of the metric at its milliseconds.

Its curve joins the mixes that no other beats, neither in milliseconds nor in damage.
"""

from collections.abc import Sequence

from wieldy.core.records import MixPoint, RunRecord
from wieldy.report.charts import BOTTOM, TOP, WIDE, marker, one_decimal
from wieldy.report.figures import fixed, milliseconds, ratio, short, size
from wieldy.report.svg import Scale, axes, dot, drawing, line, path, text, titled

MARGIN = 0.1  # of the scores' range, above and below


def chart(points: Sequence[MixPoint], goal: float | None, width: float = WIDE) -> str:
    """Draw the metric on the validation set over the share of the milliseconds, one shape for each track."""
    height = 380.0 if width > 800 else 320.0
    scores = [point.score for point in points]
    room = max(MARGIN * (max(scores) - min(scores)), 1e-3)
    right = max([1.0, *(point.timing.ratio.high for point in points)])
    x = Scale(0, right, 56, width - 22)
    y = Scale(min(scores) - room, max(scores) + room, height - BOTTOM, TOP)
    names = "milliseconds, share of the original", "metric on validation, after a brief training"
    parts = [axes(x, y, names, (one_decimal, lambda value: fixed(value, 3)))]
    if goal is not None:
        parts += [line(x(goal), y.start, x(goal), y.end, "goal")]
        parts += [text(f"goal {fixed(goal)}", x(goal) + 6, y.start - 8, "strong")]
    tracks = tracks_of(points)
    curve = [(x(at.timing.ratio.value), y(at.score)) for at in curve_of(points)]
    parts.append(path(curve, "curve point-line"))
    for point in sorted(points, key=lambda of: of.chosen):  # the chosen one is drawn last
        parts.append(_point(point, x, y, tracks.index(point.track)))
    chosen = next((point for point in points if point.chosen), None)
    words = f"{len(points)} measured mixes. " + (
        f"Chosen: {_words(chosen)}." if chosen else "None was chosen."
    )
    return drawing(width, height, words, *parts)


def curve_of(points: Sequence[MixPoint]) -> list[MixPoint]:
    """Return the trade-off, slowest first: mixes that no quicker one beats in damage.

    Example:
        >>> curve_of([])
        []
    """
    curve: list[MixPoint] = []
    for point in sorted(points, key=lambda of: (of.timing.ratio.value, of.damage)):
        if not curve or point.damage < curve[-1].damage:
            curve.append(point)
    return curve[::-1]


def tracks_of(points: Sequence[MixPoint]) -> list[str]:
    """Return which ways down there were, each once, in the order in which they first occur."""
    return list(dict.fromkeys(point.track for point in points))


def _words(point: MixPoint) -> str:
    return f"{point.mix}, {ratio(point.timing.ratio)} of the milliseconds, metric {fixed(point.score, 4)}"


def _point(point: MixPoint, x: Scale, y: Scale, series: int) -> str:
    interval, at = point.timing.ratio, y(point.score)
    kind = "package" if point.chosen else "point"
    parts = [line(x(interval.low), at, x(interval.high), at, f"whisker {kind}-line")]
    parts.append(marker(x(interval.value), at, 6.0 if point.chosen else 3.5, series, kind))
    if point.chosen:
        parts.append(dot(x(interval.value), at, 11, "ring"))
    return titled(f"{point.track}: {_words(point)}", *parts, class_="candidate")


def row(point: MixPoint, record: RunRecord, curve: Sequence[MixPoint]) -> tuple[str, ...]:
    """Return what the table says of a mix."""
    timing = point.timing
    return (
        point.mix,
        point.track,
        short(point.macs),
        f"{size(point.bytes)} of {size(record.original.bytes)}",
        ratio(timing.ratio),
        f"{milliseconds(timing.original_ms)} → {milliseconds(timing.small_ms)}",
        fixed(point.score, 4),
        "✓ chosen" if point.chosen else "" if point in curve else "beaten by another",
    )
