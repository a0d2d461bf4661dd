"""What each section of the page says, as values that a template only has to place."""

import json
from typing import Any

from wieldy.core.records import Candidate, Change, Interval, RunRecord, Timing
from wieldy.report import charts, mixes
from wieldy.report.answers import drawn, metric_words
from wieldy.report.charts import SHAPES
from wieldy.report.columns import layer_table
from wieldy.report.evidence import Found, MetricNumbers
from wieldy.report.figures import (
    between,
    change,
    decimals,
    file_name,
    fixed,
    milliseconds,
    pairs,
    percent,
    points,
    ratio,
    short,
    size,
    speedup,
)
from wieldy.report.layers import pair_times
from wieldy.report.parts import Card, Fact, Table, Tile
from wieldy.report.sameness import MARKS, NO_EVIDENCE, absent, floors

View = dict[str, Any]
MOST_BARS = 40
SERIES = tuple(SHAPES)
USE = (
    "The package stands in for the original on inputs like those of the data below, on a CPU. The speed on "
    "this page holds for the CPU, tier, threads and batch that it was measured on; measure again elsewhere."
)


def verdict(record: RunRecord, found: Found, cards: list[Card]) -> View:
    """The first screen: what was gained, at which price, where, and what nobody looked at."""
    interval = record.timing.ratio
    counts = {name: sum(card.verdict == name for card in cards) for name in MARKS}
    return {
        "met": record.verdict == "met",
        "reasons": record.reasons,
        "ratio": fixed(interval.value, decimals(interval)),
        "interval": between(interval, decimals(interval)),
        "level": percent(interval.level, 0),
        "sentence": _pace(interval),
        "tiles": tiles(record, found.first(MetricNumbers)),
        "floors": floors(found),
        "evidence": [
            (card.verdict, MARKS[card.verdict], card.title, card.name) for card in cards if card.verdict
        ],
        "counts": [f"{count} {name}" for name, count in counts.items()],
        "absent": len(absent(found)),
        "conditions": conditions(record.timing),
        "switches": [_switch(name, timing, record.timing) for name, timing in record.switches],
        "not_tested": not_tested(record, found),
    }


def not_tested(record: RunRecord, found: Found) -> list[str]:
    """Return what nobody looked at: what the record says, and what it holds no evidence of."""
    gone = [item for item in absent(found) if item.badge == "not tested"]
    words = (item.reason.removeprefix(NO_EVIDENCE).strip() for item in gone)
    return [*record.not_tested, *(f"{item.title}: {why}" for item, why in zip(gone, words, strict=True))]


def _pace(interval: Interval) -> str:
    if interval.high < 1:
        return "of the original’s milliseconds"
    if interval.low > 1:
        return "of the original’s milliseconds: slower"
    return "of the original’s milliseconds: no difference that the measurement can show"


def tiles(record: RunRecord, metric: MetricNumbers | None) -> list[Tile]:
    """Return the figures that matter most."""
    old, new, timing = record.original, record.package, record.timing
    whole, _, ends = speedup(timing.ratio).partition(" ")
    was = f"was {milliseconds(timing.original_ms)}, batch {timing.batch}"
    parameters = "Parameters that are not zero" if new.zeros else "Parameters"
    found = [
        Tile(
            "Speed",
            whole,
            ends,
            "calls in the same time",
            1 / timing.ratio.value if timing.ratio.low > 0 else None,
        ),
        Tile("Median time", milliseconds(timing.small_ms), "", was, timing.small_ms),
        Tile(
            parameters,
            change(old.nonzeros, new.nonzeros),
            "",
            f"{old.nonzeros:,} → {new.nonzeros:,}",
            new.nonzeros,
        ),
        Tile("File", change(old.bytes, new.bytes), "", f"{size(old.bytes)} → {size(new.bytes)}", new.bytes),
    ]
    if metric is None:
        return [*found, Tile("Quality", "not measured", "", "the record holds no evidence on a metric")]
    drop = metric.drop_points
    sides = (metric_words(metric.metric, side.value) for side in (metric.original, metric.package))
    note = f"{' → '.join(sides)}, {metric.examples:,} test examples"
    named, ends = f"{metric.metric.capitalize()} lost", points(drop).partition(" ")[2]
    return [*found, Tile(named, f"{fixed(drop.value)} points", ends, note, drop.value)]


def conditions(timing: Timing) -> list[Fact]:
    """Where and how a figure was measured."""
    precision = timing.original_precision
    if timing.small_precision != precision:
        precision = f"{precision} (original), {timing.small_precision} (package)"
    return [
        Fact("CPU", timing.cpu or "not recorded"),
        Fact("Instruction tier", timing.tier),
        Fact("Threads", f"{timing.threads}"),
        Fact("Batch", f"{timing.batch}"),
        Fact("Precision", precision),
        Fact("Rounds", f"{timing.turns}, each A B B A"),
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
    heads = (
        "Channels removed",
        "Multiple",
        "Parameters",
        "Kept",
        "MACs",
        "Ratio of times",
        "Medians",
        "Chosen",
    )
    rows = tuple(_candidate(c, record) for c in ordered)
    chosen = _chosen(ordered)
    return {
        "chart": drawn(charts.tradeoff, ordered, goal, full=True),
        "series": [(SERIES[i % len(SERIES)], f"channels a multiple of {m}") for i, m in enumerate(multiples)],
        "table": Table("Measured candidates", heads, "lrrrrrrl", rows, chosen, _all(len(rows), "candidates")),
        "chosen": None if chosen is None else _removed(ordered[chosen]),
        "goal": None if goal is None else fixed(goal),
        "conditions": sorted(
            {f"{t.tier}, threads {t.threads}, batch {t.batch}" for t in (c.timing for c in ordered)}
        ),
    }


def _all(count: int, kind: str) -> str:
    return f"All {count} {kind} as a table"


def _chosen(points: Any) -> int | None:
    return next((index for index, point in enumerate(points) if point.chosen), None)


def _removed(candidate: Candidate) -> str:
    return f"{percent(candidate.fraction)} of the channels removed, {ratio(candidate.timing.ratio)}"


def _candidate(candidate: Candidate, record: RunRecord) -> tuple[str, ...]:
    timing, whole = candidate.timing, record.original.parameters
    return (
        percent(candidate.fraction),
        f"{candidate.multiple}",
        f"{candidate.parameters:,}",
        percent(candidate.parameters / whole, 0) if whole else "–",
        short(candidate.macs),
        ratio(timing.ratio),
        f"{milliseconds(timing.original_ms)} → {milliseconds(timing.small_ms)}",
        "✓ chosen" if candidate.chosen else "",
    )


def mixed(record: RunRecord) -> View | None:
    """The mixes of methods that were measured, or None."""
    if not record.mixes:
        return None
    goal = goal_ratio(record)
    tracks, curve = mixes.tracks_of(record.mixes), mixes.curve_of(record.mixes)
    heads = ("Mix", "Allowed", "MACs", "File", "Ratio of times", "Medians", "Metric", "Remark")
    rows = tuple(mixes.row(point, record, curve) for point in record.mixes)
    chosen = _chosen(record.mixes)
    return {
        "chart": drawn(mixes.chart, record.mixes, goal, full=True),
        "series": [(SERIES[index % len(SERIES)], name) for index, name in enumerate(tracks)],
        "table": Table("Measured mixes", heads, "plrrrrrl", rows, chosen, _all(len(rows), "mixes")),
        "chosen": None
        if chosen is None
        else f"{record.mixes[chosen].mix}, {ratio(record.mixes[chosen].timing.ratio)}",
        "goal": None if goal is None else fixed(goal),
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
    heads = ("Operation", "Fused with it", "Kernel", "Original, ms", "Package, ms", "Remark")
    rows = tuple(
        (b.name, ", ".join(b.fused), b.kernels, _took(b.original_ms), _took(b.package_ms), b.note)
        for b in bars
    )
    return {
        "chart": drawn(charts.layer_times, shown, full=True),
        "left_out": len(bars) - len(shown),
        "table": Table(
            "Time of every operation", heads, "lllrrl", rows, summary=_all(len(rows), "operations")
        ),
        "sums": [milliseconds(total) for total in sums],
        "change": change(*sums),
        "slow": [b.name for b in bars if b.note],
    }


def _took(time: float | None) -> str:
    return "not there" if time is None else f"{time:.4f}"


def layers(record: RunRecord) -> View:
    """Every layer before and after, what was changed, and what was left alone and why."""
    old, new = record.original, record.package
    changes = tuple(_change(item) for item in record.changes)
    refused = tuple((item.layer, item.method, item.reason) for item in record.refused)
    return {
        "table": layer_table(record) if record.layers_original or record.layers_package else None,
        "macs": f"{short(old.macs)} → {short(new.macs)} ({change(old.macs, new.macs)})",
        "changes": Table("Changes", ("Layer", "Method", "Change", "Seed"), "llpr", changes),
        "refused": Table("Refusals", ("Layer", "Method", "Reason"), "llp", refused),
    }


def _change(item: Change) -> tuple[str, ...]:
    keys = list(dict.fromkeys([*item.before, *item.after]))
    moved = [k for k in keys if item.before.get(k) != item.after.get(k)] or keys
    words = [f"{k.replace('_', ' ')} {item.before.get(k, '–')} → {item.after.get(k, '–')}" for k in moved]
    return item.layer, item.method, ", ".join([*words, *([item.note] if item.note else [])]), f"{item.seed}"


def files(record: RunRecord, found: Found) -> View:
    """Both files, and the model card."""
    both = [("Package", record.package), ("Original", record.original)]
    limits = [e for e in record.evidence if e.verdict == "refuted"]
    open_ones = [e for e in record.evidence if e.verdict == "unknown" and e.measured]
    return {
        "cards": [
            {
                "kind": kind,
                "name": file_name(card.path),
                "facts": [
                    Fact(
                        "Size",
                        f"{size(card.bytes)}" + (f" ({card.bytes:,} bytes)" if card.bytes >= 1000 else ""),
                    ),
                    Fact("Parameters", f"{card.parameters:,}"),
                    *([Fact("Of them not zero", f"{card.nonzeros:,}")] if card.zeros else []),
                    Fact("MACs per example", f"{card.macs:,}"),
                ],
                "sha256": card.sha256,
            }
            for kind, card in both
        ],
        "use": USE,
        "data": pairs(record.data),
        "limits": [f"{MARKS[e.verdict]} {e.verdict}: {e.claim}" for e in (*limits, *open_ones)],
        "not_tested": not_tested(record, found),
    }


def reproduce(record: RunRecord) -> View:
    """Commands, settings and surroundings."""
    name = json.dumps(file_name(record.package.path), ensure_ascii=False)
    return {
        "commands": record.reproduce,
        "reload": f"import wieldy\n\noutput = wieldy.open({name})(x)  # numpy in, numpy out",
        "seed": record.seed,
        "budget": pairs({k: v for k, v in record.budget.items() if v is not None}),
        "method": pairs(record.method),
        "quantize": pairs(record.quantize),
        "environment": list(record.environment.items()),
    }
