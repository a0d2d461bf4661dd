"""`wieldy run`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Json, Out, Replay
from wieldy.cli.terminal import progress
from wieldy.core.errors import EXIT_MET, EXIT_VERDICT
from wieldy.core.optional import need
from wieldy.core.records import RunRecord


def run(
    recipe: Annotated[Path, typer.Argument(help="A YAML file; see docs/recipes.md.")],
    out: Out = Path("runs/run"),
    replay: Replay = None,
    json: Json = False,
) -> int:
    """Shrink your own network by a recipe.

    Example: wieldy run examples/digits.yaml --out runs/digits
    """
    need("torch", "compress", "wieldy run")
    from wieldy.flow.run import run_recipe

    record = run_recipe(recipe, out, replay=replay, progress=progress())
    return finish(record, out, as_json=json)


def finish(record: RunRecord, out: Path, *, as_json: bool) -> int:
    """Print a run's result and return its exit code."""
    if as_json:
        show.as_json(show.summary(record, str(out)))
    else:
        print("\n".join(show.record_lines(record)))
        print(f"package {out / record.package.path}\nreport {out / 'report.html'}")
    return EXIT_MET if record.verdict == "met" else EXIT_VERDICT
