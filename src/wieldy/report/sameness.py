"""The section that asks whether the package is still the same model: one card for each piece of evidence."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from wieldy.core.records import Evidence, RunRecord
from wieldy.report import answers, charts, strain
from wieldy.report.answers import Fields, drawn
from wieldy.report.evidence import KINDS, FloorNumbers, Found, MetricNumbers
from wieldy.report.figures import pairs, percent
from wieldy.report.parts import Absent, Card, Fact, Table

MARKS = {"proved": "✓", "refuted": "✕", "unknown": "?"}
TITLES = {
    "metric": "Quality",
    "predictions": "Predictions",
    "classes": "Classes",
    "outputs": "Outputs",
    "calibration": "Calibration",
    "confidence": "Confidence",
    "slices": "Slices",
    "corruptions": "Corruptions",
    "attacks": "Attacks",
    "outside": "Foreign inputs",
    "bounds": "Bounds",
    "runtime": "Runtime",
    "recovery": "Recovery",
}
MISSED = {  # what nobody knows where there is no evidence of a kind
    "metric": "Nobody measured what the package gets right.",
    "predictions": "Nobody counted which answers changed.",
    "classes": "One class may have lost more than the average shows.",
    "slices": "No group of examples was looked at by itself: hidden triggers, such as a stamp on a picture, "
    "were not tested.",
    "calibration": "The package may be more or less sure than it is right.",
    "confidence": "The package may be more or less sure than the original.",
    "corruptions": "Noise, blur, weather and other corruptions were not tested.",
    "outside": "Inputs from elsewhere, which a network should be unsure of, were not tested.",
    "attacks": "Inputs that are made to deceive were not tested.",
    "bounds": "Nothing is proved for inputs near the examples.",
    "runtime": "The runtime was not compared with torch.",
}
NO_EVIDENCE = "The record holds no evidence."
OF_CLASSES = ("predictions", "classes", "calibration", "confidence", "outside", "attacks", "bounds")
ORDER = [kind for kind in TITLES if kind in KINDS]


def sameness(record: RunRecord, found: Found) -> dict[str, Any]:
    """Return all cards, and what was not looked into."""
    cards = [*_cards(record, found), *_recovery(record, found)]
    cards += [_other(item, index) for index, item in enumerate(found.others, 1)]
    return {"cards": cards, "rows": arranged(cards), "absent": absent(found)}


def _cards(record: RunRecord, found: Found) -> Iterator[Card]:
    ordered = sorted(
        (pair for pair in found.read if not isinstance(pair[1], FloorNumbers)),
        key=lambda pair: ORDER.index(pair[0].kind),
    )
    seen: list[str] = []
    for item, numbers in ordered:
        seen.append(item.kind)
        again = seen.count(item.kind)
        name = f"same-{item.kind}" + (f"-{again}" if again > 1 else "")
        fields = {"title": title_of(item), **_head(item), **_readers(record, found)[item.kind](numbers)}
        yield Card(name=name, **fields)


def _readers(record: RunRecord, found: Found) -> dict[str, Callable[[Any], Fields]]:
    classes, metric = class_names(record), _metric_name(record, found)
    return {
        "metric": answers.metric,
        "predictions": lambda numbers: answers.predictions(numbers, classes),
        "classes": answers.classes,
        "slices": lambda numbers: answers.slices(numbers, metric),
        "outputs": answers.outputs,
        "runtime": answers.runtime,
        "calibration": strain.calibration,
        "confidence": strain.confidence,
        "corruptions": strain.corruptions,
        "outside": strain.outside,
        "attacks": strain.attacks,
        "bounds": strain.bounds,
    }


def _head(item: Evidence) -> dict[str, Any]:
    """What every card shows: the claim, its verdict, and what it rests on."""
    return {
        "claim": item.claim,
        "verdict": item.verdict,
        "assumptions": item.assumptions,
        "digests": tuple((name, value[:12]) for name, value in item.digests.items()),
    }


def _other(item: Evidence, index: int) -> Card:
    facts = tuple(Fact(name, words) for name, words in pairs(item.numbers))
    return Card(
        name=f"same-other-{index}",
        title=title_of(item),
        **_head(item),
        facts=facts,
        notes=() if facts else ("No figures are recorded.",),
        raw=json.dumps(item.numbers, indent=1, ensure_ascii=False) if item.numbers else "",
    )


def title_of(item: Evidence) -> str:
    """Return a few words for the question that evidence answers.

    Example:
        >>> title_of(Evidence(kind="watermark_found", claim="", verdict="unknown"))
        'Watermark found'
    """
    return TITLES.get(item.kind) or item.kind.replace("_", " ").capitalize() or "Further evidence"


def class_names(record: RunRecord) -> list[str]:
    """Return the names of the classes, where the record has them."""
    names = record.data.get("classes")
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _metric_name(record: RunRecord, found: Found) -> str:
    numbers = found.first(MetricNumbers)
    return numbers.metric if numbers else str(record.data.get("metric", "metric"))


def absent(found: Found) -> list[Absent]:
    """Return what was not measured and why, and what there is no evidence of at all."""
    gone = [
        Absent(item.kind, title_of(item), "not tested", _told(item.kind, str(item.numbers["reason"])))
        for item in found.unmeasured
    ]
    for kind, words in MISSED.items():
        if found.has(kind):
            continue
        if kind in OF_CLASSES and found.has("outputs"):
            gone.append(Absent(kind, TITLES[kind], "not applicable", "The outputs are no class logits."))
        else:
            gone.append(Absent(kind, TITLES[kind], "not tested", f"{NO_EVIDENCE} {words}"))
    return gone


def _told(kind: str, reason: str) -> str:
    """Return a reason as a sentence, with what it means for slices: a trigger shows there alone."""
    sentence = f"{reason[:1].upper()}{reason[1:]}".rstrip(".") + "."
    return f"{sentence} {MISSED[kind]}" if kind == "slices" else sentence


def arranged(cards: Sequence[Card]) -> list[list[list[Card]]]:
    """Return rows of one or two columns: a wide card alone, others in turn where there is most room."""
    rows: list[list[list[Card]]] = []
    heights = [0.0, 0.0]
    for card in cards:
        if card.is_wide:
            rows.append([[card]])
        else:
            if not rows or len(rows[-1]) == 1:
                rows.append([[], []])
                heights = [0.0, 0.0]
            column = 0 if heights[0] <= heights[1] else 1
            rows[-1][column].append(card)
            heights[column] += height_of(card)
    return rows


def height_of(card: Card) -> float:
    """Return about how many pixels high a card of half the page's width is."""
    drawings = sum(_height(chart[0][1]) for chart in card.charts)
    pictures = 120 * -(-min(len(card.pictures), answers.FIRST_PICTURES) // 6)
    tables = sum(30 if table.summary else 60 + 34 * len(table.rows) for table in card.tables)
    lines = 32 * len(card.facts) + 24 * len(card.notes) + 90 * bool(card.tiles) + 60 * bool(card.verdict)
    return 110.0 + drawings + pictures + tables + lines


def _height(drawing: str) -> float:
    """Read a drawing's height from its view box."""
    return float(drawing.split('viewBox="', 1)[1].split('"', 1)[0].split()[3])


def _recovery(record: RunRecord, found: Found) -> Iterator[Card]:
    if not record.recovery:
        return
    name = _metric_name(record, found)
    ordered = sorted(record.recovery, key=lambda e: e.epoch)
    in_percent = name == "accuracy"
    best = f"; best {percent(max(e.metric for e in ordered), 2)}" if in_percent else ""
    rows = [(f"{e.epoch}", percent(e.metric, 2) if in_percent else f"{e.metric:.4g}") for e in ordered]
    yield Card(
        name="same-recovery",
        title=TITLES["recovery"],
        tag=f"{len(ordered)} epoch{'s' if len(ordered) != 1 else ''}",
        claim=f"{name} on the validation set after each epoch of training what was left{best}",
        charts=(drawn(charts.recovery, ordered, name),),
        tables=(
            Table("Metric by epoch", ("Epoch", name), "rr", tuple(rows), summary="The epochs as a table"),
        ),
    )


def floors(found: Found) -> list[dict[str, str]]:
    """Return the floors that the user set, each met, failed or not measured."""
    return [_floor(item, numbers) for item, numbers in found.every(FloorNumbers)]


def _floor(item: Evidence, numbers: FloorNumbers) -> dict[str, str]:
    words = {"proved": "met", "refuted": "failed", "unknown": "not measured"}[item.verdict]
    if numbers.value is None:
        measured = item.assumptions[0] if item.assumptions else ""
    elif numbers.interval:
        measured = f"measured {numbers.interval}"
    else:
        measured = f"measured {numbers.value:.4g}"
    return {
        "figure": numbers.figure,
        "verdict": item.verdict,
        "mark": MARKS[item.verdict],
        "words": words,
        "claim": item.claim,
        "measured": measured.replace("-", "−") if numbers.value is not None else measured,
    }
