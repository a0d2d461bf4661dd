"""What each section of the page says, as values that the template only has to place."""

from typing import Any

from wieldy.core.records import Candidate, Change, Interval, RunRecord, Timing
from wieldy.report import charts, mixes
from wieldy.report.evidence import Found, MetricNumbers
from wieldy.report.figures import (
    between,
    change,
    decimals,
    figure,
    file_name,
    fixed,
    milliseconds,
    pairs,
    percent,
    points,
    ratio,
    shape,
    short,
    size,
    speedup,
)
from wieldy.report.layers import pair_layers, pair_times

View = dict[str, Any]
MOST_BARS = 40
FULL, MIDDLE = 1140.0, 740.0  # a chart as wide as the page, and as a tablet or a sheet of paper
HALF = {"wide": charts.WIDE, "narrow": charts.NARROW}  # a chart in a card of half the page
MARKS = {"proved": "✓", "refuted": "✕", "unknown": "?"}
SHAPES = tuple(charts.SHAPES)


def drawn(draw: Any, *data: Any, full: bool = False) -> list[tuple[str, str]]:
    """Return a chart for each width of screen that needs its own, so that letters keep their size."""
    widths = {"full": FULL, "middle": MIDDLE, "narrow": charts.NARROW} if full else HALF
    return [(name, draw(*data, width=width)) for name, width in widths.items()]


def verdict(record: RunRecord, found: Found) -> View:
    """The first screen: what was gained, at which price, where, and what nobody looked at."""
    interval = record.timing.ratio
    counts = {name: sum(e.verdict == name for e in record.evidence) for name in MARKS}
    return {
        "met": record.verdict == "met",
        "reasons": record.reasons,
        "ratio": fixed(interval.value, decimals(interval)),
        "interval": between(interval, decimals(interval)),
        "level": percent(interval.level, 0),
        "sentence": _pace(interval),
        "tiles": _tiles(record, found.metric[1] if found.metric else None),
        "evidence": [(e.verdict, MARKS[e.verdict], e.claim) for e in record.evidence],
        "counts": [f"{count} {name}" for name, count in counts.items()],
        "conditions": conditions(record.timing),
        "switches": [_switch(name, timing, record.timing) for name, timing in record.switches],
        "not_tested": record.not_tested,
    }


def _pace(interval: Interval) -> str:
    if interval.high < 1:
        return "of the original’s milliseconds"
    if interval.low > 1:
        return "of the original’s milliseconds: slower"
    return "of the original’s milliseconds: no difference that the measurement can show"


def _tiles(record: RunRecord, metric: MetricNumbers | None) -> list[tuple[str, str, str, str]]:
    """Name, figure, its interval or unit, and a note."""
    old, new, timing = record.original, record.package, record.timing
    whole, _, ends = speedup(timing.ratio).partition(" ")
    tiles = [
        ("Speed", whole, ends, "calls in the same time"),
        (
            "Median time",
            milliseconds(timing.small_ms),
            "",
            f"was {milliseconds(timing.original_ms)}, batch {timing.batch}",
        ),
        (
            "Parameters that are not zero" if new.zeros else "Parameters",
            change(old.nonzeros, new.nonzeros),
            "",
            f"{old.nonzeros:,} → {new.nonzeros:,}",
        ),
        ("File", change(old.bytes, new.bytes), "", f"{size(old.bytes)} → {size(new.bytes)}"),
    ]
    if metric is None:
        return [*tiles, ("Quality", "not measured", "", "the record holds no evidence on a metric")]
    drop = metric.drop_points
    values = f"{_metric(metric, metric.original.value)} → {_metric(metric, metric.package.value)}"
    note = f"{values}, {metric.examples:,} test examples"
    named = f"{metric.metric.capitalize()} lost"
    return [*tiles, (named, f"{fixed(drop.value)} points", points(drop).partition(" ")[2], note)]


def _metric(numbers: MetricNumbers, value: float) -> str:
    return percent(value, 2) if numbers.metric == "accuracy" else figure(value, 4)


def conditions(timing: Timing) -> list[tuple[str, str]]:
    """Where and how a figure was measured."""
    precision = timing.original_precision
    if timing.small_precision != precision:
        precision = f"{precision} (original), {timing.small_precision} (package)"
    return [
        ("CPU", timing.cpu or "not recorded"),
        ("Instruction tier", timing.tier),
        ("Threads", f"{timing.threads}"),
        ("Batch", f"{timing.batch}"),
        ("Precision", precision),
        ("Rounds", f"{timing.turns}, each A B B A"),
    ]


def _switch(name: str, timing: Timing, ours: Timing) -> View:
    """What a setting gains on its own, and whether that is more than the package does."""
    words = f"{ratio(timing.ratio)} of the milliseconds"
    times = f"{milliseconds(timing.original_ms)} → {milliseconds(timing.small_ms)}"
    alike = (timing.tier, timing.threads, timing.batch) == (ours.tier, ours.threads, ours.batch)
    if not alike:
        compared = f"measured on {timing.tier}, {timing.threads} threads, batch {timing.batch}"
    elif timing.ratio.low >= 1:
        compared = "no gain"
    elif timing.ratio.high < ours.ratio.low:
        compared = "more than the package gains"
    elif timing.ratio.low > ours.ratio.high:
        compared = "less than the package gains"
    else:
        compared = "as much as the package gains, within the intervals"
    return {"name": name, "words": words, "times": times, "compared": compared}


def goal_ratio(record: RunRecord) -> float | None:
    """Return the budget as a share of the original's time, where it is one."""
    asked, limit = record.budget.get("latency_ratio"), record.budget.get("latency_ms")
    if isinstance(asked, int | float) and asked > 0:
        return float(asked)
    if isinstance(limit, int | float) and limit > 0 and record.timing.original_ms > 0:
        return float(limit) / record.timing.original_ms
    return None


def trade_off(record: RunRecord) -> View | None:
    """The candidates that were measured, or None."""
    if not record.candidates:
        return None
    goal = goal_ratio(record)
    ordered = sorted(record.candidates, key=lambda c: (c.fraction, c.multiple))
    multiples = sorted({c.multiple for c in ordered})
    return {
        "chart": drawn(charts.tradeoff, ordered, goal, full=True),
        "series": [(SHAPES[i % len(SHAPES)], f"channels a multiple of {m}") for i, m in enumerate(multiples)],
        "rows": [_candidate(c, record) for c in ordered],
        "chosen": next((_candidate(c, record) for c in ordered if c.chosen), None),
        "goal": None if goal is None else fixed(goal),
        "conditions": sorted(
            {f"{t.tier}, threads {t.threads}, batch {t.batch}" for t in (c.timing for c in ordered)}
        ),
    }


def mixed(record: RunRecord) -> View | None:
    """The mixes of methods that were measured, or None."""
    if not record.mixes:
        return None
    goal = goal_ratio(record)
    tracks, curve = mixes.tracks_of(record.mixes), mixes.curve_of(record.mixes)
    rows = [mixes.row(point, record, curve) for point in record.mixes]
    return {
        "chart": drawn(mixes.chart, record.mixes, goal, full=True),
        "series": [(SHAPES[index % len(SHAPES)], name) for index, name in enumerate(tracks)],
        "rows": rows,
        "chosen": next((row for row in rows if row["chosen"]), None),
        "goal": None if goal is None else fixed(goal),
    }


def _candidate(candidate: Candidate, record: RunRecord) -> View:
    timing = candidate.timing
    return {
        "removed": percent(candidate.fraction),
        "multiple": candidate.multiple,
        "parameters": f"{candidate.parameters:,}",
        "kept": percent(candidate.parameters / record.original.parameters, 0)
        if record.original.parameters
        else "–",
        "macs": f"{short(candidate.macs)}",
        "ratio": ratio(timing.ratio),
        "ms": f"{milliseconds(timing.original_ms)} → {milliseconds(timing.small_ms)}",
        "chosen": candidate.chosen,
    }


def times(record: RunRecord) -> View | None:
    """Where the time goes in both networks, or None."""
    bars = pair_times(record.times_original, record.times_package)
    if not bars:
        return None
    shown = bars
    if len(bars) > MOST_BARS:
        longest = sorted(bars, key=lambda b: -max(b.original_ms or 0.0, b.package_ms or 0.0))[:MOST_BARS]
        shown = [b for b in bars if b in longest]
    sums = [sum(t.milliseconds for t in side) for side in (record.times_original, record.times_package)]
    return {
        "chart": drawn(charts.layer_times, shown, full=True),
        "left_out": len(bars) - len(shown),
        "rows": bars,
        "sums": [milliseconds(total) for total in sums],
        "change": change(*sums),
        "slow": [b.name for b in bars if b.note],
    }


def layers(record: RunRecord) -> View:
    """Every layer before and after, what was changed, and what was left alone and why."""
    rows = []
    for pair in pair_layers(record.layers_original, record.layers_package):
        cells = [("shape", *_both(pair, "shape", shape), 0)]
        for name, form in (("macs", short), ("parameters", lambda n: f"{n:,}"), ("bytes", size)):
            cells.append((name, *_both(pair, name, form), getattr(pair.before or pair.after, name)))
        rows.append(
            {"layer": pair.layer, "op": pair.op, "cells": cells, "idle": not cells[2][3] and not cells[1][3]}
        )
    old, new = record.original, record.package
    return {
        "rows": rows,
        "macs": f"{short(old.macs)} → {short(new.macs)} ({change(old.macs, new.macs)})",
        "changes": [_change(item) for item in record.changes],
        "refused": record.refused,
    }


def _both(pair: Any, name: str, form: Any) -> tuple[str, str]:
    """The figure before, and after where it differs."""
    before, after = (None if row is None else form(getattr(row, name)) for row in (pair.before, pair.after))
    if before == after:
        return before or "", ""
    return before or "none", after or "gone"


def _change(item: Change) -> View:
    keys = list(dict.fromkeys([*item.before, *item.after]))
    moved = [k for k in keys if item.before.get(k) != item.after.get(k)] or keys
    words = [f"{k.replace('_', ' ')} {item.before.get(k, '–')} → {item.after.get(k, '–')}" for k in moved]
    return {"layer": item.layer, "method": item.method, "words": ", ".join(words), "seed": item.seed}


def files(record: RunRecord) -> View:
    """Both files, and the model card."""
    both = [("Package", record.package), ("Original", record.original)]
    limits = [e for e in record.evidence if e.verdict != "proved"]
    return {
        "cards": [
            {
                "kind": kind,
                "name": file_name(card.path),
                "facts": [
                    (
                        "Size",
                        f"{size(card.bytes)} ({card.bytes:,} bytes)"
                        if card.bytes >= 1000
                        else size(card.bytes),
                    ),
                    ("Parameters", f"{card.parameters:,}"),
                    *([("Of them not zero", f"{card.nonzeros:,}")] if card.zeros else []),
                    ("MACs per example", f"{card.macs:,}"),
                ],
                "sha256": card.sha256,
            }
            for kind, card in both
        ],
        "data": pairs(record.data),
        "limits": [f"{MARKS[e.verdict]} {e.verdict}: {e.claim}" for e in limits],
    }


def reproduce(record: RunRecord) -> View:
    """Commands, settings and surroundings."""
    name = file_name(record.package.path)
    return {
        "commands": record.reproduce,
        "reload": f'import wieldy\n\noutput = wieldy.open("{name}")(x)  # numpy in, numpy out',
        "seed": record.seed,
        "budget": pairs({k: v for k, v in record.budget.items() if v is not None}),
        "method": pairs(record.method),
        "quantize": pairs(record.quantize),
        "environment": list(record.environment.items()),
    }
