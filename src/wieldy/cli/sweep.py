"""`wieldy sweep`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from wieldy.cli import show
from wieldy.cli.options import Json, Replay
from wieldy.cli.terminal import progress
from wieldy.core.errors import EXIT_MET, EXIT_VERDICT, ConfigError
from wieldy.core.optional import need


def sweep(
    file: Annotated[Path | None, typer.Argument(help="A YAML file; see docs/sweeps.md.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for all runs.")] = Path("runs/sweep"),
    jobs: Annotated[int, typer.Option(help="Runs side by side.", min=1)] = 1,
    backend: Annotated[str, typer.Option(help="loky: processes here. ray: a cluster.")] = "loky",
    status: Annotated[bool, typer.Option("--status", help="Say how all runs stand, and stop.")] = False,
    replay: Replay = None,
    json: Json = False,
) -> int:
    """Run one recipe with many budgets, methods and seeds; finished runs are never repeated.

    Example: wieldy sweep examples/sweep.yaml --out runs/sweep --jobs 2

    Example: wieldy sweep --status --out runs/sweep
    """
    need("torch", "compress", "wieldy sweep")
    from wieldy.flow import sweep as flow

    if backend not in ("loky", "ray"):
        raise ConfigError(f"--backend: must be loky or ray; got {backend!r}.")
    if not status and file is None:
        raise ConfigError("sweep: name a file, or ask for --status.")
    if status or file is None:
        found = flow.status(out)
    else:
        points = flow.read_sweep(file)
        kind: Any = backend
        found = flow.sweep(points, out, jobs=jobs, backend=kind, replay=replay, progress=progress())
    if json:
        show.as_json([result.model_dump() for result in found])
    else:
        print("\n".join(show.sweep_lines([result.model_dump() for result in found])))
    return EXIT_MET if all(result.state == "met" for result in found) else EXIT_VERDICT
