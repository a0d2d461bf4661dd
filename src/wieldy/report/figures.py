"""How figures are written on the page: few digits, a unit, and a true minus sign."""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from wieldy.core.errors import ConfigError
from wieldy.core.records import Interval

UNITS = {"_ms": " ms", "_bytes": " bytes", "_macs": " MACs", "_points": " points", "_s": " s"}
HUGE = 1e15
SPACE = "\u00a0"  # holds a figure and its unit on one line
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LONGEST_LIST = 12


def fixed(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """Write a number with a fixed number of decimals.

    Example:
        >>> fixed(-0.5), fixed(1.25, sign=True), fixed(-0.001)
        ('−0.50', '+1.25', '0.00')
    """
    if abs(value) >= HUGE:
        return ("+" if sign and value > 0 else "") + powers(value, 3)
    rounded = round(value, digits)
    mark = "−" if rounded < 0 else "+" if sign and rounded > 0 else ""
    return f"{mark}{abs(rounded):,.{digits}f}"


def figure(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits.

    Example:
        >>> figure(0.61951), figure(12345.6), figure(0.0000123), figure(0.5)
        ('0.620', '12,346', '1.23×10⁻⁵', '0.500')
    """
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value))) if math.isfinite(value) else 0
    return powers(value, digits) if size < -4 else fixed(value, max(0, digits - 1 - size))


def powers(value: float, digits: int) -> str:
    """Write a very small or very large number with a power of ten.

    Example:
        >>> powers(-1234567e12, 3)
        '−1.23×10¹⁸'
    """
    if not math.isfinite(value):
        return f"{value}"
    digit, power = f"{abs(value):.{digits - 1}e}".split("e")
    return f"{'−' if value < 0 else ''}{digit}×10{str(int(power)).translate(RAISED)}"


def milliseconds(value: float) -> str:
    """Write a time with its unit.

    Example:
        >>> milliseconds(0.0245)
        '0.0245\xa0ms'
    """
    return f"{figure(value)}{SPACE}ms"


def between(interval: Interval, digits: int = 2, scale: float = 1.0, unit: str = "") -> str:
    """Write an interval's two ends in brackets.

    Example:
        >>> between(Interval(value=0.9, low=0.85, high=0.95), scale=100, unit=" %", digits=1)
        '[85.0, 95.0] %'
    """
    return f"[{fixed(scale * interval.low, digits)}, {fixed(scale * interval.high, digits)}]{unit}"


def decimals(interval: Interval) -> int:
    """Return how many decimals show that the ends differ: 2, or 3 where they are close.

    Example:
        >>> [decimals(Interval(value=0.5, low=low, high=0.502)) for low in (0.4, 0.499)]
        [2, 3]
    """
    return 2 if interval.high - interval.low >= 0.015 else 3


def ratio(interval: Interval) -> str:
    """Write a ratio with its interval.

    Example:
        >>> ratio(Interval(value=0.48, low=0.47, high=0.49))
        '0.48 [0.47, 0.49]'
    """
    digits = decimals(interval)
    return f"{fixed(interval.value, digits)} {between(interval, digits)}"


def speedup(interval: Interval) -> str:
    """Write one over a ratio with its interval.

    Example:
        >>> speedup(Interval(value=0.5, low=0.4, high=0.8))
        '2.00× [1.25, 2.50]'
    """
    if interval.low <= 0:
        return "not defined"
    return f"{fixed(1 / interval.value)}× [{fixed(1 / interval.high)}, {fixed(1 / interval.low)}]"


def points(interval: Interval, *, sign: bool = False) -> str:
    """Write points of a metric with their interval.

    Example:
        >>> points(Interval(value=-0.3, low=-0.7, high=0.1), sign=True)
        '−0.30 [−0.70, +0.10]'
    """
    return around(interval, 2, sign=sign)


def shares(interval: Interval, digits: int = 2, *, sign: bool = False) -> str:
    """Write a share as a percentage with its interval.

    Example:
        >>> shares(Interval(value=0.0301, low=0.0269, high=0.0336))
        '3.01 [2.69, 3.36]\xa0%'
    """
    return f"{around(interval, digits, 100.0, sign=sign)}{SPACE}%"


def around(interval: Interval, digits: int = 4, scale: float = 1.0, *, sign: bool = False) -> str:
    """Write a figure with its interval.

    Example:
        >>> around(Interval(value=-0.0044, low=-0.012, high=0.0031), sign=True)
        '−0.0044 [−0.0120, +0.0031]'
    """
    value, low, high = (
        fixed(scale * end, digits, sign=sign) for end in (interval.value, interval.low, interval.high)
    )
    return f"{value} [{low}, {high}]"


def radius(epsilon: float) -> str:
    """Write the radius of an attack, in steps of 8-bit pixels where it is one.

    Example:
        >>> radius(8 / 255), radius(0.05)
        ('8/255', '0.05')
    """
    steps = round(255 * epsilon)
    return f"{steps}/255" if steps and math.isclose(255 * epsilon, steps) else f"{epsilon:.4g}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Write the first names and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], 2), listed(["a"])
        ('a, b and 1 more', 'a')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def size(count: int) -> str:
    """Write bytes in decimal units.

    Example:
        >>> size(512), size(36864), size(2830126)
        ('512\xa0B', '36.9\xa0kB', '2.83\xa0MB')
    """
    return f"{count}{SPACE}B" if count < 1000 else f"{short(count)}B"


def short(count: int) -> str:
    """Write a large count with a letter for thousands, millions or billions.

    Example:
        >>> short(290), short(36864), short(7225344)
        ('290', '36.9\xa0k', '7.23\xa0M')
    """
    for step, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= step:
            return f"{figure(count / step)}{SPACE}{letter}"
    return str(count)


def change(before: float, after: float) -> str:
    """Write how much a quantity fell or rose, in percent of what it was.

    Example:
        >>> change(200, 70), change(1, 1), change(0, 3)
        ('−65\xa0%', '0\xa0%', 'new')
    """
    if before == 0:
        return f"0{SPACE}%" if after == 0 else "new"
    return f"{fixed(100 * (after / before - 1), 0, sign=True)}{SPACE}%"


def percent(share: float, digits: int = 1) -> str:
    """Write a share as a percentage.

    Example:
        >>> percent(0.0123)
        '1.2\xa0%'
    """
    return f"{fixed(100 * share, digits)}{SPACE}%"


def chance(p_value: float) -> str:
    """Write a p-value.

    Example:
        >>> chance(0.0312), chance(1e-9)
        ('p = 0.031', 'p < 0.001')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def shape(sizes: tuple[int | None, ...]) -> str:
    """Write a shape; the free batch axis is N.

    Example:
        >>> shape((None, 32, 28, 28))
        'N×32×28×28'
    """
    return "×".join("N" if length is None else str(length) for length in sizes)


def file_name(path: str) -> str:
    """Return the last part of a path, whichever slashes it has.

    Example:
        >>> file_name("runs/demo/net.wieldy")
        'net.wieldy'
    """
    return PurePath(path.replace("\\", "/")).name or path


def label(key: str) -> tuple[str, str]:
    """Split a key into words and the unit that ends its name.

    Example:
        >>> label("max_drop_points"), label("latency_ratio"), label("learning_rate")
        (('max drop', ' points'), ('latency', ' of the original'), ('learning rate', ''))
    """
    if key.endswith("_ratio"):
        return key[: -len("_ratio")].replace("_", " "), " of the original"
    for ending, unit in UNITS.items():
        if key.endswith(ending):
            return key[: -len(ending)].replace("_", " "), unit
    return key.replace("_", " "), ""


def value(item: Any, name: str = "") -> str:
    """Write whatever a record holds as text.

    Example:
        >>> value(True), value(None), value(48000), value(0.1), value(["a", 2]), value(7, "seed")
        ('yes', 'none', '48,000', '0.1', 'a, 2', '7')
    """
    if isinstance(item, bool):
        return "yes" if item else "no"
    if item is None:
        return "none"
    if isinstance(item, int):
        return str(item) if name.endswith("seed") else f"{item:,}".replace("-", "−")
    if isinstance(item, float):
        return f"{item:.4g}".replace("-", "−")
    if isinstance(item, list | tuple):
        if not any(isinstance(part, list | tuple | Mapping) for part in item) and len(item) <= LONGEST_LIST:
            return ", ".join(value(part) for part in item) or "none"
        return f"{len(item)} entries"
    return str(item)


def pairs(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return words and text for every entry, nested ones as `outer: inner`; an Interval stays in one piece.

    Example:
        >>> pairs({"latency_ratio": 0.5, "fit": {"epochs": 3}})
        [('latency', '0.5 of the original'), ('fit: epochs', '3')]
    """
    found = []
    for key, item in mapping.items():
        words, unit = label(str(key))
        interval = as_interval(item)
        if interval is not None:
            found.append((prefix + words, f"{interval}{unit}"))
        elif isinstance(item, Mapping) and item:
            found.extend(pairs(item, f"{prefix}{words}: "))
        else:
            found.append((prefix + words, value(item, str(key)) + (unit if item is not None else "")))
    return found


def as_interval(item: Any) -> Interval | None:
    """Return the Interval that a dict holds, or None."""
    if not isinstance(item, Mapping) or not {"value", "low", "high"} <= set(item):
        return None
    try:
        return Interval(**item)
    except (ConfigError, TypeError):
        return None
