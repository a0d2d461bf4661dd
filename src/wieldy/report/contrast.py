"""Two records: settings that differ, why their figures may not be compared, and charts of both."""

from collections.abc import Iterator, Mapping
from typing import Any

from wieldy.core.records import Evidence, RunRecord
from wieldy.report.answers import drawn
from wieldy.report.evidence import MetricNumbers, sort_evidence
from wieldy.report.figures import fixed, label, percent, ratio, value
from wieldy.report.parts import Drawings
from wieldy.report.scatter import Axis, Point, exact, scatter

CONDITIONS = {
    "cpu": "CPUs",
    "tier": "instruction tiers",
    "threads": "numbers of threads",
    "batch": "batches",
    "original_precision": "precisions of the original",
}


def settings_apart(first: RunRecord, second: RunRecord) -> Iterator[tuple[str, Any, Any]]:
    """Yield every setting that differs, with both values."""
    flat = [dict(_flat(_asked(record))) for record in (first, second)]
    for name in dict.fromkeys([*flat[0], *flat[1]]):
        a, b = flat[0].get(name), flat[1].get(name)
        if a != b:
            yield name, a, b


def _asked(record: RunRecord) -> dict[str, Any]:
    timing = record.timing.model_dump(include={"cpu", "tier", "threads", "batch", "processes", "rounds"})
    precision = {"original": record.timing.original_precision, "package": record.timing.small_precision}
    return {
        "seed": record.seed,
        "budget": record.budget,
        "method": record.method,
        "eight bits": record.quantize,
        "timing": timing | {"precision": precision},
        "original": {"sha256": record.original.sha256},
        "data": record.data,
        "environment": record.environment,
    }


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in mapping.items():
        words = prefix + "".join(label(str(key)))
        if isinstance(item, Mapping):
            yield from _flat(item, f"{words}: ")
        else:
            yield words, list(item) if isinstance(item, tuple) else item


def cautions(first: RunRecord, second: RunRecord) -> Iterator[str]:
    """Yield, as sentences, why figures of the one do not compare with those of the other."""
    for name, words in CONDITIONS.items():
        old, new = getattr(first.timing, name), getattr(second.timing, name)
        if old != new:
            yield f"Times were measured on different {words}: {_told(old)} and {_told(new)}."
    if first.original.sha256 != second.original.sha256:
        yield "The originals are different networks: each ratio is against its own."
    if first.data != second.data:
        yield "The data differ: what was measured on them does not compare."
    seconds = {item.kind: item for item in second.evidence}
    for item in first.evidence:
        one, other = _examples(item), _examples(seconds.get(item.kind))
        if one is not None and other is not None and one != other:
            kind = item.kind.replace("_", " ")
            yield f"Evidence on {kind} rests on {one:,} and on {other:,} examples."


def _told(condition: Any) -> str:
    return value(condition) or "one that is not recorded"


def _examples(item: Evidence | None) -> int | None:
    """On how many examples evidence rests; None where there is none, or it says nothing of them."""
    count = item.numbers.get("examples") if item else None
    return count if isinstance(count, int) else None


def charts(first: RunRecord, second: RunRecord) -> Iterator[tuple[str, str, Drawings]]:
    """Yield charts that hold both: its title, a sentence, and the drawing."""
    records = (first, second)
    packages = [_package(record) for record in records]
    time = Axis("milliseconds, share of the original", lambda share: fixed(share, 2))
    if all(packages):
        lost = Axis("points lost", lambda points: fixed(points, 1), (0.0,))
        words = "; ".join(f"{side}: {of[0].words}" for side, of in zip("AB", packages, strict=True)) + "."
        yield (
            "What each gains, and at which price",
            "Both packages with their intervals: left is faster, low has lost less.",
            drawn(scatter, packages, time, lost, words, full=True),
        )
    if all(record.candidates for record in records):
        removed = Axis("channels removed", lambda share: percent(share, 0), (0.0,))
        points = [_candidates(record) for record in records]
        words = f"{len(points[0])} candidates of A and {len(points[1])} of B."
        share = Axis(time.name, time.form, (0.0,))
        chart = drawn(scatter, points, removed, share, words, full=True)
        yield "Trade-off", "How much of the original’s time is left when channels go, in both runs.", chart
    if all(record.mixes for record in records):
        score = Axis("metric on validation, after a brief training", lambda score: fixed(score, 3))
        points = [_mixes(record) for record in records]
        words = f"{len(points[0])} mixes of A and {len(points[1])} of B."
        chart = drawn(scatter, points, time, score, words, full=True)
        yield (
            "Trade-off",
            "What each mix keeps of the metric, and of the original’s time, in both runs.",
            chart,
        )


def _package(record: RunRecord) -> list[Point]:
    numbers = sort_evidence(record.evidence).first(MetricNumbers)
    if numbers is None:
        return []
    drop = numbers.drop_points
    lost = f"{fixed(drop.value)} points of {numbers.metric} lost"
    words = f"{ratio(record.timing.ratio)} of the milliseconds, {lost}"
    return [Point(record.timing.ratio, drop, words, chosen=True)]


def _candidates(record: RunRecord) -> list[Point]:
    return [
        Point(
            exact(c.fraction),
            c.timing.ratio,
            f"{percent(c.fraction, 0)} of the channels removed, {ratio(c.timing.ratio)} of the milliseconds",
            c.chosen,
        )
        for c in record.candidates
    ]


def _mixes(record: RunRecord) -> list[Point]:
    return [
        Point(
            m.timing.ratio,
            exact(m.score),
            f"{m.mix}: {ratio(m.timing.ratio)} of the milliseconds, metric {fixed(m.score, 4)}",
            m.chosen,
        )
        for m in record.mixes
    ]
