"""`wieldy bench`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Batch, Json, Threads, Tier
from wieldy.cli.terminal import progress
from wieldy.core.errors import ConfigError
from wieldy.core.optional import need
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.timing import PROCESSES, ROUNDS


def bench(
    first: Annotated[Path, typer.Argument(help="A package, or an OpenVINO .xml, that the ratio divides by.")],
    second: Annotated[Path | None, typer.Argument(help="The package, or .xml, that is compared.")] = None,
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Time what would make FIRST faster: channels, zeros.")
    ] = False,
    threads: Threads = None,
    batch: Batch = None,
    tier: Tier = None,
    rounds: Annotated[
        int, typer.Option(help="How often both run in turns, in each process.", min=2)
    ] = ROUNDS,
    processes: Annotated[int, typer.Option(help="How many, one after another.", min=1)] = PROCESSES,
    precision: Annotated[str, typer.Option(help="Of the second: f32 or bf16. The first is f32.")] = "f32",
    json: Json = False,
) -> int:
    """Time two saved networks against each other, in turns, in processes of their own.

    Example: wieldy bench runs/demo/original.wieldy runs/demo/small.wieldy --tier avx2

    Example: wieldy bench --what-if runs/demo/original.wieldy
    """
    if what_if:
        return _what_if(first, second, threads=threads, batch=batch, tier=tier, json=json)
    if second is None:
        raise ConfigError("bench: takes two networks to compare, or one with --what-if.")
    timing = measure(
        Subject(first), Subject(second, precision), threads=threads, batch=batch, tier=tier, rounds=rounds,
        processes=processes, progress=progress(),
    )  # fmt: skip
    if json:
        show.as_json(timing.model_dump())
    else:
        print("\n".join(show.timing_lines(timing, first.name, second.name)))
    return 0


def _what_if(
    path: Path, second: Path | None, *, threads: int | None, batch: int | None, tier: str | None, json: bool
) -> int:
    if second is not None:
        raise ConfigError("bench: --what-if takes one network; two were given.")
    need("torch", "compress", "wieldy bench --what-if")
    from wieldy.plan.what_if import what_if

    found = what_if(path, threads=threads, batch=batch, tier=tier, progress=progress())
    if json:
        show.as_json([item.model_dump() | {"gains": item.gains} for item in found])
    else:
        print("\n".join(show.what_if_lines(found, path.name)))
    return 0
