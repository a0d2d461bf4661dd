"""Cards on what the package answers on the test set: how often right, which answers changed, and for whom."""

from collections.abc import Sequence
from typing import Any

from wieldy.report import charts
from wieldy.report.charts import ClassBar
from wieldy.report.evidence import (
    ClassesNumbers,
    ClassNumbers,
    Flip,
    MetricNumbers,
    OutputsNumbers,
    PredictionNumbers,
    RuntimeNumbers,
    SliceNumbers,
    SlicesNumbers,
)
from wieldy.report.figures import around, chance, figure, fixed, listed, percent, points, shares
from wieldy.report.parts import Drawings, Fact, Picture, Table, Tile

Fields = dict[str, Any]  # what a card holds besides its claim
MOST_BARS = 40
FIRST_PICTURES = 12
FULL, MIDDLE = 1140.0, 740.0  # a chart as wide as the page, and as a tablet or a sheet of paper
HALF = {"wide": charts.WIDE, "narrow": charts.NARROW}  # a chart in a card of half the page
BEYOND_CHANCE = 0.05


def drawn(draw: Any, *data: Any, full: bool = False, **more: Any) -> Drawings:
    """Return a chart for each width of screen that needs its own, so that letters keep their size."""
    widths = {"full": FULL, "middle": MIDDLE, "narrow": charts.NARROW} if full else HALF
    return [(name, draw(*data, width=width, **more)) for name, width in widths.items()]


def metric_words(metric: str, value: float) -> str:
    """Write a metric's value; accuracy is a percentage."""
    return percent(value, 2) if metric == "accuracy" else figure(value, 4)


def metric(numbers: MetricNumbers) -> Fields:
    """The metric of both."""
    in_percent = numbers.metric == "accuracy"
    allowed = "" if numbers.allowed_points is None else f", {numbers.allowed_points:g} allowed"
    sides = [
        Fact(name, shares(side) if in_percent else around(side), (100 if in_percent else 1) * side.value)
        for name, side in (("Original", numbers.original), ("Package", numbers.package))
    ]
    return {
        "title": numbers.metric.capitalize() or "Metric",
        "charts": (drawn(charts.intervals, numbers.original, numbers.package, in_percent),),
        "facts": (
            *sides,
            Fact("Points lost", points(numbers.drop_points) + allowed, numbers.drop_points.value),
        ),
        "notes": (f"{numbers.examples:,} test examples; {percent(numbers.drop_points.level, 0)} intervals.",),
    }


def predictions(numbers: PredictionNumbers, classes: Sequence[str]) -> Fields:
    """Which predictions changed, with their pictures."""

    def named(index: int) -> str:
        return classes[index] if 0 <= index < len(classes) else f"class {index}"

    flips = numbers.first_flipped
    rows = [
        (
            f"{flip.index:,}",
            *(_told(named(kind), kind == flip.target) for kind in _answers(flip)),
            _outcome(flip),
        )
        for flip in flips
    ]
    heads = ("Test example", "Truth", "Original says", "Package says", "Outcome")
    table = Table("Examples that flipped", heads, "rllll", tuple(rows))
    return {
        "tiles": (
            Tile("Fixed", f"{numbers.fixed:,}", "", "wrong before, right now", numbers.fixed),
            Tile("Broken", f"{numbers.broken:,}", "", "right before, wrong now", numbers.broken),
            Tile("Flips", f"{numbers.flips:,}", "", "decided differently at all", numbers.flips),
        ),
        "facts": (
            Fact("Share that flipped", shares(numbers.flip_share), 100 * numbers.flip_share.value),
            Fact("Fixed against broken (McNemar)", chance(numbers.p_value), numbers.p_value),
        ),
        "pictures": tuple(_picture(flip, named) for flip in flips if flip.picture),
        "tables": (table.folded(f"The first {len(flips)} examples that flipped"),) if flips else (),
    }


def _answers(flip: Flip) -> tuple[int, int, int]:
    return flip.target, flip.original, flip.package


def _told(name: str, is_right: bool) -> str:
    return f"{name} ✓" if is_right else name


def _outcome(flip: Flip) -> str:
    if flip.target == flip.package:
        return "fixed"
    return "broken" if flip.target == flip.original else "wrong"


def _picture(flip: Flip, named: Any) -> Picture:
    target, before, after = map(named, _answers(flip))
    outcome = _outcome(flip)
    lines = {
        "fixed": (f"is {target}", f"was {before}"),
        "broken": (f"is {target}", f"now {after}"),
        "wrong": (f"is {target}", f"was {before}", f"now {after}"),
    }
    return Picture(
        source=flip.picture or "",
        alternative=f"test picture {flip.index}: truth {target}, original says {before}, "
        f"package says {after}",
        lines=lines[outcome],
        outcome=outcome,
    )


def classes(numbers: ClassesNumbers) -> Fields:
    """The change of every class, sorted from worst to best."""
    ordered = sorted(numbers.classes, key=lambda row: row.change_points.value)
    heads = ("Class", "Examples", "Original", "Package", "Change, points", "Adjusted p")
    table = Table("Change by class", heads, "lrrrrr", tuple(map(_class, ordered)))
    known = {row.name for row in ordered if _is_worse(row)}
    worse = listed(list(numbers.worse) or [row.name for row in ordered if row.name in known])
    notes = [
        "Sorted from worst to best, 95 % intervals. "
        + (f"Worse beyond chance: {worse}." if worse else "No class is worse beyond chance.")
    ]
    left_out = len(ordered) - MOST_BARS
    if left_out > 0:
        notes.append(f"{left_out} classes in the middle are in the table only.")
    worst = ordered[0].change_points
    return {
        "charts": (_changes(ordered),),
        "facts": (Fact("Worst class", f"{ordered[0].name}: {points(worst, sign=True)} points", worst.value),),
        "notes": tuple(notes),
        "tables": (table.folded(f"All {len(ordered)} classes as a table"),),
    }


def _changes(ordered: Sequence[ClassNumbers | SliceNumbers], *, full: bool = False) -> Drawings:
    """Draw the worst and the best where there are too many."""
    shown = [*ordered[: MOST_BARS // 2], *ordered[-MOST_BARS // 2 :]] if len(ordered) > MOST_BARS else ordered
    notes = ("worse, beyond chance" if _is_worse(row) else "" for row in shown)
    bars = [ClassBar(row.name, row.change_points, note) for row, note in zip(shown, notes, strict=True)]
    return drawn(charts.class_changes, bars, full=full)


def _class(row: ClassNumbers) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.examples:,}",
        percent(row.original),
        percent(row.package),
        points(row.change_points, sign=True),
        _adjusted(row.p_adjusted),
    )


def _adjusted(p_value: float | None) -> str:
    return "–" if p_value is None else chance(p_value)


def _is_worse(row: ClassNumbers | SliceNumbers) -> bool:
    known = row.p_adjusted is not None and row.p_adjusted < BEYOND_CHANCE
    return known and row.change_points.value < 0


def slices(numbers: SlicesNumbers, metric: str) -> Fields:
    """The change on every slice, and how many predictions flip on it."""
    ordered = sorted(numbers.slices, key=lambda row: row.change_points.value)
    flips = any(row.flip_share for row in ordered)
    heads = ["Slice", "Examples", "Original", "Package", "Change, points", "Adjusted p"]
    heads += ["Flips", "Adjusted p of flips"] * flips
    rows = tuple(_slice(row, metric, flips) for row in ordered)
    worse = listed(numbers.worse)
    most = max((row.flip_share for row in ordered if row.flip_share), key=lambda i: i.value, default=None)
    facts = [Fact("Worst slice", f"{ordered[0].name}: {points(ordered[0].change_points, sign=True)} points",
                  ordered[0].change_points.value)]  # fmt: skip
    if most:
        facts.append(Fact("Most flips on a slice", shares(most), 100 * most.value))
    return {
        "charts": (_changes(ordered, full=True),),
        "facts": tuple(facts),
        "notes": (f"Worse beyond chance: {worse}." if worse else "No slice is worse beyond chance.",),
        "tables": (Table("Change by slice", tuple(heads), "lrrrrrrr"[: len(heads)], rows),),
        "is_wide": True,
    }


def _slice(row: SliceNumbers, metric: str, flips: bool) -> tuple[str, ...]:
    cells = [row.name, f"{row.examples:,}", metric_words(metric, row.original)]
    cells += [
        metric_words(metric, row.package),
        points(row.change_points, sign=True),
        _adjusted(row.p_adjusted),
    ]
    if flips:
        cells.append(shares(row.flip_share) if row.flip_share else "–")
        cells.append(_adjusted(row.flips_p_adjusted))
    return tuple(cells)


def outputs(numbers: OutputsNumbers) -> Fields:
    """How near every output is to the original's."""
    heads = ("Output", "Error, median", "95 %", "largest", "Cosine, median", "5 %", "least")
    rows = [
        (row.output, *(percent(value, 2) for value in row.error), *(fixed(value, 4) for value in row.cosine))
        for row in numbers.outputs
    ]
    farthest = [
        f"Farthest examples of {row.output}: "
        + ", ".join(f"{item['index']:.0f} ({percent(item['error'], 1)})" for item in row.worst)
        + "."
        for row in numbers.outputs
        if all({"index", "error"} <= set(item) for item in row.worst) and row.worst
    ]
    worst = max(row.error[0] for row in numbers.outputs)
    return {
        "facts": (Fact("Median error of the farthest output", percent(worst, 2), 100 * worst),),
        "tables": (Table("Outputs of package and original", heads, "lrrrrrr", tuple(rows)),),
        "notes": (f"{numbers.examples:,} test examples.", *farthest),
    }


def runtime(numbers: RuntimeNumbers) -> Fields:
    """How far runtime and torch are apart on the same file."""
    facts = [
        Fact("Largest difference of a logit", figure(numbers.largest, 2), numbers.largest),
        Fact(
            "as a share of the largest logit", figure(numbers.largest_relative, 2), numbers.largest_relative
        ),
        Fact("Mean difference", figure(numbers.mean, 2), numbers.mean),
    ]
    differ = numbers.predictions_that_differ
    if differ is not None:
        facts.append(Fact("Predictions that differ", f"{differ:,}", differ))
    return {
        "facts": tuple(facts),
        "notes": ("The same saved file, run by the runtime and by torch.",),
    }
