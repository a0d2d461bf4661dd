"""The section that asks whether the package is still the same model: one card for each piece of evidence."""

from typing import Any

from wieldy.core.records import Evidence, RunRecord
from wieldy.report import charts
from wieldy.report.charts import Bin, ClassBar
from wieldy.report.evidence import (
    BinNumbers,
    CalibrationNumbers,
    ClassNumbers,
    Found,
    MetricNumbers,
    OutputsNumbers,
    PredictionNumbers,
    RuntimeNumbers,
)
from wieldy.report.figures import chance, figure, fixed, pairs, percent, points
from wieldy.report.view import MARKS, View, drawn

MOST_CLASSES = 40
MOST_NAMES = 8
BEYOND_CHANCE = 0.05


def sameness(record: RunRecord, found: Found) -> View:
    """One entry for each kind of evidence; None where there is none."""
    classes = _class_names(record)
    return {
        "metric": _card(found.metric, _metric),
        "predictions": _card(found.predictions, lambda numbers: _predictions(numbers, classes)),
        "classes": _card(found.classes, lambda numbers: _classes(numbers.classes)),
        "calibration": _card(found.calibration, _calibration),
        "outputs": _card(found.outputs, _outputs),
        "runtime": _card(found.runtime, _runtime),
        "recovery": _recovery(record, found),
        "others": [_head(item) | {"facts": pairs(item.numbers)} for item in found.others],
    }


def _head(item: Evidence) -> View:
    """What every card shows: the claim, its verdict, and what it rests on."""
    return {
        "claim": item.claim,
        "verdict": item.verdict,
        "mark": MARKS[item.verdict],
        "assumptions": item.assumptions,
        "digests": [(name, value[:12]) for name, value in item.digests.items()],
    }


def _card(found: tuple[Evidence, Any] | None, view: Any) -> View | None:
    return None if found is None else _head(found[0]) | view(found[1])


def _class_names(record: RunRecord) -> list[str]:
    names = record.data.get("classes")
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _metric(numbers: MetricNumbers) -> View:
    in_percent = numbers.metric == "accuracy"
    scale, unit = (100.0, " %") if in_percent else (1.0, "")

    def written(value: float) -> str:
        return fixed(scale * value, 2 if in_percent else 4)

    sides = [
        (name, f"{written(side.value)}{unit}", f"[{written(side.low)}, {written(side.high)}]{unit}")
        for name, side in (("original", numbers.original), ("package", numbers.package))
    ]
    return {
        "chart": drawn(charts.intervals, numbers.original, numbers.package, in_percent),
        "name": numbers.metric,
        "sides": sides,
        "drop": points(numbers.drop_points),
        "level": percent(numbers.drop_points.level, 0),
        "allowed": None if numbers.allowed_points is None else f"{numbers.allowed_points:g}",
        "examples": f"{numbers.examples:,}",
    }


def _predictions(numbers: PredictionNumbers, classes: list[str]) -> View:
    def named(index: int) -> str:
        return classes[index] if 0 <= index < len(classes) else f"class {index}"

    share = numbers.flip_share
    return {
        "fixed": f"{numbers.fixed:,}",
        "broken": f"{numbers.broken:,}",
        "flips": f"{numbers.flips:,}",
        "share": f"{percent(share.value, 2)} [{fixed(100 * share.low)}, {fixed(100 * share.high)}] %",
        "chance": chance(numbers.p_value),
        "flipped": [
            (f.index, named(f.target), named(f.original), named(f.package)) for f in numbers.first_flipped
        ],
    }


def _classes(classes: tuple[ClassNumbers, ...]) -> View:
    ordered = sorted(classes, key=lambda row: row.change_points.value)
    shown = ordered
    if len(ordered) > MOST_CLASSES:
        shown = ordered[: MOST_CLASSES // 2] + ordered[-MOST_CLASSES // 2 :]
    bars = [ClassBar(row.name, row.change_points, _note(row)) for row in shown]
    return {
        "chart": drawn(charts.class_changes, bars),
        "left_out": len(ordered) - len(shown),
        "worse": _listed([row.name for row in ordered if _note(row)]),
        "rows": [
            {
                "name": row.name,
                "examples": f"{row.examples:,}",
                "original": percent(row.original),
                "package": percent(row.package),
                "change": points(row.change_points, sign=True),
                "chance": "–" if row.p_adjusted is None else chance(row.p_adjusted),
            }
            for row in ordered
        ],
    }


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _note(row: ClassNumbers) -> str:
    known = row.p_adjusted is not None and row.p_adjusted < BEYOND_CHANCE
    return "worse, beyond chance" if known and row.change_points.value < 0 else ""


def _calibration(numbers: CalibrationNumbers) -> View:
    before, after = (_bins(side) for side in (numbers.bins_original, numbers.bins_package))
    return {
        "chart": drawn(charts.reliability, before, after),
        "original": fixed(numbers.original, 4),
        "package": fixed(numbers.package, 4),
        "change": fixed(numbers.package - numbers.original, 4, sign=True),
        "sides": [("original", before), ("package", after)],
    }


def _bins(bins: tuple[BinNumbers, ...]) -> list[Bin]:
    return [Bin(b.count, b.confidence, b.accuracy) for b in bins]


def _runtime(numbers: RuntimeNumbers) -> View:
    return {
        "facts": [
            ("Largest difference of a logit", figure(numbers.largest, 2)),
            ("as a share of the largest logit", figure(numbers.largest_relative, 2)),
            ("Mean difference", figure(numbers.mean, 2)),
        ]
        + (
            []
            if numbers.predictions_that_differ is None
            else [("Predictions that differ", f"{numbers.predictions_that_differ:,}")]
        )
    }


def _outputs(numbers: OutputsNumbers) -> View:
    return {
        "examples": f"{numbers.examples:,}",
        "rows": [
            {
                "name": row.output,
                "errors": [percent(value, 2) for value in row.error],
                "cosines": [fixed(value, 4) for value in row.cosine],
                "worst": ", ".join(
                    f"{item['index']:.0f} ({percent(item['error'], 1)})" for item in row.worst
                ),
            }
            for row in numbers.outputs
        ],
    }


def _recovery(record: RunRecord, found: Found) -> View | None:
    if not record.recovery:
        return None
    name = found.metric[1].metric if found.metric else str(record.data.get("metric", "metric"))
    ordered = sorted(record.recovery, key=lambda e: e.epoch)
    in_percent = name == "accuracy"
    best = max(e.metric for e in ordered) if in_percent else ordered[-1].metric
    return {
        "chart": drawn(charts.recovery, ordered, name),
        "name": name,
        "epochs": len(ordered),
        "rows": [(e.epoch, percent(e.metric, 2) if in_percent else f"{e.metric:.4g}") for e in ordered],
        "best": percent(best, 2) if in_percent else "",
    }
