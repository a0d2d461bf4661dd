"""Two records side by side: what differs, by how much, and whether their figures may be compared at all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wieldy.core.files import write_atomic
from wieldy.core.records import RunRecord
from wieldy.report import marks
from wieldy.report.contrast import cautions, charts, settings_apart
from wieldy.report.figures import figure, value
from wieldy.report.page import filled
from wieldy.report.parts import Card, Drawings, Fact, Table, Tile
from wieldy.report.sameness import MARKS, arranged
from wieldy.report.sections import Sections, sections

Named = tuple[str, RunRecord]  # by what the record is called, such as its folder
NOTHING = "–"
DIFFERENCE = "B less A"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is said of two records, A and B.

    Attributes:
        names: what they are called.
        sides: what each says of itself.
        cautions: why figures may not be compared; none where they may.
        figures: the figures that matter most.
        charts: each with its title and a sentence.
        evidence: a card for each question that either answers.
        settings: what was asked for or measured otherwise; all else is alike.
    """

    names: tuple[str, str]
    sides: tuple[Sections, Sections]
    cautions: tuple[str, ...]
    figures: Table
    charts: tuple[tuple[str, str, Drawings], ...]
    evidence: tuple[Card, ...]
    settings: Table
    values: Mapping[str, Any]


def write_comparison(first: Named, second: Named, path: str | Path) -> Comparison:
    """Write what two runs differ in as one HTML file, and as Markdown beside it.

    Args:
        first, second: each with the name that it has on the page.
        path: the HTML file; the Markdown has the same name and ends in `.md`.

    Returns:
        What was written.

    Raises:
        DependencyError: Jinja2 is not installed.
        StorageError: a file cannot be written.

    Cost: a second at most; about 100 kB.
    """
    path, made = Path(path), compare(first, second)
    page = filled("compare.html.j2", title=title(made), of=made, rows=arranged(made.evidence), marks=MARKS)
    write_atomic(path, page.encode("utf-8", "replace"))
    write_atomic(path.with_suffix(".md"), markdown(made).encode("utf-8", "replace"))
    return made


def compare(first: Named, second: Named) -> Comparison:
    """Return what two records differ in; `values` holds it as JSON does."""
    names, records = (first[0], second[0]), (first[1], second[1])
    sides = (sections(records[0]), sections(records[1]))
    figures = _figures(*(side.verdict["tiles"] for side in sides))
    questions = list(_questions(*sides))
    settings = list(settings_apart(*records))
    caveats = tuple(cautions(*records))
    return Comparison(
        names=names,
        sides=sides,
        cautions=caveats,
        figures=_table("Figures of both", figures),
        charts=tuple(charts(*records)),
        evidence=tuple(question.card() for question in questions),
        settings=_settings(settings),
        values={
            "names": list(names),
            "verdicts": [record.verdict for record in records],
            "comparable": not caveats,
            "cautions": list(caveats),
            "figures": [_as_json(row) for row in figures],
            "evidence": [
                {"question": q.title, "verdicts": list(q.verdicts), "figures": list(map(_as_json, q.rows))}
                for q in questions
            ],
            "settings": [{"name": name, "a": a, "b": b} for name, a, b in settings],
        },
    )


def _settings(apart: Sequence[tuple[str, Any, Any]]) -> Table:
    rows = tuple((name, _setting(name, a), _setting(name, b)) for name, a, b in apart)
    return Table("Settings that differ", ("Setting", "A", "B"), "lpp", rows)


def _setting(name: str, item: Any) -> str:
    return NOTHING if item is None or item == "" else value(item, name)


def title(of: Comparison) -> str:
    """Return what a comparison is called."""
    return f"{of.names[0]} against {of.names[1]}"


Row = tuple[str, Fact, Fact]  # a figure of both; the name of a missing one is empty


def _figures(first: Sequence[Tile], second: Sequence[Tile]) -> list[Row]:
    facts = [
        [
            Fact(t.name, f"{t.figure} {t.ends}".strip() + (f" ({t.note})" if t.note else ""), t.value)
            for t in side
        ]
        for side in (first, second)
    ]
    return _paired(*facts)


def _paired(first: Sequence[Fact], second: Sequence[Fact]) -> list[Row]:
    """Match facts by their names, in the order of the first record."""
    rest = {fact.name: fact for fact in second}
    rows = [(fact.name, fact, rest.pop(fact.name, Fact("", NOTHING))) for fact in first]
    return rows + [(fact.name, Fact("", NOTHING), fact) for fact in rest.values()]


def _table(name: str, rows: Sequence[Row]) -> Table:
    cells = tuple((name, a.words, b.words, _difference(a.value, b.value)) for name, a, b in rows)
    return Table(name, ("Figure", "A", "B", DIFFERENCE), "pppr", cells)


def _difference(first: float | None, second: float | None) -> str:
    if first is None or second is None:
        return ""
    apart = second - first
    return ("+" if apart > 0 else "−" if apart < 0 else "") + figure(abs(apart))


def _as_json(row: Row) -> dict[str, Any]:
    name, a, b = row
    return {
        "name": name,
        "a": a.words if a.value is None else a.value,
        "b": b.words if b.value is None else b.value,
        "difference": None if a.value is None or b.value is None else b.value - a.value,
    }


@dataclass(frozen=True, slots=True)
class Question:
    """What both records say on one question: their verdicts, their claims, and figures of both."""

    name: str
    title: str
    verdicts: tuple[str, str]
    claims: tuple[str, str]
    rows: list[Row]

    def card(self) -> Card:
        """Return it as the page shows it."""
        both = zip("AB", self.verdicts, strict=True)
        words = " · ".join(" ".join((side, *MARKS.get(verdict, ""), verdict)) for side, verdict in both)
        claims = list(dict.fromkeys(claim for claim in self.claims if claim))
        tables = (_table(self.title, self.rows),) if self.rows else ()
        return Card(name=self.name, title=self.title, tag=words, claim="; ".join(claims), tables=tables)


def _questions(first: Sections, second: Sections) -> Iterator[Question]:
    cards = [{_key(card): card for card in side.same["cards"] if card.verdict} for side in (first, second)]
    for index, key in enumerate(dict.fromkeys([*cards[0], *cards[1]]), 1):
        pair = [side.get(key) for side in cards]
        known = next(card for card in pair if card)
        a, b = (card.verdict if card else "not measured" for card in pair)
        claims = [card.claim if card else "" for card in pair]
        rows = _paired(*(_facts(card) for card in pair))
        yield Question(f"question-{index}", known.title, (a, b), (claims[0], claims[1]), rows)
    floors = [
        [Fact(floor["claim"], f"{floor['words']} ({floor['measured']})") for floor in side.verdict["floors"]]
        for side in (first, second)
    ]
    if any(floors):
        a, b = (_word(side) for side in (first, second))
        yield Question("question-floors", "Floors", (a, b), ("", ""), _paired(*floors))


def _key(card: Card) -> str:
    """Return what two records call the same question."""
    return card.title if card.name.startswith("same-other") else card.name


def _word(side: Sections) -> str:
    """Return a word for all floors of a record."""
    verdicts = [floor["verdict"] for floor in side.verdict["floors"]]
    return ("all met" if set(verdicts) == {"proved"} else "failed") if verdicts else "none set"


def _facts(card: Card | None) -> list[Fact]:
    if card is None:
        return []
    return [*(Fact(tile.name, tile.figure, tile.value) for tile in card.tiles), *card.facts, *card.told]


def markdown(of: Comparison) -> str:
    """Return a comparison in Markdown."""
    parts = [f"# {marks.text(title(of))}"]
    parts += [
        f"- {side}: {_side(*pair)}"
        for side, pair in zip("AB", zip(of.names, of.sides, strict=True), strict=True)
    ]
    if of.cautions:
        parts += ["## Not comparable as they stand", marks.bullets(of.cautions)]
    parts += ["## Figures", marks.table(of.figures), "## Evidence, side by side"]
    for card in of.evidence:
        parts += [f"### {marks.text(card.title)}: {marks.text(card.tag)}", marks.text(card.claim)]
        parts += map(marks.table, card.tables)
    parts.append("## Settings that differ")
    parts.append(marks.table(of.settings) if of.settings.rows else "None.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _side(name: str, side: Sections) -> str:
    verdict = side.verdict
    met = "met" if verdict["met"] else "missed"
    words = (
        f"{name} ({side.title}): budget {met}, {verdict['ratio']} {verdict['interval']} {verdict['sentence']}"
    )
    return marks.text(words)
