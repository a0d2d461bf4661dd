"""Many runs of one recipe: budgets x methods x seeds, side by side on one machine or on a Ray cluster.

Every point is a run in a folder of its own. What is finished is never repeated; what was cut off goes on; a
point whose worker was lost is given to another. Workers train side by side and measure one at a time, under
the machine's lock, so figures do not depend on how many there are.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from wieldy.core import digest
from wieldy.core.config import Frozen
from wieldy.core.errors import ConfigError, InternalError, VerdictError, WieldyError
from wieldy.core.files import write_atomic
from wieldy.core.ledger import PARTIAL
from wieldy.core.optional import need
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import RunRecord
from wieldy.flow.mapping import located, read_mapping
from wieldy.flow.recipe import Recipe, asking, built, read_recipe
from wieldy.flow.run import Origin, follow, sources_of
from wieldy.flow.state import RECORD, prepared

POINTS, FAILED = "sweep.json", "failed.json"
ATTEMPTS = 3  # of points whose worker was lost
Backend = Literal["loky", "ray"]
ARRIVING: dict[Backend, str] = {"loky": "generator_unordered", "ray": "list"}  # ray's yields all at the end
State = Literal["met", "missed", "failed", "cut off", "waiting"]


class Sweep(Frozen):
    """What a sweep's file may say.

    Attributes:
        recipe: the recipe's file, relative to the sweep's.
        budgets: each instead of the recipe's goals; `max_drop_points` may be among them.
        methods: each instead of the recipe's `method`, or the word `plan` for the planner's own mix.
        seeds: each instead of the recipe's.
    """

    recipe: str
    budgets: tuple[dict[str, Any], ...] = Field(default=({},), min_length=1)
    methods: tuple[dict[str, Any] | Literal["plan"], ...] = Field(default=({},), min_length=1)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)


class Point(Frozen):
    """One run of a sweep: the folder that it has there, and how it is begun."""

    name: str
    origin: Origin


class Result(Frozen):
    """How one point stands."""

    name: str
    state: State
    ratio: float | None = None  # of the milliseconds
    drop_points: float | None = None
    bytes: int | None = None
    sha256: str = ""
    reason: str = ""  # why it failed


def read_sweep(path: Path) -> tuple[Point, ...]:
    """Read a sweep's file and return its points.

    Raises:
        ConfigError: it or its recipe cannot be used; names the line.
    """
    raw, lines = read_mapping(path)
    try:
        sweep = built(Sweep, raw)
        recipe = read_recipe(path.parent / sweep.recipe)
        return tuple(_points(sweep, recipe, (path.parent / sweep.recipe).parent.resolve()))
    except ConfigError as error:
        raise located(error, path, lines) if error.key else error from None


def _points(sweep: Sweep, recipe: Recipe, folder: Path) -> Iterator[Point]:
    for budget, method, seed in product(sweep.budgets, sweep.methods, sweep.seeds):
        goals = {key: value for key, value in budget.items() if key != "max_drop_points"}
        one = asking(recipe, goals, budget.get("max_drop_points"))
        chosen = {"plan": True, "method": {}} if method == "plan" else {"method": method, "plan": False}
        chosen["steps"] = ()
        one = one.model_copy(update={"seed": seed} | (chosen if method else {}))
        one.method_value(), one.planning_value(), one.stages()
        name = _name(one)
        command = f"wieldy sweep (point {name})"
        yield Point(
            name=name, origin=Origin(recipe=one.model_dump(), folder=str(folder), title=name, command=command)
        )


def _name(recipe: Recipe) -> str:
    """Return a folder's name that says what the point is; a digest tells apart what it leaves out."""
    goals = "-".join(f"{key}{value}" for key, value in recipe.budget.items() if key != "max_drop_points")
    method = "mix" if recipe.plan else str(recipe.method.get("name", "default"))
    words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{method}-{goals}-seed{recipe.seed}").strip("-")
    return f"{words}-{digest.of_value(recipe.model_dump())[:6]}"


def sweep(
    points: Sequence[Point],
    out: Path,
    *,
    jobs: int = 1,
    backend: Backend = "loky",
    replay: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Result, ...]:
    """Run the points of a sweep that are not finished, and return how all of them stand.

    Args:
        points: what `read_sweep` returned.
        out: a folder for all of them; it must be one that every worker sees.
        jobs: workers; times each one's threads they should not be more than there are cores.
        backend: loky, for processes on this machine, or ray, for a cluster that this process joined.
        replay: an earlier sweep, whose measurements of points of the same names are read back.

    Raises:
        DependencyError: ray is asked for and not installed.
        InternalError: workers were lost again and again.
    """
    joblib = need("joblib", "compress", "wieldy sweep")
    if backend == "ray":
        need("ray", "ray", "--backend ray")
        need("ray.util.joblib", "ray", "--backend ray").register_ray()
    names = {"points": [point.name for point in points]}
    write_atomic(prepared(out) / POINTS, (json.dumps(names, indent=1) + "\n").encode())
    with (progress or Silent()).task("runs of the sweep", len(points)) as task:
        task.advance(len(points) - len(_unfinished(points, out)))
        for attempt in range(ATTEMPTS):
            left = _unfinished(points, out)
            if not left:
                break
            try:
                with joblib.parallel_config(backend=backend, n_jobs=jobs):
                    parallel = joblib.Parallel(return_as=ARRIVING[backend])
                    calls = (joblib.delayed(run_point)(point, out, replay) for point in left)
                    for name in parallel(calls):
                        task.advance(1, name)
            except WieldyError:
                raise
            except Exception as error:  # whatever a backend says of a worker that is gone
                if attempt == ATTEMPTS - 1:
                    raise InternalError(f"sweep: workers were lost {ATTEMPTS} times: {error}") from error
                task.advance(0, f"a worker was lost ({type(error).__name__}); its points begin again")
    return status(out)


def _unfinished(points: Sequence[Point], out: Path) -> list[Point]:
    return [point for point in points if state_of(out / point.name).state in ("waiting", "cut off")]


def run_point(point: Point, out: Path, replay: Path | None) -> str:
    """Run one point into its folder, or go on with it, and return its name.

    That it cannot meet its budget is a result, too.
    """
    folder = out / point.name
    earlier = replay / point.name if replay else None
    try:
        resumed = (folder / PARTIAL).is_file()
        replayed = None if resumed else earlier
        follow(point.origin, *sources_of(point.origin), folder, replay=replayed, resumed=resumed)
    except VerdictError as error:
        write_atomic(prepared(folder) / FAILED, json.dumps({"reason": str(error)}).encode())
    return point.name


def state_of(folder: Path) -> Result:
    """Return how the point in a folder stands."""
    if (folder / PARTIAL).is_file() and not (folder / FAILED).is_file():
        return Result(name=folder.name, state="cut off")
    if (folder / RECORD).is_file():
        record = RunRecord.from_json((folder / RECORD).read_text(encoding="utf-8"))
        numbers: Mapping[str, Any] = record.evidence[0].numbers
        return Result(
            name=folder.name, state=record.verdict, ratio=record.timing.ratio.value,
            drop_points=numbers["drop_points"]["value"], bytes=record.package.bytes,
            sha256=record.package.sha256,
        )  # fmt: skip
    if (folder / FAILED).is_file():
        reason = json.loads((folder / FAILED).read_text(encoding="utf-8"))["reason"]
        return Result(name=folder.name, state="failed", reason=reason)
    return Result(name=folder.name, state="waiting")


def status(out: Path) -> tuple[Result, ...]:
    """Return how every point of a sweep stands.

    Raises:
        ConfigError: the folder holds no sweep.
    """
    if not (out / POINTS).is_file():
        raise ConfigError(f"{out}: holds no sweep. Name the folder that --out named.")
    names = json.loads((out / POINTS).read_text(encoding="utf-8"))["points"]
    return tuple(state_of(out / name) for name in names)
