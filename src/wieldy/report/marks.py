"""Text, tables and cards in Markdown; nothing that a record holds can become markup."""

import re
from collections.abc import Iterable, Sequence

from wieldy.report.parts import Card, Fact, Table, Tile
from wieldy.report.svg import clean

INTERVAL = r"\[[-−+0-9., ]+\](?![(\[:])"  # stays as it is: it can be no link
MARKUP = re.compile(INTERVAL + r"|[\\`*\[\]{}|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
TAGS = re.compile(r"<(?=[A-Za-z/!?])|&(?=#|[A-Za-z])")  # what can begin a tag or a reference to a character
START = re.compile(r"^([#+=>-]|\d+[.)](?=\s|$))")  # what means something at the start of a line
ENTITY = {"<": "&lt;", "&": "&amp;"}


def inline(words: str) -> str:
    r"""Write words within a line so that they are read as they stand.

    Example:
        >>> print(inline("a|b <b>&amp;</b>"), inline("0.5 [0.4, 0.6]"), inline("[a](b) jit_avx512"))
        a\|b &lt;b>&amp;amp;&lt;/b> 0.5 [0.4, 0.6] \[a\](b) jit_avx512
    """
    line = clean(" ".join(words.split()))
    line = TAGS.sub(lambda found: ENTITY[found[0]], line)
    return MARKUP.sub(lambda found: found[0] if len(found[0]) > 1 else f"\\{found[0]}", line)


def text(words: str) -> str:
    r"""Write words that begin a line.

    Example:
        >>> print(text("# p < 0.05"), text("1. and 1.5"))
        \# p < 0.05 1\. and 1.5
    """
    return START.sub(_guarded, inline(words))


def _guarded(found: re.Match[str]) -> str:
    mark = found[1]
    return f"\\{mark}" if len(mark) == 1 else f"{mark[:-1]}\\{mark[-1]}"


def block(lines: Iterable[str], language: str = "") -> str:
    """Write lines of code, inside more backticks than they hold."""
    body = "\n".join(clean(part) for line in lines for part in line.splitlines() or [""])
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, 1 + longest)
    return f"{fence}{language}\n{body}\n{fence}"


def bullets(items: Iterable[str]) -> str:
    """Write a list."""
    return "\n".join(f"- {text(item)}" for item in items)


def grid(heads: Sequence[str], rows: Iterable[Sequence[str]], form: str = "") -> str:
    """Write a table; `form` as in a `Table`."""
    form = form or "l" * len(heads)
    lines = [_row(heads), "|" + "|".join(" ---: " if letter == "r" else " --- " for letter in form) + "|"]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(inline(cell) or " " for cell in cells) + " |"


def table(of: Table) -> str:
    """Write a table; what stands out on the page says so in words."""
    return grid(of.heads, of.rows, of.form)


def facts(rows: Iterable[Fact | tuple[str, str]], heads: Sequence[str] = ("Figure", "Value")) -> str:
    """Write facts as a table of two columns."""
    return grid(heads, [row[:2] for row in rows])


def tiles(rows: Iterable[Tile]) -> str:
    """Write large figures as a table."""
    return grid(("Figure", "Value", ""), [(t.name, f"{t.figure} {t.ends}".strip(), t.note) for t in rows])


def card(of: Card) -> list[str]:
    """Return the paragraphs of a card; charts and pictures stay with the page, their tables do not."""
    head = f"### {inline(of.title)}" + (f": {of.verdict}" if of.verdict else "")
    parts = [head, text(of.claim)]
    if of.tiles:
        parts.append(tiles(of.tiles))
    if of.facts:
        parts.append(facts(of.facts))
    parts += [text(note) for note in of.notes]
    parts += [table(one) for one in of.tables]
    if of.raw:
        parts.append(block(of.raw.splitlines(), "json"))
    if of.verdict:
        parts.append(f"Assumes: {text('; '.join(of.assumptions) or 'nothing was written down')}.")
    return [part for part in parts if part]
