"""Records as text: what verbs print when no JSON is asked for."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wieldy.cli.figures import evidence_lines
from wieldy.core.records import RunRecord, Timing, WhatIf

if TYPE_CHECKING:
    from wieldy.compress.exported import Difference


def as_json(value: Any) -> None:
    """Print a value as one JSON document on standard output."""
    print(json.dumps(value, indent=1, allow_nan=False))


def timing_lines(timing: Timing, first: str = "original", second: str = "package") -> list[str]:
    """Return a comparison as text: the ratio, both medians, and what they were measured with."""
    speed = f"{1 / timing.ratio.value:.2f} times as fast" if timing.ratio.value else ""
    return [
        f"{second} takes {timing.ratio} of the milliseconds of {first} ({speed})",
        f"  {first} {timing.original_ms:.3f} ms ({timing.original_precision}), "
        f"{second} {timing.small_ms:.3f} ms ({timing.small_precision})",
        f"  {timing.turns}, batch {timing.batch}, {timing.threads} threads, tier {timing.tier}, {timing.cpu}",
    ]


def difference_lines(apart: "Sequence[Difference]", kind: str) -> list[str]:
    """Return how far each runtime is from ours, in a line; `kind` of examples."""
    lines = []
    for item in apart:
        same = "" if item.same_answers is None else f"; the same answer for {item.same_answers:,}"
        lines.append(
            f"  {item.runtime}: at most {item.relative:.1e} of the largest output from ours on "
            f"{item.examples:,} {kind} examples{same}"
        )
    return lines


def what_if_lines(found: tuple[WhatIf, ...], name: str) -> list[str]:
    """Return one line for each candidate, the fastest marked, and a plain word where nothing is won."""
    timed = [(item, item.timing) for item in found if item.timing is not None]
    gaining = [pair for pair in timed if pair[0].gains]
    best = min(gaining, key=lambda pair: pair[1].ratio.value)[0] if gaining else None
    refused = [f"  {item.candidate:<22} not possible: {item.reason}" for item in found if item.timing is None]
    if not timed:
        return [f"{name}: nothing could be tried", *refused]
    timing = timed[0][1]
    lines = [
        f"{name}: what would make it faster than {timing.original_ms:.3f} ms (fp32, dense)?",
        f"  {timing.turns}, batch {timing.batch}, {timing.threads} threads, "
        f"tier {timing.tier}, {timing.cpu}; nothing is trained, so accuracy is not judged",
        f"  {'candidate':<22} {'ms':>8}  {'of the time':>26}  {'predicted':>9}",
    ]
    for item, of_item in timed:
        predicted = "" if item.predicted_ratio is None else f"{item.predicted_ratio:.3f}"
        word = "fastest" if item is best else "" if item.gains else "no gain"
        figures = f"{of_item.small_ms:>8.3f}  {of_item.ratio!s:>26}  {predicted:>9}"
        lines.append(f"  {item.candidate:<22} {figures}  {word}".rstrip())
    return lines + refused


def dry_lines(facts: str, steps: list[tuple[str, float]]) -> list[str]:
    """Return what a run would do, each step with the time that it would take about."""
    lines = [facts, *(f"  {_lasting(seconds):>9}  {name}" for name, seconds in steps)]
    total = sum(seconds for _, seconds in steps)
    return [*lines, f"  {_lasting(total):>9}  in all, by timing one of each piece here; nothing was written"]


def _lasting(seconds: float) -> str:
    """Return a duration as one reads it.

    Example:
        >>> _lasting(0.4), _lasting(75), _lasting(7500)
        ('< 1 s', '1 min', '2.1 h')
    """
    if seconds < 1:
        return "< 1 s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def sweep_lines(results: list[dict[str, Any]]) -> list[str]:
    """Return one line for each run of a sweep, the fastest first, and how many there are of each kind."""
    timed = sorted((item for item in results if item["ratio"] is not None), key=lambda item: item["ratio"])
    lines = [
        f"  {item['state']:<8} {item['ratio']:.3f} of the milliseconds, {item['drop_points']:+.2f} points "
        f"lost, {item['bytes']:,} bytes  {item['name']}"
        for item in timed
    ]
    lines += [
        f"  {item['state']:<8} {item['name']}" + (f": {item['reason']}" if item["reason"] else "")
        for item in results
        if item["ratio"] is None
    ]
    states = [item["state"] for item in results]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    return [f"{len(results)} runs: {', '.join(counts)}", *lines]


def record_lines(record: RunRecord) -> list[str]:
    """Return a run's result as text."""
    old, new = record.original, record.package
    kind = "parameters that are not zero" if new.zeros else "parameters"
    lines = [
        f"{record.verdict.upper()}: {record.title}",
        *(f"  {reason}" for reason in record.reasons),
        *timing_lines(record.timing),
        f"  {kind} {old.nonzeros:,} -> {new.nonzeros:,} ({new.nonzeros / old.nonzeros:.1%}), "
        f"bytes {old.bytes:,} -> {new.bytes:,}",
    ]
    lines += [f"  by {point.mix}" for point in record.mixes if point.chosen]
    for name, timing in record.switches:
        lines.append(f"  by a switch alone, {name}: {timing.ratio} of the milliseconds")
    return [*lines, "is it still the same model?", *evidence_lines(record.evidence)]


def summary(record: RunRecord, folder: str) -> dict[str, Any]:
    """Return a run's verdict as one flat record, for `--json`."""
    drop = record.evidence[0].numbers["drop_points"]
    timing = record.timing
    return {
        "verdict": record.verdict,
        "ratio": timing.ratio.value,
        "ratio_low": timing.ratio.low,
        "ratio_high": timing.ratio.high,
        "drop_points": drop["value"],
        "drop_points_low": drop["low"],
        "drop_points_high": drop["high"],
        "parameters_ratio": record.package.parameters / record.original.parameters,
        "nonzeros_ratio": record.package.nonzeros / record.original.nonzeros,
        "tier": timing.tier,
        "threads": timing.threads,
        "batch": timing.batch,
        "original": f"{folder}/{record.original.path}",
        "package": f"{folder}/{record.package.path}",
        "report": f"{folder}/report.html",
    }
