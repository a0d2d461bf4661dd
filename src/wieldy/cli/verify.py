"""`wieldy verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wieldy.cli import show
from wieldy.cli.figures import evidence_lines
from wieldy.cli.options import Json, Seed
from wieldy.cli.terminal import progress
from wieldy.core.errors import EXIT_MET, EXIT_VERDICT, ConfigError
from wieldy.core.optional import need

if TYPE_CHECKING:
    from wieldy.flow.verify import Subject

BINDING = ("metric", "runtime")  # what fails the verb where it is refuted; of the rest, only floors do


def verify(
    package: Annotated[Path, typer.Argument(help="A package, or the folder of a finished run.")],
    against: Annotated[
        Path | None, typer.Option(help="The original package; a run's folder has its own.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="file.py:function that returns wieldy.Data, or a built-in set.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Points of the metric that may be lost. Default: the run's, or 1.", min=0),
    ] = None,
    floor: Annotated[
        list[str] | None, typer.Option(help="The most that may be lost of a figure, such as flips=1%.")
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(help="Test examples to corrupt and to attack each. Default: 60.", min=0, max=1000),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Measure again whether a package still behaves like its original.

    Leaves with 1 where more points are lost than allowed, runtime and torch disagree, or a floor does not
    hold.

    Example: wieldy verify small.wieldy --against original.wieldy --data fashion-mnist-subset

    Example: wieldy verify runs/demo --floor flips=5% --floor class=3
    """
    need("torch", "compress", "wieldy verify")
    from wieldy.assure.equivalence import examine

    subject = _subject(package, against, data)
    checks = subject.checks.asking(floor or [])
    if examples is not None:
        checks = checks.model_copy(update={"corruptions": examples, "attacks": examples})
    allowed = subject.max_drop_points if max_drop is None else max_drop
    evidence = examine(
        subject.package, subject.original, subject.data,
        max_drop_points=allowed, checks=checks, seed=seed, progress=progress(),
    )  # fmt: skip
    if json:
        show.as_json([item.model_dump() for item in evidence])
    else:
        print("\n".join(evidence_lines(evidence)))
    failed = [item for item in evidence if item.kind in BINDING and item.verdict == "refuted"]
    failed += [item for item in evidence if item.kind == "floor" and item.verdict != "proved"]
    return EXIT_VERDICT if failed else EXIT_MET


def _subject(package: Path, against: Path | None, data: str | None) -> "Subject":
    """Return what is examined: a run's folder says all of it, a package nothing."""
    from wieldy.assure.checks import Checks
    from wieldy.flow.sources import load_data
    from wieldy.flow.verify import Subject, of_run

    if package.is_dir():
        if against is not None or data is not None:
            raise ConfigError(
                f"{package}: a run's folder has its own original and data. Leave out --against and --data."
            )
        return of_run(package)
    if against is None or data is None:
        raise ConfigError(
            f"{package}: a package needs --against ORIGINAL and --data SPEC; a run's folder needs neither."
        )
    return Subject(package, against, load_data(data, Path()), 1.0, Checks())
