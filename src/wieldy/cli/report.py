"""`wieldy report`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Json
from wieldy.core.errors import ConfigError
from wieldy.core.records import RunRecord


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, which holds record.json.")],
    json: Json = False,
) -> int:
    """Write a run's page again from its record.

    Example: wieldy report runs/demo
    """
    from wieldy.report.page import write_report

    source = folder / "record.json"
    if not source.is_file():
        raise ConfigError(f"{folder}: holds no record.json. Name the folder of a run, such as runs/demo.")
    path = write_report(RunRecord.from_json(source.read_text(encoding="utf-8")), folder / "report.html")
    if json:
        show.as_json({"report": str(path)})
    else:
        print(f"report {path}")
    return 0
