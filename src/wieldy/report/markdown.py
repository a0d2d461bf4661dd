"""The report in Markdown: the same sections, from the same readers as the page."""

from wieldy.core.records import RunRecord
from wieldy.report import marks
from wieldy.report.marks import bullets, text
from wieldy.report.parts import Table
from wieldy.report.sections import Sections, View, sections

NOTHING = "The record lists nothing. That does not mean that everything was tested."


def markdown(record: RunRecord) -> str:
    """Return the report of a run in Markdown (GitHub's, with tables).

    Args:
        record: what the run found.

    Returns:
        Every figure and every claim of the page; nothing that the record holds can become markup.

    Cost: less than a second.
    """
    return written(sections(record))


def written(of: Sections) -> str:
    """Return sections in Markdown."""
    parts = [*_verdict(of), *_trade_off(of), *_times(of.times), *_same(of.same), *_layers(of.layers)]
    parts += [*_files(of.files), *_card(of.files, "###"), *_reproduce(of.reproduce)]
    return "\n\n".join(parts) + "\n"


def model_card(of: Sections) -> str:
    """Return the model card in Markdown: its use, data and limits, and what nobody tested."""
    verdict = of.verdict
    parts = [
        f"# {text(of.title)}",
        f"**Budget {_met(verdict)}.** {_gain(verdict)}",
        bullets(verdict["reasons"]),
        marks.tiles(verdict["tiles"]),
        "## Measured on",
        marks.facts(verdict["conditions"]),
        *_files(of.files),
        *_card(of.files, "##"),
        *_not_tested(verdict),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _met(verdict: View) -> str:
    return "met" if verdict["met"] else "missed"


def _gain(verdict: View) -> str:
    return text(f"{verdict['ratio']} {verdict['interval']} {verdict['sentence']}.")


def _verdict(of: Sections) -> list[str]:
    verdict = of.verdict
    parts = [
        f"# {text(of.title)}",
        f"**Budget {_met(verdict)}.** {_gain(verdict)}",
        bullets(verdict["reasons"]) or "The record names no reason.",
        marks.tiles(verdict["tiles"]),
    ]
    if verdict["floors"]:
        rows = [(f["words"], f["claim"], f["measured"]) for f in verdict["floors"]]
        parts += ["## Floors that you set", marks.grid(("Floor", "Claim", "Figure"), rows)]
    parts += _not_tested(verdict)
    parts += ["## Measured on", marks.facts(verdict["conditions"])]
    if verdict["switches"]:
        parts.append("## What a switch alone gains")
        parts.append(
            bullets(
                f"{s['name']}: {s['words']} ({s['times']}); {s['compared']}." for s in verdict["switches"]
            )
        )
    return parts


def _not_tested(verdict: View) -> list[str]:
    return ["## What was not tested", bullets(verdict["not_tested"]) or NOTHING]


def _trade_off(of: Sections) -> list[str]:
    view = of.trade_off or of.mixed
    if view is None:
        return ["## Trade-off", "Not applicable: the run measured no candidates."]
    chosen = f"Chosen: {view['chosen']} of the milliseconds." if view["chosen"] else "None was chosen."
    goal = f"The goal was {view['goal']}." if view["goal"] else "The budget names no time."
    return ["## Trade-off", f"{text(chosen)} {text(goal)}", marks.table(view["table"])]


def _times(view: View | None) -> list[str]:
    if view is None:
        return ["## Where the time went", "Not applicable: the record holds no times of single layers."]
    words = f"Together {view['sums'][0]} → {view['sums'][1]} ({view['change']})."
    if view["slow"]:
        words += f" No gain on this CPU: {', '.join(view['slow'])}."
    return ["## Where the time went", text(words), marks.table(view["table"])]


def _same(view: View) -> list[str]:
    parts = ["## Is it still the same model?"]
    for card in view["cards"]:
        parts += marks.card(card)
    if view["absent"]:
        rows = [(item.title, item.badge, item.reason) for item in view["absent"]]
        parts += ["### Not looked into", marks.grid(("Question", "", "Why"), rows)]
    return parts


def _layers(view: View) -> list[str]:
    parts = ["## Layers"]
    if view["table"] is None:
        parts.append("Not applicable: the record lists no layers.")
    else:
        columns = view["table"].columns
        form = "".join("r" if column.is_figure else "l" for column in columns)
        rows = [
            [f"{cell.before} → {cell.after}" if cell.after else cell.before for cell in cells]
            for cells in view["table"].rows
        ]
        parts += [text(f"MACs of the whole network: {view['macs']}.")]
        parts += [marks.grid([column.head for column in columns], rows, form)]
    parts += ["### Changed", _filled(view["changes"], "The record lists no change.")]
    return [*parts, "### Left alone, and why", _filled(view["refused"], "No layer was refused.")]


def _filled(table: Table, otherwise: str) -> str:
    return marks.table(table) if table.rows else otherwise


def _files(view: View) -> list[str]:
    parts = ["## Files"]
    for card in view["cards"]:
        rows = [("File", card["name"]), *(fact[:2] for fact in card["facts"]), ("SHA-256", card["sha256"])]
        parts.append(marks.facts(rows, (card["kind"], "")))
    return parts


def _card(view: View, level: str) -> list[str]:
    """Return use, data and limits, under headings of a level."""
    return [
        f"{level} Use",
        text(view["use"]),
        f"{level} Data",
        marks.facts(view["data"]) if view["data"] else "The record does not describe the data.",
        f"{level} Limits",
        bullets(view["limits"]) or "The record names none; that is no proof that there are none.",
    ]


def _reproduce(view: View) -> list[str]:
    parts = ["## Reproduce"]
    if view["commands"]:
        parts.append(marks.block(view["commands"], "sh"))
    parts.append(marks.block([view["reload"]], "python"))
    settings = [("seed", f"{view['seed']}"), *view["budget"]]
    named = {"Seed and budget": settings, "Method": view["method"], "Eight bits": view["quantize"]}
    for name, rows in (named | {"Environment": view["environment"]}).items():
        if rows:
            parts += [f"### {name}", marks.facts(rows)]
    return parts
