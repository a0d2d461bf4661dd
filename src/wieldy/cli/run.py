"""`wieldy run`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Json, Out, Replay
from wieldy.cli.terminal import Lines, Live, progress
from wieldy.core.errors import EXIT_MET, EXIT_VERDICT, ConfigError
from wieldy.core.ledger import PARTIAL
from wieldy.core.optional import need
from wieldy.core.records import RunRecord


def run(
    recipe: Annotated[Path, typer.Argument(help="A YAML file; see docs/recipes.md.")] = Path("wieldy.yaml"),
    budget: Annotated[
        list[str] | None, typer.Option(help="A goal instead of the recipe's, as latency=50% or bytes=90000.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Points that may be lost, instead of the recipe's.")
    ] = None,
    out: Out = Path("runs/run"),
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and for how long, and stop.")
    ] = False,
    replay: Replay = None,
    json: Json = False,
) -> int:
    """Shrink your own network by a recipe.

    Example: wieldy run examples/digits.yaml --out runs/digits

    Example: wieldy run --budget latency=50% --max-drop 0.5
    """
    need("torch", "compress", "wieldy run")
    from wieldy.flow.run import dry_run, run_recipe

    asked = goals(budget or [])
    if dry:
        facts, steps = dry_run(recipe, out, goals=asked, max_drop_points=max_drop)
        times = [(step.name, step.seconds) for step in steps]
        if json:
            show.as_json({"found": facts, "steps": [{"step": name, "seconds": of} for name, of in times]})
        else:
            print("\n".join(show.dry_lines(facts, times)))
        return EXIT_MET
    shown = progress()
    with pausing(out, shown):
        record = run_recipe(recipe, out, goals=asked, max_drop_points=max_drop, replay=replay, progress=shown)
    return finish(record, out, as_json=json)


def goals(given: list[str]) -> dict[str, str]:
    """Read `key=value` pairs.

    Example:
        >>> goals(["latency=50%"])
        {'latency': '50%'}
    """
    for text in given:
        if "=" not in text:
            raise ConfigError(f"--budget: must be key=value, such as latency=50%; got {text!r}.")
    return dict(text.split("=", 1) for text in given)


@contextmanager
def pausing(out: Path, shown: Live | Lines) -> Iterator[None]:
    """Where Ctrl-C stops a run, say how to go on with it."""
    try:
        yield
    except KeyboardInterrupt:
        from wieldy.train.ranks import Ranks

        if (out / PARTIAL).is_file() and Ranks().first:
            print(f"paused while {shown.step}; go on with: wieldy resume {out}", file=sys.stderr)
        raise


def finish(record: RunRecord, out: Path, *, as_json: bool) -> int:
    """Print a run's result and return its exit code; of several processes the first does."""
    from wieldy.train.ranks import Ranks

    if not Ranks().first:
        return EXIT_MET
    if as_json:
        show.as_json(show.summary(record, str(out)))
    else:
        print("\n".join(show.record_lines(record)))
        print(f"package {out / record.package.path}\nreport {out / 'report.html'}")
    return EXIT_MET if record.verdict == "met" else EXIT_VERDICT
