"""`wieldy report`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Json
from wieldy.core.errors import ConfigError
from wieldy.core.records import RunRecord

COMPARISON = Path("comparison.html")


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, which holds record.json.")],
    other: Annotated[Path | None, typer.Argument(help="Another run's, to be compared with it.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page that compares two. Default: comparison.html.")
    ] = None,
    json: Json = False,
) -> int:
    """Write a run's page again from its record, or compare two runs on one page.

    Example: wieldy report runs/demo
    """
    if other is not None:
        return _compared(folder, other, out or COMPARISON, as_json=json)
    if out is not None:
        raise ConfigError(f"--out: is for the page that compares two folders; got one, {folder}.")
    from wieldy.report.page import write_report

    path = write_report(read_record(folder), folder / "report.html")
    if json:
        show.as_json({"report": str(path), "markdown": str(path.with_suffix(".md"))})
    else:
        print(f"report {path}")
    return 0


def _compared(folder: Path, other: Path, out: Path, *, as_json: bool) -> int:
    from wieldy.report.compare import write_comparison

    first, second = ((str(path), read_record(path)) for path in (folder, other))
    made = write_comparison(first, second, out)
    if as_json:
        show.as_json({**made.values, "report": str(out), "markdown": str(out.with_suffix(".md"))})
    else:
        print("\n".join([*(f"not comparable: {caution}" for caution in made.cautions), f"report {out}"]))
    return 0


def read_record(folder: Path) -> RunRecord:
    """Return the record of a run.

    Raises:
        ConfigError: the folder holds none, or one that is damaged.
    """
    source = folder / "record.json"
    if not source.is_file():
        raise ConfigError(f"{folder}: holds no record.json. Name the folder of a run, such as runs/demo.")
    try:
        return RunRecord.from_json(source.read_bytes())
    except (ConfigError, OSError) as error:
        raise ConfigError(
            f"{source}: is no record of a run ({error!s:.200}). It was damaged or written by another "
            "version; run again, or name another folder."
        ) from None
