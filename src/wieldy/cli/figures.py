"""Evidence as text: one line for each piece, with the figures that its kind is about."""

from collections.abc import Callable
from typing import Any

from wieldy.core.records import Evidence

Numbers = dict[str, Any]
MARKS = {"proved": "yes    ", "refuted": "NO     ", "unknown": "unknown"}


def evidence_lines(evidence: tuple[Evidence, ...]) -> list[str]:
    """Return one line for each piece of evidence."""
    return [f"  {MARKS[item.verdict]} {item.claim}{_figures(item)}" for item in evidence]


def _figures(item: Evidence) -> str:
    if not item.measured:
        return f": not measured, {item.numbers['reason']}"
    words = WORDS[item.kind](item.numbers) if item.kind in WORDS else ""
    return f": {words}" if words else ""


def _between(interval: dict[str, float], form: str = "+.2f") -> str:
    return f"{interval['value']:{form}} [{interval['low']:{form}}, {interval['high']:{form}}]"


def _metric(n: Numbers) -> str:
    sides = f"{n['original']['value']:.4f} -> {n['package']['value']:.4f}"
    return f"{sides}, {_between(n['drop_points'])} points lost"


def _predictions(n: Numbers) -> str:
    return f"{n['fixed']} fixed, {n['broken']} broken, {n['flips']} flips, p = {n['p_value']:.3g}"


def _worse(n: Numbers) -> str:
    return f"worse are {', '.join(n['worse'])}" if n["worse"] else ""


def _calibration(n: Numbers) -> str:
    of = n["temperature"]
    cooled = f"{of['ece_original']:.4f} -> {of['ece_package']:.4f}"
    temperatures = f"{of['original']:.2f} and {of['package']:.2f}"
    brier = f"Brier {n['brier']['original']['value']:.4f} -> {n['brier']['package']['value']:.4f}"
    return f"{n['original']:.4f} -> {n['package']:.4f}, with temperatures {temperatures} {cooled}; {brier}"


def _confidence(n: Numbers) -> str:
    return f"{n['original']['value']:.4f} -> {n['package']['value']:.4f}, {_between(n['shift'], '+.4f')}"


def _corruptions(n: Numbers) -> str:
    mean = n["mean"]
    sides = f"{mean['original']:.4f} -> {mean['package']:.4f}"
    return f"{sides}, {_between(mean['drop_points'])} points lost; {n['examples']} examples"


def _outside(n: Numbers) -> str:
    rows = [(of["set"], row) for of in n["sets"] for row in of["scores"]]
    name, row = min(rows, key=lambda pair: pair[1]["change"]["value"])
    sides = f"{row['original']:.4f} -> {row['package']:.4f}"
    return f"AUROC {sides} at worst ({row['score']}, {name})"


def _attacks(n: Numbers) -> str:
    row = max(n["rows"], key=lambda row: row["drop_points"]["value"])
    sides = f"{row['original']:.4f} -> {row['package']:.4f}"
    points = f"{_between(row['drop_points'])} points lost"
    return f"{sides}, {points} at worst ({row['attack']}, {row['epsilon']:.4g}); {n['examples']} examples"


def _bounds(n: Numbers) -> str:
    rows = [f"{row['original']:.2f} -> {row['package']:.2f} at {row['epsilon']:.4g}" for row in n["rows"]]
    return f"certified {', '.join(rows)}; {n['examples']} examples"


def _outputs(n: Numbers) -> str:
    return "; ".join(map(_distance, n["outputs"]))


def _distance(output: Numbers) -> str:
    """Say how far one output is from the original's, at the median and at worst."""
    (median, _, worst), (cosine, _, least) = output["error"], output["cosine"]
    return f"{output['output']} {median:.1%} off ({worst:.1%} at worst), cosine {cosine:.4f} ({least:.4f})"


def _runtime(n: Numbers) -> str:
    return f"{n['largest_relative']:.1e} at most"


def _floor(n: Numbers) -> str:
    return "not measured" if n["value"] is None else f"{n['value']:.4g}"


WORDS: dict[str, Callable[[Numbers], str]] = {
    "metric": _metric,
    "predictions": _predictions,
    "classes": _worse,
    "slices": _worse,
    "calibration": _calibration,
    "confidence": _confidence,
    "corruptions": _corruptions,
    "outside": _outside,
    "attacks": _attacks,
    "bounds": _bounds,
    "outputs": _outputs,
    "runtime": _runtime,
    "floor": _floor,
}
