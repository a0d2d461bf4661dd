"""Measuring and examining the saved files of a run, and what is written down of it."""

from collections.abc import Iterable
from typing import Any

from wieldy.assure.equivalence import examine
from wieldy.core.data import Data
from wieldy.core.files import write_atomic
from wieldy.core.records import (
    Change,
    Epoch,
    Evidence,
    NetworkCard,
    Plan,
    Refused,
    RunRecord,
    Timing,
)  # fmt: skip
from wieldy.flow.state import EVIDENCE, NOT_TESTED, ORIGINAL, PACKAGE, PAGE, RECORD, Account, Run
from wieldy.graph.cost import layer_costs, total_macs, total_parameters
from wieldy.methods.registry import settings_of
from wieldy.package.read import Package, read
from wieldy.plan.budget import Budget
from wieldy.report.page import write_report
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, layer_times, measure
from wieldy.runtime.tier import has_bf16


def beside(accounted: Account, more: Iterable[Change | Refused]) -> Account:
    """Return an account with what another step did."""
    changes, refused = accounted
    items = tuple(more)
    return (
        (*changes, *(item for item in items if isinstance(item, Change))),
        (*refused, *(item for item in items if isinstance(item, Refused))),
    )


def write_record(run: Run, plan: Plan, accounted: Account) -> RunRecord:
    """Measure and examine the saved files, and write record, evidence and page beside them.

    `accounted` is what became of every layer.
    """
    original, package = read(run.folder / ORIGINAL), read(run.folder / PACKAGE)
    first, second = Subject(original.path), Subject(package.path)
    evidence = examine(
        package.path, original.path, run.data, max_drop_points=run.budget.max_drop_points, checks=run.checks,
        seed=run.seed, progress=run.progress,
    )  # fmt: skip
    with run.progress.task("measuring the saved files", 4) as task:
        switches = switch_gains(run, first, second)
        task.advance()
        assert run.batch is not None  # execute settled it
        times = layer_times(
            [first, second], threads=run.threads, batch=run.batch, tier=run.tier, ledger=run.ledger
        )
        task.advance()
        # last: some CPUs are slower just after training
        timing = measure(first, second, quiet=run.quiet, **run.settings)
        task.advance(1, f"{timing.ratio} of the milliseconds")
        record = assemble(run, plan, original, package, timing, evidence, accounted)
        record = record.model_copy(
            update={"switches": switches, "times_original": times[0], "times_package": times[1]}
        )
        write_atomic(run.folder / EVIDENCE, _evidence_json(package, evidence))
        write_atomic(run.folder / RECORD, record.model_dump_json(indent=1).encode())
        write_report(record, run.folder / PAGE)
        task.advance()
    return record


def switch_gains(run: Run, original: Subject, package: Subject) -> tuple[tuple[str, Timing], ...]:
    """Time what a switch alone gains: bf16, where the tier has it, on both networks."""
    if not has_bf16(run.tier):
        return ()
    names = (("original in bf16", original.path), ("package in bf16", package.path))
    return tuple(
        (name, measure(original, Subject(path, "bf16"), quiet=run.quiet, **run.settings))
        for name, path in names
    )


def assemble(
    run: Run, plan: Plan, original: Package, package: Package, timing: Timing, evidence: tuple[Evidence, ...],
    accounted: Account,
) -> RunRecord:  # fmt: skip
    """Put the record together and pass the verdict."""
    cards = card(original), card(package)
    changes, refused = accounted
    sound, reasons = verdict(run.budget, timing, cards, evidence)
    return RunRecord(
        title=run.title,
        verdict="met" if sound else "missed",
        reasons=reasons,
        budget=run.budget.model_dump(exclude_none=True),
        method=plan.method,
        quantize=settings_of(run.quantize) if run.quantize else {},
        seed=run.seed,
        original=cards[0],
        package=cards[1],
        timing=timing,
        candidates=plan.candidates,
        mixes=plan.mixes,
        layers_original=tuple(layer_costs(original.program)),
        layers_package=tuple(layer_costs(package.program)),
        changes=changes,
        refused=refused,
        recovery=_epochs(run),
        evidence=evidence,
        data=_data_facts(run.data),
        environment=environment(run.threads),
        reproduce=run.reproduce,
        not_tested=NOT_TESTED,  # what evidence leaves open, it says itself
    )


def verdict(
    budget: Budget, timing: Timing, cards: tuple[NetworkCard, NetworkCard], evidence: tuple[Evidence, ...]
) -> tuple[bool, tuple[str, ...]]:
    """Return whether every goal is met, and one sentence for each."""
    first, second = cards
    shaped = budget.reached(timing, (first.macs, second.macs), (first.bytes, second.bytes))
    metric = evidence[0]
    drop = metric.numbers["drop_points"]
    shares = f"{second.macs / first.macs:.1%} of the MACs, {second.bytes / first.bytes:.1%} of the bytes"
    reasons: tuple[str, ...] = (
        f"Asked: {budget.goals()}. Measured: {timing.ratio} of the milliseconds, {shares}: {_word(shaped)}.",
        f"Asked: at most {budget.max_drop_points:g} points of {metric.numbers['metric']} lost. Measured: "
        f"{drop['value']:.2f} [{drop['low']:.2f}, {drop['high']:.2f}] points on "
        f"{metric.numbers['examples']:,} test examples: {_word(metric.verdict == 'proved')}.",
    )
    floors = [item for item in evidence if item.kind == "floor"]
    reasons += tuple(f"Asked: {item.claim}. {_measured(item)}." for item in floors)
    sound = metric.verdict == "proved" and all(item.verdict == "proved" for item in floors)
    return shaped and sound, reasons


def _measured(floor: Evidence) -> str:
    value = floor.numbers["value"]
    word = _word(floor.verdict == "proved")
    return f"Not measured: {word}" if value is None else f"Measured: {value:.4g}: {word}"


def _word(met: bool) -> str:
    return "met" if met else "missed"


def card(package: Package) -> NetworkCard:
    """Return the figures of a saved network."""
    return NetworkCard(
        path=package.path.name,
        sha256=package.sha256,
        bytes=package.path.stat().st_size,
        parameters=total_parameters(package.program),
        macs=total_macs(package.program),
        zeros=package.zeros_left_out(),
    )


def _epochs(run: Run) -> tuple[Epoch, ...]:
    """What the ledger noted of the training."""
    noted = run.ledger.of_kind("epoch")
    return tuple(
        Epoch(epoch=index + 1, metric=value[run.data.metric.name]) for index, (_, value) in enumerate(noted)
    )


def _evidence_json(package: Package, evidence: tuple[Evidence, ...]) -> bytes:
    items = ",\n".join(item.model_dump_json(indent=1) for item in evidence)
    return f'{{"package": "{package.sha256}", "evidence": [{items}]}}\n'.encode()


def _data_facts(data: Data) -> dict[str, Any]:
    sizes = {"train": data.train.size, "validate": data.validate.size, "test": data.test.size}
    return sizes | {"metric": data.metric.name, "classes": list(data.classes), "notes": list(data.notes)}
