"""Charts of both networks under many conditions: small panels on the same scales, or pairs of dots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wieldy.report.charts import BOTTOM, NARROW, TOP, WIDE, whole_percent
from wieldy.report.evidence import BinNumbers
from wieldy.report.figures import percent
from wieldy.report.svg import SMALL, Scale, dot, drawing, extent, line, path, shorten, text, ticks, titled

GAP = 34.0  # between panels
RIGHT = 20.0  # of the last panel: half of a label
SIZES = {"original": 4.0, "package": 2.75}  # radii: a package's dot lies inside the original's
HEAD = 26.0  # of a panel: its title


@dataclass(frozen=True, slots=True)
class Stop:
    """What one condition gave: where it lies, and the share of each network that was measured there."""

    x: float
    original: float | None
    package: float | None
    words: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One small chart; `note` stands right of its title, and is bad news where `is_bad`."""

    title: str
    stops: tuple[Stop, ...]
    note: str = ""
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Axes:
    """What all panels share: names of both axes, ticks along x, the range of y, whether y = x is drawn."""

    names: tuple[str, str]
    x_ticks: tuple[tuple[float, str], ...]
    y_range: tuple[float, float] = (0.0, 1.0)
    diagonal: bool = False
    form: Callable[[float], str] = whole_percent


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of both networks, with the words at its right; bold where `is_bad`."""

    name: str
    original: float
    package: float
    words: str
    is_bad: bool = False


def panels(
    charts: Sequence[Panel], axes: Axes, words: str, *, most: int = 5, least: float = 115.0,
    height: float = 96.0, width: float = WIDE,
) -> str:  # fmt: skip
    """Draw panels `height` high in rows of at most `most`, none narrower than `least` where that can be."""
    left = 44.0
    fitting = int((width - left - RIGHT + GAP) // (least + GAP))
    columns = max(1, min(most, len(charts), fitting))
    wide = (width - left - RIGHT - GAP * (columns - 1)) / columns
    head = 40.0 if any(chart.note for chart in charts) else HEAD
    parts = [text(axes.names[1], 2, 12, "dim")]
    for index, chart in enumerate(charts):
        row, column = divmod(index, columns)
        start, top = left + column * (wide + GAP), TOP - 8 + row * (height + head + 32) + head
        parts.append(_panel(chart, axes, (start, start + wide), (top + height, top), not column))
    bottom = TOP - 8 + -(-len(charts) // columns) * (height + head + 32)
    parts.append(text(axes.names[0], width - RIGHT, bottom + 8, "dim", "end"))
    return drawing(width, bottom + 16, words, *parts)


def _panel(
    chart: Panel, axes: Axes, across: tuple[float, float], down: tuple[float, float], is_first: bool
) -> str:
    places = [at for at, _ in axes.x_ticks]
    x, y = Scale(min(places), max(places), *across), Scale(*axes.y_range, *down)
    parts = []
    if chart.title:
        above = down[1] - (23 if chart.note else 9)
        parts.append(text(shorten(chart.title, across[1] - across[0]), across[0], above, "strong"))
    if chart.note:
        parts.append(
            text(chart.note, across[0], down[1] - 8, "small bad-text" if chart.is_bad else "small dim")
        )
    for value in ticks(*axes.y_range, 4):
        parts.append(line(across[0], y(value), across[1], y(value), "grid"))
        if is_first:
            parts.append(text(axes.form(value), across[0] - 7, y(value) + 4, "small dim", "end"))
    if axes.diagonal:
        parts.append(line(x(0), y(0), x(1), y(1), "reference"))
    parts.append(line(across[0], down[0], across[1], down[0], "axis"))
    return "".join((*parts, *_labels(axes.x_ticks, x, down[0]), *_curves(chart.stops, x, y)))


def _labels(marked: Sequence[tuple[float, str]], x: Scale, bottom: float) -> list[str]:
    """Ticks below a chart; labels that would touch are left out."""
    parts, taken = [], x.start - 40
    for at, label in marked:
        half = extent(label, SMALL) / 2
        parts.append(line(x(at), bottom, x(at), bottom + 4, "axis"))
        if x(at) - half > taken + 3:
            parts.append(text(label, x(at), bottom + 16, "small dim", "middle"))
            taken = x(at) + half
    return parts


def _curves(stops: Sequence[Stop], x: Scale, y: Scale) -> list[str]:
    """Both lines, and a mark with a tooltip at every stop."""
    drawn = []
    for kind in SIZES:
        at = [(x(stop.x), y(value)) for stop in stops if (value := getattr(stop, kind)) is not None]
        drawn.append(path(at, f"curve {kind}-line"))
    for stop in stops:
        known = ((kind, getattr(stop, kind)) for kind in SIZES)
        dots = [dot(x(stop.x), y(value), SIZES[kind], kind) for kind, value in known if value is not None]
        drawn.append(titled(stop.words, *dots, class_="stop"))
    return drawn


def reliability(
    charts: Sequence[tuple[str, Sequence[BinNumbers], Sequence[BinNumbers]]], width: float = WIDE
) -> str:
    """Draw how often each network is right over how sure it says it is; the diagonal is perfect."""
    axes = Axes(
        ("confidence", "share that is right"),
        tuple((share / 4, percent(share / 4, 0)) for share in range(5)),
        diagonal=True,
    )
    made = [
        Panel(title, (*_bins(before, "original"), *_bins(after, "package")))
        for title, before, after in charts
    ]
    most = max(len(bins) for _, *sides in charts for bins in sides)
    words = f"How often each network is right over how sure it is, in {most} bins."
    return panels(made, axes, words, most=2, least=200.0, height=230.0, width=width)


def _bins(bins: Sequence[BinNumbers], kind: str) -> list[Stop]:
    return [
        Stop(
            b.confidence,
            b.accuracy if kind == "original" else None,
            b.accuracy if kind == "package" else None,
            f"{kind}: {b.count:,} examples, {percent(b.confidence)} sure, {percent(b.accuracy)} right",
        )
        for b in bins
    ]


def dumbbells(
    rows: Sequence[Row], name: str, span: tuple[float, float], form: Callable[[float], str], words: str,
    width: float = WIDE,
) -> str:  # fmt: skip
    """Draw both networks' values of each row as a hollow and a solid dot; at least one row."""
    step = 28.0
    left = min(max(extent(row.name) for row in rows) + 14, width * 0.42)
    right = max(extent(row.words, SMALL) for row in rows) + 14
    x, bottom = Scale(*span, left, width - right), step * len(rows) + 8
    marked = [(value, form(value)) for value in ticks(*span, 2 if width <= NARROW else 5)]
    parts = [line(x(value), 4, x(value), bottom, "grid") for value, _ in marked]
    parts += _labels(marked, x, bottom)
    parts.append(text(name, x.end, bottom + 32, "dim", "end"))
    for index, row in enumerate(rows):
        y = index * step + 20
        kind = "bad" if row.is_bad else "package"
        inside = [
            text(shorten(row.name, left - 12), left - 12, y + 4, "", "end"),
            line(x(row.original), y, x(row.package), y, f"interval {kind}-line"),
            dot(x(row.original), y, 5, "original"),
            dot(x(row.package), y, 3.5, kind),
            text(row.words, width - 2, y + 4, "small strong" if row.is_bad else "small", "end"),
        ]
        parts.append(titled(f"{row.name}: original → package {row.words}", *inside, class_="row"))
    return drawing(width, bottom + BOTTOM - 2, words, *parts)
