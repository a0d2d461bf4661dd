"""The most that a user lets be lost, by the figures of the evidence: what does not hold fails."""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from wieldy.core.errors import ConfigError
from wieldy.core.records import Evidence

Numbers = dict[str, Any]
Found = tuple[float, dict[str, Any] | None]  # a loss, and its interval where there is one
PERCENT = r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*"


class Figure(NamedTuple):
    """A loss that a floor may be put on.

    Attributes:
        kind: of the evidence that it is read from.
        words: what it is.
        read: takes it from that evidence's numbers.
        in_points: whether it is in points, hundredths of the metric's scale, or a share.
    """

    kind: str
    words: str
    read: Callable[[Numbers], Found]
    in_points: bool = False


def _gain(interval: Mapping[str, float]) -> Found:
    return interval["value"], dict(interval)


def _loss(interval: Mapping[str, float]) -> Found:
    """Return an interval of what was won as one of what was lost."""
    ends = {"value": -interval["value"], "low": -interval["high"], "high": -interval["low"]}
    return ends["value"], {**interval, **ends}


def _worst(found: Iterable[Found]) -> Found:
    return max(found, key=lambda pair: pair[0])


def _scores(n: Numbers) -> Iterable[Numbers]:
    return (row for of in n["sets"] for row in of["scores"])


def _certified(n: Numbers) -> Found:
    return max(row["original"] - row["package"] for row in n["rows"]), None


FIGURES = {
    "drop": Figure("metric", "points of the metric lost", lambda n: _gain(n["drop_points"]), True),
    "flips": Figure("predictions", "share of predictions changed", lambda n: _gain(n["flip_share"])),
    "class": Figure(
        "classes",
        "points lost by the worst class",
        lambda n: _worst(_loss(row["change_points"]) for row in n["classes"]),
        True,
    ),
    "slice": Figure(
        "slices",
        "points lost by the worst slice",
        lambda n: _worst(_loss(row["change_points"]) for row in n["slices"]),
        True,
    ),
    "ece": Figure("calibration", "growth of the calibration error", lambda n: _gain(n["change"])),
    "brier": Figure("calibration", "growth of the Brier score", lambda n: _gain(n["brier"]["change"])),
    "confidence": Figure(
        "confidence", "shift of the mean confidence, either way", lambda n: (abs(n["shift"]["value"]), None)
    ),
    "corruptions": Figure(
        "corruptions",
        "points lost under corruptions, on average",
        lambda n: _gain(n["mean"]["drop_points"]),
        True,
    ),
    "attacks": Figure(
        "attacks",
        "points of robust accuracy lost, at worst",
        lambda n: _worst(_gain(row["drop_points"]) for row in n["rows"]),
        True,
    ),
    "outside": Figure(
        "outside", "AUROC lost, at worst", lambda n: _worst(_loss(row["change"]) for row in _scores(n))
    ),
    "certified": Figure("bounds", "share of certified examples lost, at worst", _certified),
    "error": Figure(
        "outputs",
        "median relative error of an output, at worst",
        lambda n: (max(row["error"][0] for row in n["outputs"]), None),
    ),
    "runtime": Figure(
        "runtime", "difference between runtime and torch, relative", lambda n: (n["largest_relative"], None)
    ),
}


def parse_floor(text: str) -> tuple[str, str]:
    """Read a floor as the command line writes it.

    Raises:
        ConfigError: it is no `name=limit`, or one that is not known.

    Example:
        >>> parse_floor("flips=1%")
        ('flips', '1%')
    """
    name, equals, limit = text.partition("=")
    if not equals:
        raise ConfigError(f"floor: must be name=limit, such as flips=1%; got {text!r}.")
    limit_of(name.strip(), limit)
    return name.strip(), limit.strip()


def limit_of(name: str, limit: str | float) -> float:
    """Return a floor's limit as a number: points where its figure is in points, else a share.

    Example:
        >>> limit_of("flips", "1%"), limit_of("drop", "1%"), limit_of("drop", 0.5)
        (0.01, 1.0, 0.5)
    """
    if name not in FIGURES:
        near = get_close_matches(name, FIGURES, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(FIGURES)}."
        raise ConfigError(f"floors: there is no figure {name!r}. {hint}")
    found = re.fullmatch(PERCENT, str(limit))
    if not found:
        raise ConfigError(f"floors: {name} must be a number or a percentage, not below 0; got {limit!r}.")
    return float(found[1]) / (100 if found[2] and not FIGURES[name].in_points else 1)


def judged(evidence: tuple[Evidence, ...], limits: Mapping[str, float]) -> tuple[Evidence, ...]:
    """Return one piece of evidence for every floor; what was not measured is unknown, and fails it."""
    kinds = {item.kind: item for item in evidence}
    return tuple(_judged(kinds.get(FIGURES[name].kind), name, limit) for name, limit in limits.items())


def _judged(found: Evidence | None, name: str, limit: float) -> Evidence:
    figure = FIGURES[name]
    claim = f"{figure.words}: at most {limit:.4g}"
    if found is None or not found.measured:
        reason = "not applicable here" if found is None else str(found.numbers["reason"])
        numbers = {"figure": name, "limit": limit, "value": None}
        return Evidence(kind="floor", claim=claim, verdict="unknown", numbers=numbers, assumptions=(reason,))
    value, interval = figure.read(found.numbers)
    return Evidence(
        kind="floor",
        claim=claim,
        verdict="proved" if value <= limit else "refuted",
        numbers={"figure": name, "limit": limit, "value": value}
        | ({} if interval is None else {"interval": interval}),
        assumptions=("the verdict is on the measured value", f"measured for: {found.claim}"),
    )
