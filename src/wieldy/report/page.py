"""The page: a record in, one offline HTML file out."""

from importlib import resources
from pathlib import Path

from wieldy.core.files import write_atomic
from wieldy.core.optional import need
from wieldy.core.records import RunRecord
from wieldy.core.version import VERSION
from wieldy.report import view
from wieldy.report.evidence import sort_evidence
from wieldy.report.sameness import sameness

PARTS = ("page.html.j2", "parts.html.j2", "same.html.j2", "rest.html.j2", "page.css", "page.js")


def write_report(record: RunRecord, path: str | Path) -> Path:
    """Write the report of a run as one HTML file that opens from disk.

    The same record gives the same bytes. Nothing on the page comes from anywhere but the record.

    Args:
        record: what the run found.
        path: the file; an existing one is replaced only when the new one is complete.

    Returns:
        `path`.

    Raises:
        DependencyError: Jinja2 is not installed.
        StorageError: the disk is full, or the folder is missing or read-only.

    Cost: some milliseconds; about 150 kB.
    """
    path = Path(path)
    write_atomic(path, render(record).encode("utf-8", "replace"))
    return path


def render(record: RunRecord) -> str:
    """Return the page's HTML; every text of the record is escaped, charts escape their own."""
    jinja2 = need("jinja2", "compress", "the report")
    folder = resources.files("wieldy.report")
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in PARTS}
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.DictLoader(sources),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = sort_evidence(record.evidence)
    page: str = environment.get_template("page.html.j2").render(
        title=record.title,
        version=VERSION,
        verdict=view.verdict(record, found),
        trade_off=view.trade_off(record),
        mixed=view.mixed(record),
        times=view.times(record),
        same=sameness(record, found),
        layers=view.layers(record),
        files=view.files(record),
        reproduce=view.reproduce(record),
    )
    return page
