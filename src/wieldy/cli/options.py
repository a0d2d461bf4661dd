"""Options that several verbs share, declared once."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads of the runtime. Default: all usable cores.", min=1)
]
Tier = Annotated[str | None, typer.Option(help="Cap the instruction set, e.g. avx2. Default: the CPU's own.")]
Batch = Annotated[
    int | None,
    typer.Option(help="Examples per call. Default: 1, or more where 1 is too quick to time.", min=1),
]
Out = Annotated[Path, typer.Option(help="Folder for packages, evidence, record and page.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is random.", min=0)]
Replay = Annotated[
    Path | None, typer.Option(help="Folder of an earlier run whose measurements are read back.")
]
PackagePath = Annotated[Path, typer.Argument(help="A package, such as small.wieldy.")]
