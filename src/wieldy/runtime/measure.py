"""Measuring saved files: torch-free processes of their own, alone on the machine, at a named tier."""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wieldy.core import digest, errors, lock
from wieldy.core.errors import ConfigError, InternalError, NotAPackageError
from wieldy.core.ledger import Ledger
from wieldy.core.optional import need
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import LayerTime, Timing
from wieldy.graph.cost_table import CostTable
from wieldy.kernels.native import native
from wieldy.package.read import Package, read
from wieldy.runtime.costs import keep_table, kept_table
from wieldy.runtime.engine import refuse_dynamic_threads
from wieldy.runtime.integers import precision_words
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import CAP, CAPS, check_precision, check_tier, cpu_name, current_tier, without_cap
from wieldy.runtime.timing import PROCESSES, ROUNDS, over_processes

DISTURBED = 1.1  # over what is usual: others are on the machine
PAUSE_SECONDS = 4.0  # before a process more is asked
PATIENCE = 12  # processes
PATIENCE_OF_USER = "WIELDY_PATIENCE"  # instead of any other: machines that are never quiet do not wait


def patience(processes: int = PATIENCE) -> int:
    """Return how many more processes a run may ask because others were on the machine.

    Args:
        processes: where $WIELDY_PATIENCE does not say.

    Raises:
        ConfigError: $WIELDY_PATIENCE is no whole number.
    """
    text = os.environ.get(PATIENCE_OF_USER, str(processes))
    if not text.strip().isdecimal():
        raise ConfigError(
            f"{PATIENCE_OF_USER}: must be a whole number of processes, 0 for none; got {text!r}. Unset it to "
            f"have {processes}."
        )
    return int(text)


@dataclass
class Quiet:
    """What the original takes while nobody else is on the machine: shared by the measurements of a run.

    Others slow two sides down unlike. Where a virtual machine's two cores lie far apart for minutes, and one
    waits longer for what the other wrote, a network with zeros takes 1.7 times as long and its original 1.2
    times, although on one thread neither does.

    Attributes:
        ms: the least median so far.
        patience: how many more processes may be asked in all because others were on the machine.
        progress: is shown the waiting.
    """

    ms: float = math.inf
    patience: int = field(default_factory=patience)
    progress: Progress = field(default_factory=Silent, compare=False)

    def disturbed(self, original_ms: float) -> bool:
        """Whether others were there."""
        return original_ms > DISTURBED * self.ms

    def asks_again(self, answers: Sequence[dict[str, Any]], processes: int) -> bool:
        """Whether fewer processes than asked for were alone, and there is patience for another."""
        alone = sum(not self.disturbed(answer["original_ms"]) for answer in answers)
        return alone < processes and self.patience > 0


@dataclass(frozen=True)
class Subject:
    """What is timed: a package (or an OpenVINO .xml as a reference) at a precision."""

    path: Path
    precision: str = "f32"


def measure(
    original: Subject,
    small: Subject,
    *,
    threads: int | None = None,
    batch: int | None = None,
    tier: str | None = None,
    rounds: int = ROUNDS,
    processes: int = PROCESSES,
    quiet: Quiet | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> Timing:
    """Time two saved files against each other and return the paired ratio with its interval.

    Args:
        original, small: the ratio is milliseconds of `small` over milliseconds of `original`.
        threads: default: all cores that this process may use.
        batch: default: 1, or where `original` takes less than 0.4 ms, the smallest power of two at
            which it takes 2 ms.
        tier: cap the instruction set, e.g. "avx2"; default: what this process uses.
        rounds: how often both are run in turns, as A B B A, in each process.
        processes: how many, one after another; ratios differ more between processes than within.
        quiet: what `original` takes while nobody else is on the machine. For a process in which it takes a
            tenth more another is asked, after a pause and while there is patience, and the quietest count.
        ledger: a figure that it holds is read back instead of being measured again.

    Raises:
        PackageError: a file is no sound package.
        TierError: this CPU lacks the tier, or the tier a precision.
        ConfigError: threads, batch, rounds or processes out of range, or OMP_DYNAMIC set.

    Cost: for each process about a second, and the time of `4 * rounds` blocks of 8 ms or one call.
    """
    tier = tier or current_tier()
    precisions = [_precision(subject, tier) for subject in (original, small)]
    task = _timing_task("compare", (original, small), threads, batch, rounds)
    sides = [_identity(original), _identity(small)]
    key = task | {"sides": sides, "tier": tier, "processes": _whole("processes", processes)}

    def timed() -> dict[str, Any]:
        return _merged(_asked(task, tier, processes, progress, quiet)) | {"cpu": cpu_name()}

    found = (ledger or Ledger(None)).remember("timing", key, timed)  # the CPU's name too: replays have others
    if quiet:
        quiet.ms = min(quiet.ms, found["original_ms"])
    return Timing(
        **found,
        rounds=rounds,
        processes=processes,
        threads=task["threads"],
        tier=tier,
        original_precision=precisions[0],
        small_precision=precisions[1],
    )


def measure_beside(
    others: Sequence[Subject],
    small: Subject,
    *,
    threads: int | None = None,
    batch: int = 1,
    tier: str | None = None,
    rounds: int = ROUNDS,
    processes: int = PROCESSES,
) -> list[Timing]:
    """Time one saved file against each of several others, pair by pair, in the same processes.

    Arguments and errors are those of `measure`.

    Cost: as `measure` for each pair, but `small` is compiled once.
    """
    tier = tier or current_tier()
    *of_others, of_small = [_precision(subject, tier) for subject in (*others, small)]
    task = _timing_task("beside", (*others, small), threads, batch, rounds)
    answers = [answer["pairs"] for answer in _asked(task, tier, processes)]
    return [
        Timing(
            **_merged(found),
            rounds=rounds,
            processes=processes,
            threads=task["threads"],
            batch=batch,
            tier=tier,
            original_precision=of_other,
            small_precision=of_small,
            cpu=cpu_name(),
        )
        for of_other, found in zip(of_others, zip(*answers, strict=True), strict=True)
    ]


def _timing_task(
    name: str, subjects: Sequence[Subject], threads: int | None, batch: int | None, rounds: int
) -> dict[str, Any]:
    return {
        "task": name,
        "sides": [_side(subject) for subject in subjects],
        "threads": _whole("threads", usable_cores() if threads is None else threads),
        "batch": None if batch is None else _whole("batch", batch),
        "rounds": _whole("rounds", rounds),
    }


def layer_times(
    subjects: Sequence[Subject], *, threads: int, batch: int, tier: str, ledger: Ledger | None = None
) -> list[tuple[LayerTime, ...]]:
    """Return, for each saved file, the median milliseconds of every operation that the runtime executes.

    All run in turns in one process. The counters themselves cost time, so a sum is somewhat above the
    network's own figure.
    """
    for subject in subjects:
        _opened(subject)
    task = {"task": "layers", "sides": list(map(_side, subjects)), "threads": threads, "batch": batch}
    key = task | {"sides": list(map(_identity, subjects)), "tier": tier}
    found = (ledger or Ledger(None)).remember("layers", key, lambda: _ask(task, tier))
    return [tuple(LayerTime(**layer) for layer in side) for side in found["sides"]]


def measured_costs(*, threads: int, tier: str, again: bool = False) -> CostTable:
    """Return the cost table of this machine for a tier, measured now unless it was before.

    Args:
        threads, tier: what it holds for.
        again: measure even if there is one.

    Raises:
        KernelError: the compiled kernels are missing.
        TierError: this CPU lacks the tier.

    Cost: about a minute; kept in the user's cache.
    """
    table = None if again else kept_table(tier, threads)
    if table and table.knows_levels:
        return table
    native()
    need("scipy.optimize", "compress", "fitting a cost table")
    return keep_table(_ask({"task": "costs", "sides": [], "threads": threads}, tier), tier, threads)


def _asked(
    task: dict[str, Any], tier: str, processes: int, progress: Progress | None = None,
    quiet: Quiet | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Ask one process after another; the batch that the first one chooses holds for all.

    `quiet`: see `measure`; the quietest answers are returned.
    """
    answers: list[dict[str, Any]] = []

    def ask() -> None:
        chosen = {"batch": answers[0].get("batch", task["batch"])} if answers else {}
        answers.append(_ask(task | chosen, tier))

    with (progress or Silent()).task("timing in turns", processes) as shown:
        for _ in range(processes):
            ask()
            shown.advance(1)
    if not quiet:
        return answers
    if quiet.asks_again(answers, processes):
        with quiet.progress.task("timing again: others are on the machine", quiet.patience) as shown:
            while quiet.asks_again(answers, processes):
                quiet.patience -= 1
                time.sleep(PAUSE_SECONDS)
                ask()
                shown.advance(1)
    return sorted(answers, key=lambda of: float(of["original_ms"]))[:processes]


def _merged(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one figure of what processes found of a pair."""
    if len(answers) == 1:
        return answers[0]
    medians = {
        name: statistics.median(answer[name] for answer in answers) for name in ("original_ms", "small_ms")
    }
    ratio = over_processes([answer["ratio"]["value"] for answer in answers])
    return answers[0] | medians | {"ratio": ratio.model_dump()}


def _identity(subject: Subject) -> list[str]:
    """What makes a subject this one and no other: the contents of its files, and its precision."""
    weights = subject.path.with_suffix(".bin") if subject.path.suffix == ".xml" else None
    files = [subject.path] + ([weights] if weights and weights.is_file() else [])
    return [*map(digest.of_file, files), subject.precision]


def _opened(subject: Subject) -> Package | None:
    """Return a package, so that a bad one is refused here and now and not after waiting for the machine."""
    if not subject.path.is_file():
        raise NotAPackageError(f"{subject.path}: is no file. Check the path.")
    return None if subject.path.suffix == ".xml" else read(subject.path)


def _side(subject: Subject) -> dict[str, str]:
    return {"path": str(subject.path.resolve()), "precision": subject.precision}


def _precision(subject: Subject, tier: str) -> str:
    package = _opened(subject)
    return precision_words(package, tier, subject.precision) if package else subject.precision


def _whole(name: str, value: int) -> int:
    if value < 1:
        raise ConfigError(f"{name}: must be at least 1; got {value}.")
    return value


def _ask(task: dict[str, Any], tier: str) -> dict[str, Any]:
    """Run the child under the lock and return its answer, or raise the error that it names."""
    check_tier(tier)
    for side in task["sides"]:
        check_precision(side["precision"], tier)
    environment = without_cap(os.environ)
    refuse_dynamic_threads()
    if tier in CAPS:
        environment[CAP] = CAPS[tier]
    with lock.measuring() as files:
        done = subprocess.run(
            [sys.executable, "-m", "wieldy.runtime.child"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            pass_fds=files,
        )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise InternalError(
            f"timing process: ended with {done.returncode} and no answer.\n{done.stderr}"
        ) from None
    if "error" in answer:
        kind = getattr(errors, answer["error"])
        raise kind(answer["message"])
    return answer
