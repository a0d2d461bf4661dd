"""The page: a record in, one offline HTML file out, and the same in Markdown beside it."""

from dataclasses import fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from wieldy.core.files import write_atomic
from wieldy.core.optional import need
from wieldy.core.records import RunRecord
from wieldy.core.version import VERSION
from wieldy.report.markdown import model_card, written
from wieldy.report.sections import Sections, sections

PARTS = (
    "page.html.j2", "compare.html.j2", "shell.html.j2", "parts.html.j2", "same.html.j2", "rest.html.j2",
    "page.css", "page.js",
)  # fmt: skip


def write_report(record: RunRecord, path: str | Path) -> Path:
    """Write the report of a run as one HTML file that opens from disk, and as Markdown beside it.

    The same record gives the same bytes. Nothing on the page comes from anywhere but the record.

    Args:
        record: what the run found.
        path: the HTML file; the Markdown has the same name and ends in `.md`. An existing file is replaced
            only when the new one is complete.

    Returns:
        `path`.

    Raises:
        DependencyError: Jinja2 is not installed.
        StorageError: the disk is full, or the folder is missing or read-only.

    Cost: a second at most; some hundred kilobytes, and the pictures that flipped.
    """
    path, parts = Path(path), sections(record)
    write_atomic(path, filled("page.html.j2", **_fields(parts)).encode("utf-8", "replace"))
    write_atomic(path.with_suffix(".md"), written(parts).encode("utf-8", "replace"))
    return path


def render(record: RunRecord) -> str:
    """Return the page's HTML; every text of the record is escaped, charts escape their own."""
    return filled("page.html.j2", **_fields(sections(record)))


def _fields(parts: Sections) -> dict[str, Any]:
    named = {field.name: getattr(parts, field.name) for field in fields(parts)}
    return named | {"model_card": model_card(parts)}


def filled(template: str, **values: Any) -> str:
    """Return a template with its values, every text of them escaped.

    Raises:
        DependencyError: Jinja2 is not installed.
    """
    templates = _templates(need("jinja2", "compress", "the report"))
    page: str = templates.get_template(template).render(version=VERSION, **values)
    return page


@cache
def _templates(jinja2: Any) -> Any:
    """Return all templates, read and compiled once."""
    folder = resources.files("wieldy.report")
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in PARTS}
    return jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.DictLoader(sources),
        trim_blocks=True,
        lstrip_blocks=True,
    )
