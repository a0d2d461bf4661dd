"""Is a sweep the same through joblib's processes and through a Ray cluster, even if a worker is killed?

    python benchmarks/sweeps.py [--jobs 2] [--out DIR]

Six points of the recipe of kills.py on one thread (two budgets, three seeds): through processes; through Ray,
with the measurements of the first replayed; and through Ray again, replayed, with a worker killed as soon as
one point has ended and another has begun. Packages and accuracies must be equal, and no point that had ended
may be touched. Leaves with 1 where one is not. Writes sweeps.json. Needs ray.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from importance import commit
from kills import small_recipe

from wieldy.core.errors import EXIT_MET, EXIT_VERDICT
from wieldy.core.files import write_atomic
from wieldy.core.ledger import PARTIAL
from wieldy.core.optional import need
from wieldy.flow.state import RECORD, prepared
from wieldy.flow.sweep import POINTS, Result, status
from wieldy.runtime.environment import environment
from wieldy.runtime.session import usable_cores

WIELDY = Path(sys.executable).with_name("wieldy")
SWEEP = """
recipe: recipe.yaml
budgets: [{latency: 90%}, {latency: 70%}]
seeds: [0, 1, 2]
"""
WORKER = b"ray::"  # how Ray names a process that works
PATIENCE_S = 900


def main() -> int:
    """Sweep three times and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    need("ray", "ray", "this benchmark")
    with tempfile.TemporaryDirectory() as folder:
        small_recipe(Path(folder), more="threads: 1\n")
        file = Path(folder) / "sweep.yaml"
        file.write_text(SWEEP, encoding="utf-8")
        places = {name: Path(folder) / name for name in ("joblib", "ray", "ray, a worker killed")}
        first, second, third = places.values()
        swept = [*map(str, (WIELDY, "sweep", file, "--jobs", asked.jobs))]
        seconds = [ran([*swept, "--out", str(first)])]
        through_ray = [*swept, "--backend", "ray", "--replay", str(first), "--out"]
        seconds.append(ran([*through_ray, str(second)]))
        touched, took_s = ran_with_a_kill([*through_ray, str(third)], third)
        results = {name: status(out) for name, out in places.items()}
    equal = all(figures(of) == figures(results["joblib"]) for of in results.values())
    found = {
        "points": [result.model_dump() for result in results["joblib"]], "jobs": asked.jobs, "equal": equal,
        "ended_points_touched": touched, "seconds": dict(zip(results, [*seconds, took_s], strict=True)),
        "commit": commit(), "environment": environment(usable_cores()),
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    write_atomic(prepared(asked.out) / "sweeps.json", (json.dumps(found, indent=1) + "\n").encode())
    return EXIT_MET if equal and not touched else EXIT_VERDICT


def figures(results: tuple[Result, ...]) -> list[Any]:
    """Return what must be equal of a sweep."""
    return [(of.name, of.sha256, of.drop_points) for of in results if of.sha256]


def ran(command: list[str]) -> float:
    """Run a sweep to its end and return how long it took."""
    start = time.perf_counter()
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def ran_with_a_kill(command: list[str], out: Path) -> tuple[list[str], float]:
    """Kill a worker in the middle; return the ended points that were touched after it, and the time."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        while not (ended := _ended(out)) or not list(out.glob(f"*/{PARTIAL}")):
            if running.poll() is not None or time.perf_counter() - start > PATIENCE_S:
                raise SystemExit("the sweep ended before a worker could be killed")
            time.sleep(0.05)
        os.kill(busy_worker(), signal.SIGKILL)
    return [path.parent.name for path, at in ended.items() if path.stat().st_mtime_ns != at], (
        time.perf_counter() - start
    )


def _ended(out: Path) -> dict[Path, int]:
    """Return the records of the points that ended, and when they were written."""
    points = status(out) if (out / POINTS).is_file() else ()
    files = [out / point.name / RECORD for point in points if point.state in ("met", "missed")]
    return {path: path.stat().st_mtime_ns for path in files}


def busy_worker() -> int:
    """Return a process of Ray's that works on a point right now: the one that has computed most."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            name = (path / "cmdline").read_bytes()
            if name.startswith(WORKER) and b"IDLE" not in name:
                facts = (path / "stat").read_text().rpartition(")")[2].split()
                found[int(path.name)] = int(facts[11])
    return max(found, key=lambda pid: found[pid])


if __name__ == "__main__":
    raise SystemExit(main())
