"""What the page, its Markdown and a comparison are made of: facts, tables, pictures and cards, as values."""

from dataclasses import dataclass, replace
from typing import NamedTuple

Drawings = list[tuple[str, str]]  # a chart for each width of screen


class Fact(NamedTuple):
    """A figure by its name, in words; `value` as the words say it, where two records' can be subtracted."""

    name: str
    words: str
    value: float | None = None


class Tile(NamedTuple):
    """A large figure: its name, its interval or unit, and a note below; `value` as in a `Fact`."""

    name: str
    figure: str
    ends: str
    note: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        name: what it holds, for those who hear it.
        heads: of the columns.
        form: a letter for each column: `l`, `r` for figures, `p` for words that may wrap.
        rows: the first cell of each names it.
        picked: which row stands out.
        summary: what unfolds it; without one it is not folded.
    """

    name: str
    heads: tuple[str, ...]
    form: str
    rows: tuple[tuple[str, ...], ...]
    picked: int | None = None
    summary: str = ""

    def folded(self, summary: str) -> "Table":
        """Return the same table behind a line that unfolds it."""
        return replace(self, summary=summary)


@dataclass(frozen=True, slots=True)
class Picture:
    """A test example as a picture.

    Attributes:
        source: a data URI of a PNG.
        alternative: what a person who cannot see it hears.
        lines: what stands below it.
        outcome: `fixed`, `broken` or `wrong`, where both networks are.
    """

    source: str
    alternative: str
    lines: tuple[str, ...]
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One question with its answer.

    Attributes:
        name: stands once on a page.
        claim: in words, with its verdict; a card that claims nothing has a `tag` instead.
        legend: whether the chart shows original and package side by side.
        told: facts that a table of the card shows already, for a comparison.
        raw: figures that were not recognised, as JSON.
        is_wide: whether it takes the whole width of the page.
    """

    name: str
    title: str
    claim: str = ""
    verdict: str = ""
    tag: str = ""
    tiles: tuple[Tile, ...] = ()
    charts: tuple[Drawings, ...] = ()
    legend: bool = False
    facts: tuple[Fact, ...] = ()
    told: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    raw: str = ""
    assumptions: tuple[str, ...] = ()
    digests: tuple[tuple[str, str], ...] = ()
    is_wide: bool = False


class Absent(NamedTuple):
    """A question that nobody answered: `not tested` or `not applicable`, and why."""

    name: str
    title: str
    badge: str
    reason: str
