"""The charts of the page: data in, one inline SVG out. The original is hollow and grey, the package solid.

Every chart takes a width in pixels, for a wide and for a narrow screen; letters keep their size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wieldy.core.records import Candidate, Epoch, Interval
from wieldy.report.figures import fixed, milliseconds, percent, points, ratio
from wieldy.report.svg import (
    SMALL,
    TEXT,
    Scale,
    axes,
    bar,
    dot,
    drawing,
    extent,
    line,
    path,
    shorten,
    tag,
    text,
    ticks,
    titled,
)

WIDE = 540.0
NARROW = 340.0
SHAPES: dict[str, tuple[tuple[float, float], ...]] = {  # of the marks of a series: a circle, or its corners
    "●": (),
    "■": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "◆": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    "▲": ((0, -1.25), (1.25, 1), (-1.25, 1)),
    "▼": ((0, 1.25), (1.25, -1), (-1.25, -1)),
    "✚": ((-0.4, -1.25), (0.4, -1.25), (0.4, -0.4), (1.25, -0.4), (1.25, 0.4), (0.4, 0.4), (0.4, 1.25),
          (-0.4, 1.25), (-0.4, 0.4), (-1.25, 0.4), (-1.25, -0.4), (-0.4, -0.4)),
}  # fmt: skip
TOP, BOTTOM = 30.0, 42.0  # room for the name of the vertical axis; for ticks and name of the horizontal one


@dataclass(frozen=True, slots=True)
class LayerBar:
    """One executed operation in both networks; None where one of them lacks it."""

    name: str
    kernels: str
    original_ms: float | None
    package_ms: float | None
    note: str = ""
    fused: tuple[str, ...] = ()  # what else the runtime does in the same operation


@dataclass(frozen=True, slots=True)
class ClassBar:
    """The change of one class, in points; `note` in words where it is beyond chance."""

    name: str
    change: Interval
    note: str = ""


def tradeoff(candidates: Sequence[Candidate], goal: float | None, width: float = WIDE) -> str:
    """Draw the measured ratio, with its interval, over the share of channels removed.

    Series stand side by side at one share, so that none hides another.
    """
    height = 380.0 if width > 800 else 320.0
    top = max([1.1, (goal or 0.0) * 1.05, *(c.timing.ratio.high * 1.05 for c in candidates)])
    right = min(1.0, max([0.1, *(c.fraction * 1.12 for c in candidates)]))
    x, y = Scale(0, right, 40, width - 22), Scale(0, top, height - BOTTOM, TOP)
    parts = [
        axes(x, y, ("channels removed", "milliseconds, share of the original"), (whole_percent, one_decimal))
    ]
    parts.append(line(x.start, y(1), x.end, y(1), "reference"))
    parts.append(text("original", x.end, y(1) - 6, "dim", "end"))
    if goal is not None:
        parts.append(line(x.start, y(goal), x.end, y(goal), "goal"))
        parts.append(text(f"goal {fixed(goal)}", x.start + 6, y(goal) + 16, "strong"))
    multiples = sorted({c.multiple for c in candidates})
    ordered = sorted(candidates, key=lambda c: (c.chosen, c.fraction))  # the chosen one is drawn last
    for series, candidate in ((multiples.index(c.multiple), c) for c in ordered):
        aside = (series - (len(multiples) - 1) / 2) * min(14.0, width / 45)
        parts.append(_candidate(candidate, x, y, series, aside))
    count = f"{len(candidates)} measured candidates" if len(candidates) != 1 else "1 measured candidate"
    chosen = next((c for c in candidates if c.chosen), None)
    words = f"{count}. " + (f"Chosen: {_named(chosen)}." if chosen else "None was chosen.")
    return drawing(width, height, words, *parts)


def _named(candidate: Candidate) -> str:
    gain = ratio(candidate.timing.ratio)
    return f"{percent(candidate.fraction, 0)} of the channels removed, {gain} of the milliseconds"


def _candidate(candidate: Candidate, x: Scale, y: Scale, series: int, aside: float) -> str:
    """One point with its whiskers; the series differ in their shape."""
    interval, at = candidate.timing.ratio, x(candidate.fraction) + aside
    kind = "package" if candidate.chosen else "point"
    parts = [line(at, y(interval.low), at, y(interval.high), f"whisker {kind}-line")]
    parts += [
        line(at - 4, y(end), at + 4, y(end), f"whisker {kind}-line") for end in (interval.low, interval.high)
    ]
    parts.append(marker(at, y(interval.value), 6.0 if candidate.chosen else 3.5, series, kind))
    if candidate.chosen:
        parts.append(dot(at, y(interval.value), 11, "ring"))
        words = f"chosen {fixed(interval.value)}"
        fits = at + extent(words) < x.end
        beside = (at - 4, "start") if fits else (x.end, "end")
        parts.append(text(words, beside[0], y(interval.high) - 17, "strong halo", beside[1]))
    return titled(
        f"{_named(candidate)}; channels a multiple of {candidate.multiple}", *parts, class_="candidate"
    )


def marker(x: float, y: float, radius: float, series: int, class_: str) -> str:
    """Return what stands for a series: a circle, or a polygon."""
    corners = list(SHAPES.values())[series % len(SHAPES)]
    if not corners:
        return dot(x, y, radius, class_)
    points = " ".join(f"{x + radius * dx:.2f},{y + radius * dy:.2f}" for dx, dy in corners)
    return tag("polygon", points=points, class_=class_)


def layer_times(rows: Sequence[LayerBar], width: float = WIDE) -> str:
    """Draw two bars for each executed operation: the original's above the package's."""
    narrow = width < 420
    step, left = (58.0, 4.0) if narrow else (40.0, min(250.0, width * 0.36))
    longest = max([1e-9, *(t for r in rows for t in (r.original_ms, r.package_ms) if t is not None)])
    widest = max([0.0, *(extent(words, SMALL) for row in rows for words in _labels(row))])
    scale = Scale(0, longest, left, width - 10 - widest)
    parts = [_layer(row, index * step + 4, left, scale, narrow) for index, row in enumerate(rows)]
    total = [
        sum(t or 0.0 for t in side) for side in ([r.original_ms for r in rows], [r.package_ms for r in rows])
    ]
    old, new = (milliseconds(time) for time in total)
    words = f"{len(rows)} operations; together {old} in the original, {new} in the package."
    return drawing(width, step * len(rows) + 4, words, *parts)


def _labels(row: LayerBar) -> tuple[str, str]:
    """What stands behind the two bars."""
    old, new = ("not there" if t is None else milliseconds(t) for t in (row.original_ms, row.package_ms))
    return old, f"{new} · {row.note}" if row.note else new


def _layer(row: LayerBar, top: float, left: float, scale: Scale, narrow: bool) -> str:
    """The name and the kernel beside the bars, or above them where the page is narrow."""
    if narrow:
        name = shorten(row.name, 150)
        parts = [
            text(name, 4, top + 12),
            text(
                shorten(row.kernels, (322 - extent(name)) * TEXT / SMALL), 336, top + 12, "small dim", "end"
            ),
        ]
        top += 18
    else:
        parts = [
            text(shorten(row.name, left - 16), left - 12, top + 13, "", "end"),
            text(shorten(row.kernels, (left - 14) * TEXT / SMALL), left - 12, top + 27, "small dim", "end"),
        ]
    labels = _labels(row)
    sides = ((row.original_ms, "original"), (row.package_ms, "package"))
    for at, words, (value, kind) in zip((top + 1, top + 16), labels, sides, strict=True):
        length = scale(value or 0.0) - scale.start
        if value is not None:
            hatched = " hatched" if kind == "package" and row.note else ""
            parts.append(bar(scale.start, at, length, 12, kind + hatched))
        class_ = "small dim" if value is None else "small"
        parts.append(text(words, scale.start + length + 6, at + 10.5, class_))
    return titled(f"{row.name} ({row.kernels}): {' → '.join(labels)}", *parts, class_="layer")


def class_changes(rows: Sequence[ClassBar], width: float = WIDE) -> str:
    """Draw each class's change in points with its interval around a line at zero; at least one class."""
    narrow = width < 420
    longest = max(extent(row.name) for row in rows) + 12
    step, left = 26.0, min(longest, 0.28 * width)
    right = 16 + max(extent(_change_words(row, narrow), SMALL) for row in rows)
    ends = [end for row in rows for end in (row.change.low, row.change.high)]
    low, high = min([-0.5, *ends]), max([0.5, *ends])
    bottom = step * len(rows) + 8
    x = Scale(low, high, left, width - right)
    parts = []
    for value in ticks(low, high, 4 if narrow else 5):
        parts.append(line(x(value), 4, x(value), bottom, "axis" if value == 0 else "grid"))
        parts.append(
            text(fixed(value, 0 if high - low >= 4 else 1, sign=True), x(value), bottom + 15, "dim", "middle")
        )
    parts.append(
        text(
            "change in points, package less original",
            width - 4 if narrow else x.end,
            bottom + 32,
            "dim",
            "end",
        )
    )
    for index, row in enumerate(rows):
        parts.append(_class(row, index * step + 18, x, width, narrow))
    first, last = (fixed(row.change.value, sign=True) for row in (rows[0], rows[-1]))
    words = f"Change of {len(rows)} classes in points, from {first} to {last}."
    return drawing(width, bottom + 40, words, *parts)


def _change_words(row: ClassBar, narrow: bool) -> str:
    words = fixed(row.change.value, 1, sign=True) if narrow else points(row.change, sign=True)
    return f"✕ {words}" if row.note else words


def _class(row: ClassBar, y: float, x: Scale, width: float, narrow: bool) -> str:
    kind, weight = ("bad", "small strong") if row.note else ("package", "small")
    parts = [
        text(shorten(row.name, x.start - 8), x.start - 8, y + 4, "", "end"),
        line(x(row.change.low), y, x(row.change.high), y, f"interval {kind}-line"),
        dot(x(row.change.value), y, 4.5, kind),
        text(_change_words(row, narrow), width - 2, y + 4, weight, "end"),
    ]
    return titled(
        f"{row.name}: {points(row.change, sign=True)} points {row.note}".rstrip(), *parts, class_="class"
    )


def recovery(epochs: Sequence[Epoch], name: str, width: float = WIDE) -> str:
    """Draw the metric on the validation set after each epoch."""
    height = 250.0
    values = [e.metric for e in epochs]
    pad = (max(values) - min(values)) * 0.15 or abs(values[0]) * 0.02 or 0.5
    in_percent = name == "accuracy"
    first, last = epochs[0].epoch, epochs[-1].epoch
    y = Scale(
        min(values) - pad,
        min(1.0, max(values) + pad) if in_percent else max(values) + pad,
        height - BOTTOM,
        TOP,
    )
    x = Scale(first, max(last, first + 1), 52, width - 14)

    def form(value: float) -> str:
        return percent(value, 1 if y.high - y.low < 0.1 else 0) if in_percent else f"{value:.4g}"

    parts = [axes(x, y, ("epoch", f"{name} on the validation set"), (_whole, form))]
    parts.append(path([(x(e.epoch), y(e.metric)) for e in epochs], "curve package-line"))
    for e in epochs:
        written = percent(e.metric, 2) if in_percent else f"{e.metric:.4g}"
        parts.append(
            titled(f"epoch {e.epoch}: {written}", dot(x(e.epoch), y(e.metric), 4, "package"), class_="epoch")
        )
    return drawing(
        width,
        height,
        f"{name} over {len(epochs)} epochs of recovery: from {form(values[0])} to {form(values[-1])}.",
        *parts,
    )


def intervals(original: Interval, package: Interval, in_percent: bool, width: float = WIDE) -> str:
    """Draw the metric of both networks with its interval, one above the other."""
    scale = 100.0 if in_percent else 1.0
    ends = [scale * end for i in (original, package) for end in (i.low, i.high)]
    pad = (max(ends) - min(ends)) * 0.25 or 0.5
    x = Scale(min(ends) - pad, max(ends) + pad, 76, width - 24)
    parts = []
    for value in ticks(x.low, x.high, 5 if width > 420 else 3):
        parts.append(line(x(value), 4, x(value), 78, "grid"))
        parts.append(text(f"{value:g}" + (" %" if in_percent else ""), x(value), 95, "dim", "middle"))
    for y, kind, interval in ((24.0, "original", original), (58.0, "package", package)):
        low, value, high = (scale * part for part in (interval.low, interval.value, interval.high))
        inside = [text(kind, 66, y + 4, "", "end"), line(x(low), y, x(high), y, f"interval {kind}-line")]
        inside += [line(x(end), y - 5, x(end), y + 5, f"whisker {kind}-line") for end in (low, high)]
        parts.append(
            titled(
                f"{kind}: {fixed(value)} [{fixed(low)}, {fixed(high)}]",
                *inside,
                dot(x(value), y, 5.5, kind),
                class_="metric",
            )
        )
    return drawing(
        width,
        104,
        f"Original {fixed(scale * original.value)}, package {fixed(scale * package.value)}.",
        *parts,
    )


def whole_percent(share: float) -> str:
    """Write a tick as a percentage."""
    return percent(share, 0)


def one_decimal(value: float) -> str:
    """Write a tick with one decimal."""
    return fixed(value, 1)


def _whole(value: float) -> str:
    return f"{value:g}" if value == int(value) else ""
