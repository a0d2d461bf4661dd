"""A record, read once: what every section says, for the page and for its Markdown."""

from dataclasses import dataclass
from typing import Any

from wieldy.core.records import RunRecord
from wieldy.report import view
from wieldy.report.evidence import sort_evidence
from wieldy.report.sameness import sameness

View = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sections:
    """What each section says; None where the record holds nothing for it."""

    title: str
    verdict: View
    trade_off: View | None
    mixed: View | None
    times: View | None
    same: View
    layers: View
    files: View
    reproduce: View


def sections(record: RunRecord) -> Sections:
    """Return what every section says about a record."""
    found = sort_evidence(record.evidence)
    same = sameness(record, found)
    return Sections(
        title=record.title or "Untitled run",
        verdict=view.verdict(record, found, same["cards"]),
        trade_off=view.trade_off(record),
        mixed=view.mixed(record),
        times=view.times(record),
        same=same,
        layers=view.layers(record),
        files=view.files(record, found),
        reproduce=view.reproduce(record),
    )
