"""`wieldy verify`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Json, PackagePath, Seed
from wieldy.core.errors import EXIT_MET, EXIT_VERDICT
from wieldy.core.optional import need

FLOORS = ("drop_points", "largest_relative")  # what fails the verb; everything else is shown


def verify(
    package: PackagePath,
    against: Annotated[Path, typer.Option(help="The original package.")],
    data: Annotated[str, typer.Option(help="file.py:function that returns wieldy.Data, or a built-in set.")],
    max_drop: Annotated[float, typer.Option(help="Points of the metric that may be lost.", min=0)] = 1.0,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Measure again whether a package still behaves like its original.

    Leaves with 1 where more points are lost than allowed, or runtime and torch disagree.

    Example: wieldy verify small.wieldy --against original.wieldy --data fashion-mnist-subset
    """
    need("torch", "compress", "wieldy verify")
    from wieldy.assure.equivalence import examine
    from wieldy.flow.sources import load_data

    evidence = examine(package, against, load_data(data, Path()), max_drop_points=max_drop, seed=seed)
    if json:
        show.as_json([item.model_dump() for item in evidence])
    else:
        print("\n".join(show.evidence_lines(evidence)))
    failed = [
        item for item in evidence if item.verdict == "refuted" and any(key in item.numbers for key in FLOORS)
    ]
    return EXIT_VERDICT if failed else EXIT_MET
