"""`wieldy bench`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Batch, Json, Threads, Tier
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.timing import ROUNDS


def bench(
    first: Annotated[Path, typer.Argument(help="A package, or an OpenVINO .xml, that the ratio divides by.")],
    second: Annotated[Path, typer.Argument(help="The package, or .xml, that is compared with it.")],
    threads: Threads = None,
    batch: Batch = None,
    tier: Tier = None,
    rounds: Annotated[int, typer.Option(help="How often both run in turns.", min=2)] = ROUNDS,
    precision: Annotated[str, typer.Option(help="Of the second: f32 or bf16. The first is f32.")] = "f32",
    json: Json = False,
) -> int:
    """Time two saved networks against each other, in turns, in a process of their own.

    Example: wieldy bench runs/demo/original.wieldy runs/demo/small.wieldy --tier avx2
    """
    timing = measure(
        Subject(first), Subject(second, precision), threads=threads, batch=batch, tier=tier, rounds=rounds
    )
    if json:
        show.as_json(timing.model_dump())
    else:
        print("\n".join(show.timing_lines(timing, first.name, second.name)))
    return 0
