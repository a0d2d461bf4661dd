"""What charts are drawn from: elements, scales, ticks and axes. Colours are the page's."""

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

TEXT = 12.0  # height of letters, in units of the drawing
SMALL = 11.0
LEAST, MOST = 1e-14, 1e300  # of a step between ticks; the least also as a share of the values


def tag(name: str, *inside: str, **attributes: str | float) -> str:
    """Return an element; `class_` names its class, underscores become hyphens, text must be escaped already.

    Example:
        >>> tag("line", x1=0, x2=1.2345, stroke_width=2)
        '<line x1="0" x2="1.23" stroke-width="2"/>'
    """
    written = "".join(f" {_attribute(key)}={_quoted(value)}" for key, value in attributes.items())
    return f"<{name}{written}>{''.join(inside)}</{name}>" if inside else f"<{name}{written}/>"


def _attribute(key: str) -> str:
    return "viewBox" if key == "viewBox" else key.rstrip("_").replace("_", "-")


def _quoted(value: str | float) -> str:
    return quoteattr(clean(value) if isinstance(value, str) else f"{round(value, 2):g}")


def clean(text: str) -> str:
    """Replace control characters, which XML does not allow."""
    return "".join("�" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text)


def text(words: str, x: float, y: float, class_: str = "", anchor: str = "start") -> str:
    """Return a line of text at its baseline."""
    return tag("text", escape(clean(words)), x=x, y=y, class_=f"t {class_}".strip(), text_anchor=anchor)


def titled(title: str, *inside: str, class_: str = "") -> str:
    """Return a group that shows `title` where the pointer rests on it."""
    return tag("g", tag("title", escape(clean(title))), *inside, class_=f"mark {class_}".strip())


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def dot(x: float, y: float, radius: float, class_: str) -> str:
    """Return a circle."""
    return tag("circle", cx=x, cy=y, r=radius, class_=class_)


def bar(x: float, y: float, width: float, height: float, class_: str) -> str:
    """Return a bar that is never thinner than a hair."""
    return tag("rect", x=x, y=y, width=max(width, 0.75), height=height, rx=1.5, class_=class_)


def path(points: list[tuple[float, float]], class_: str) -> str:
    """Return a line through points."""
    return tag("polyline", points=" ".join(f"{x:.2f},{y:.2f}" for x, y in points), class_=class_)


def drawing(width: float, height: float, words: str, *inside: str) -> str:
    """Return a whole drawing with a sentence for those who cannot see it."""
    return tag(
        "svg",
        *inside,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=words,
        class_="chart",
        style=f"max-width:{width:g}px",
    )


def shorten(words: str, room: float) -> str:
    """Cut the start of a name that is wider than `room`; layers differ at their ends.

    Example:
        >>> shorten("stage1.0.conv1", 70), shorten("bn", 70)
        ('…0.conv1', 'bn')
    """
    if extent(words) <= room:
        return words
    start = next((k for k in range(len(words)) if extent("…" + words[k:]) <= room), len(words) - 1)
    return "…" + words[start:]


def extent(words: str, height: float = TEXT) -> float:
    """Return about how wide a line of text is, in the widest of the system fonts."""
    return height * sum(_share(letter) for letter in words)


def _share(letter: str) -> float:
    """The width of a letter over its height."""
    if unicodedata.east_asian_width(letter) in ("W", "F"):
        return 1.05
    if letter in "mwMW@%<>&+=~…—→−×":
        return 1.0
    return 0.78 if letter.isupper() else 0.64


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from data to the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where `value` lies; values outside are held at the ends."""
        span = (self.high - self.low) or 1.0
        share = (value - self.low) / span if math.isfinite(span) else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round values within [low, high], `count` of them or some more.

    Example:
        >>> ticks(0, 1.05, 5)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = (high - low) or 1.0
    finest = span / (count + 2)
    if not LEAST < finest < MOST or abs(low) > finest / LEAST:
        return []  # no step that a float holds
    power = 10.0 ** math.floor(math.log10(finest))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= finest * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def axes(
    x: Scale, y: Scale, names: tuple[str, str], forms: tuple[Callable[[float], str], Callable[[float], str]]
) -> str:
    """Return grid, tick labels and the names of both axes; the vertical one stands above its axis."""
    parts = [text(names[1], 2, TEXT, "dim"), text(names[0], x.end, y.start + 34, "dim", "end")]
    for value in ticks(y.low, y.high):
        parts.append(line(x.start, y(value), x.end, y(value), "grid"))
        parts.append(text(forms[1](value), x.start - 7, y(value) + 4, "dim", "end"))
    for value in ticks(x.low, x.high, 5 if abs(x.end - x.start) > 250 else 4):
        if forms[0](value):  # an axis may have no word for some values, such as half an epoch
            parts.append(line(x(value), y.start, x(value), y.start + 4, "axis"))
            parts.append(text(forms[0](value), x(value), y.start + 17, "dim", "middle"))
    parts.append(line(x.start, y.start, x.end, y.start, "axis"))
    return "".join(parts)
