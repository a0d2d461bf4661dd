"""`wieldy demo`."""

from pathlib import Path

from wieldy.cli.options import Json, Out, Replay, Seed, Threads
from wieldy.cli.run import finish, pausing
from wieldy.cli.terminal import progress
from wieldy.core.optional import need


def demo(
    out: Out = Path("runs/demo"),
    seed: Seed = 0,
    threads: Threads = None,
    replay: Replay = None,
    json: Json = False,
) -> int:
    """Shrink the embedded network to half its milliseconds, on the embedded pictures.

    Example: wieldy demo --out runs/demo
    """
    need("torch", "compress", "wieldy demo")
    from wieldy.flow.run import demo as run_demo

    shown = progress()
    with pausing(out, shown):
        record = run_demo(out, threads=threads, seed=seed, replay=replay, progress=shown)
    return finish(record, out, as_json=json)
