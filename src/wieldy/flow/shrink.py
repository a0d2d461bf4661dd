"""`shrink`: trace, rank, search, remove, recover, save, measure, examine, report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wieldy.assure.equivalence import examine
from wieldy.compress.apply import account, apply_plan
from wieldy.core import digest
from wieldy.core.config import Frozen
from wieldy.core.data import Data, check_fit
from wieldy.core.errors import ConfigError, ShapeError, StorageError
from wieldy.core.files import write_atomic
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Epoch, Evidence, NetworkCard, Plan, RunRecord, Timing
from wieldy.runtime.environment import environment
from wieldy.graph.cost import layer_costs, total_macs, total_parameters
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import MethodConfig
from wieldy.methods.prune.taylor import TaylorConfig
from wieldy.methods.registry import METHODS
from wieldy.package.manifest import Provenance
from wieldy.package.read import Package, read
from wieldy.package.save import save
from wieldy.plan.budget import Budget
from wieldy.plan.search import search_plan
from wieldy.report.page import write_report
from wieldy.runtime.measure import Subject, layer_times, measure
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier, has_bf16
from wieldy.stats.collect import Stats, collect
from wieldy.train.augment import flip_and_shift
from wieldy.train.distill import Distill
from wieldy.train.fit import FitConfig, fit
from wieldy.train.recalibrate import recalibrate

ORIGINAL, PACKAGE, EVIDENCE = "original.wieldy", "small.wieldy", "small.evidence.json"
RECORD, PAGE = "record.json", "report.html"
MEASURED = ("timing", "layers")
NOT_TESTED = (
    "corruptions, attacks and inputs from outside the distribution",
    "other machines than this one, and tiers that are not named here",
    "memory use and start-up time",
)


class Recovery(Frozen):
    """How the small network learns again after channels went."""

    fit: FitConfig = FitConfig(epochs=5, learning_rate=0.05)
    distill_weight: float = 1.0
    temperature: float = 4.0
    augment: bool = True  # flips and shifts, for pictures


@dataclass
class Run:
    """Everything that one run carries from step to step."""

    folder: Path
    data: Data
    budget: Budget
    method: MethodConfig
    recovery: Recovery
    seed: int
    threads: int
    tier: str | None
    batch: int | None
    title: str
    recipe: dict[str, Any]
    reproduce: tuple[str, ...]
    ledger: Ledger
    progress: Progress
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())

    @property
    def settings(self) -> dict[str, Any]:
        """What every measurement is taken with."""
        return {"threads": self.threads, "batch": self.batch, "tier": self.tier, "ledger": self.ledger}


def shrink(
    model: nn.Module,
    data: Data,
    budget: Budget,
    *,
    out: str | Path = "runs/shrink",
    example: Tensor | None = None,
    method: MethodConfig | None = None,
    recovery: Recovery | None = None,
    seed: int = 0,
    threads: int | None = None,
    tier: str | None = None,
    batch: int | None = None,
    replay: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make `model` smaller and faster until `budget` is met here, and say what it cost.

    Args:
        model: trained; not altered.
        data: training, validation and test examples; the test set is read once, at the end.
        budget: goals for time, size and the metric.
        out: a folder for the packages, their evidence, the record and the page; made if it is missing.
        example: one input; default: the first of `data.train`.
        method: importance of channels; default: first-order Taylor.
        recovery: training after removal; default: five epochs with distillation.
        seed: of everything that is random.
        threads, tier, batch: what milliseconds are measured with; default: all cores, the CPU's own tier.
        replay: the folder of an earlier run whose measurements are read back instead of being taken again.
        progress: who is told how far it is.

    Returns:
        The path of the package. `record.json` beside it holds the verdict, `report.html` shows it.

    Raises:
        InputError: the model, the data or a setting cannot be used.
        BudgetError: no share of removed channels reaches the budget; names the nearest point.
        StorageError: the folder cannot be written.

    Cost: some 14 measurements of two seconds, and the training.
    """
    run = Run(
        folder=prepared(Path(out)),
        data=data,
        budget=budget,
        method=method or TaylorConfig(seed=seed),
        recovery=recovery or Recovery(fit=FitConfig(epochs=5, learning_rate=0.05, seed=seed)),
        seed=seed,
        threads=usable_cores() if threads is None else threads,
        tier=tier or current_tier(),
        batch=batch,
        title=type(model).__name__,
        recipe={},
        reproduce=(),
        ledger=opened_ledger(Path(out), replay),
        progress=progress or Silent(),
    )
    return execute(run, model, example).folder / PACKAGE


def opened_ledger(folder: Path, replay: str | Path | None) -> Ledger:
    """Return a fresh ledger in `folder`, holding the measurements of the run to be replayed, if any."""
    if replay is None:
        return Ledger(folder, fresh=True)
    if not (Path(replay) / "ledger.jsonl").is_file():
        raise ConfigError(f"{replay}: holds no ledger.jsonl, so there is nothing to replay. Name a run's folder.")
    earlier = Ledger(Path(replay))
    ledger = Ledger(folder, fresh=True)
    ledger.adopt(earlier, MEASURED)
    return ledger


def prepared(folder: Path) -> Path:
    """Make the folder of a run.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror}). Choose another folder.") from None
    return folder


def execute(run: Run, model: nn.Module, example: Tensor | None = None) -> Run:
    """Do all steps of a run; its folder then holds both packages, the record and the page."""
    if run.threads < 1:
        raise ConfigError(f"threads: must be at least 1; got {run.threads}.")
    torch.set_num_threads(run.threads)
    network = trace(model, first_input(run.data) if example is None else example)
    check_data(network, run.data)
    mean, std = run.normalisation
    facts: dict[str, Any] = {"classes": run.data.classes, "mean": mean, "std": std}
    original = save(network, run.folder / ORIGINAL, **facts)
    stats = Stats()
    if METHODS[type(run.method)].needs_stats:
        stats = collect(network, run.data, seed=run.seed, progress=run.progress)
    plan = search_plan(
        network, stats, run.budget, method=run.method, threads=run.threads, batch=run.batch, tier=run.tier,
        ledger=run.ledger, progress=run.progress,
    )  # fmt: skip
    small = recovered(run, network, apply_plan(network, plan, stats))
    provenance = Provenance(
        original=digest.of_file(original),
        steps=(plan.method, run.recovery.model_dump()),
        recipe=run.recipe,
        seed=run.seed,
    )
    facts |= {"provenance": provenance, "tiers": (run.tier,)}
    save(small, run.folder / PACKAGE, **facts)
    write_record(run, plan)
    return run


def check_data(network: GraphNetwork, data: Data) -> None:
    """Refuse data that does not fit the network, before anything is written."""
    program = network.program
    output = program.shape(program.outputs[0])
    if len(program.inputs) != 1 or len(program.outputs) != 1 or len(output) != 2:
        raise ShapeError(
            "shrink: the network must map one input to (batch, classes); it maps "
            f"{len(program.inputs)} inputs to {len(program.outputs)} outputs, the first of shape {output}."
        )
    (spec,) = program.inputs.values()
    for name in ("train", "validate", "test"):
        check_fit(getattr(data, name), spec.shape, int(output[1] or 0), name)


def first_input(data: Data) -> Tensor:
    """Return the first training input, as a batch of one."""
    x, _ = next(iter(data.train.batches(1)))
    return torch.from_numpy(np.ascontiguousarray(x[:1]))


def recovered(run: Run, network: GraphNetwork, small: GraphNetwork) -> GraphNetwork:
    """Train the small network to answer as the original does."""
    recalibrate(small, run.data.train, seed=run.seed)
    how = run.recovery
    hooks = []
    if how.distill_weight > 0:
        hooks.append(Distill(network, temperature=how.temperature, weight=how.distill_weight))
    shape = next(iter(network.program.inputs.values())).shape
    views = flip_and_shift(int(shape[2] or 0), int(shape[3] or 0)) if how.augment and len(shape) == 4 else None
    return fit(
        small, run.data, *hooks, config=how.fit, augment=views, ledger=run.ledger, progress=run.progress
    )  # fmt: skip


def write_record(run: Run, plan: Plan) -> RunRecord:
    """Measure and examine the saved files, and write record, evidence and page beside them."""
    original, package = read(run.folder / ORIGINAL), read(run.folder / PACKAGE)
    first, second = Subject(original.path), Subject(package.path)
    with run.progress.task("measuring and examining the saved files", 5) as task:
        timing = measure(first, second, **run.settings)
        task.advance(1, f"{timing.ratio} of the milliseconds")
        switches = switch_gains(run, first, second)
        task.advance()
        at = {"threads": run.threads, "batch": timing.batch, "tier": timing.tier, "ledger": run.ledger}
        times = layer_times(first, **at), layer_times(second, **at)
        task.advance()
        evidence = examine(
            package.path, original.path, run.data, max_drop_points=run.budget.max_drop_points, seed=run.seed
        )
        task.advance()
        record = assemble(run, plan, original, package, timing, evidence)
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
    if not has_bf16(str(run.tier)):
        return ()
    return (
        ("original in bf16", measure(original, Subject(original.path, "bf16"), **run.settings)),
        ("package in bf16", measure(original, Subject(package.path, "bf16"), **run.settings)),
    )


def assemble(
    run: Run, plan: Plan, original: Package, package: Package, timing: Timing, evidence: tuple[Evidence, ...]
) -> RunRecord:
    """Put the record together and pass the verdict."""
    cards = card(original), card(package)
    changes, refused = account(original.program, package.program, plan)
    sound, reasons = verdict(run.budget, timing, cards, evidence)
    return RunRecord(
        title=run.title,
        verdict="met" if sound else "missed",
        reasons=reasons,
        budget=run.budget.model_dump(exclude_none=True),
        method=plan.method,
        seed=run.seed,
        original=cards[0],
        package=cards[1],
        timing=timing,
        candidates=plan.candidates,
        layers_original=tuple(layer_costs(original.program)),
        layers_package=tuple(layer_costs(package.program)),
        changes=changes,
        refused=refused,
        recovery=_epochs(run),
        evidence=evidence,
        data=_data_facts(run.data),
        environment=environment(run.threads),
        reproduce=run.reproduce,
        not_tested=NOT_TESTED,
    )


def verdict(
    budget: Budget, timing: Timing, cards: tuple[NetworkCard, NetworkCard], evidence: tuple[Evidence, ...]
) -> tuple[bool, tuple[str, ...]]:
    """Return whether every goal is met, and one sentence for each."""
    first, second = cards
    shaped = budget.reached(timing, (first.macs, second.macs), (first.bytes, second.bytes))
    metric = evidence[0]
    drop = metric.numbers["drop_points"]
    reasons = (
        f"Asked: {budget.goals()}. Measured: {timing.ratio} of the milliseconds, {second.macs / first.macs:.1%} of "
        f"the multiply-accumulates, {second.bytes / first.bytes:.1%} of the bytes: {'met' if shaped else 'missed'}.",
        f"Asked: at most {budget.max_drop_points:g} points of {metric.numbers['metric']} lost. Measured: "
        f"{drop['value']:.2f} [{drop['low']:.2f}, {drop['high']:.2f}] points on {metric.numbers['examples']:,} test "
        f"examples: {'met' if metric.verdict == 'proved' else 'missed'}.",
    )
    return shaped and metric.verdict == "proved", reasons


def card(package: Package) -> NetworkCard:
    """Return the figures of a saved network."""
    return NetworkCard(
        path=package.path.name,
        sha256=package.sha256,
        bytes=package.path.stat().st_size,
        parameters=total_parameters(package.program),
        macs=total_macs(package.program),
    )


def _epochs(run: Run) -> tuple[Epoch, ...]:
    """What the ledger noted of the training."""
    noted = run.ledger.of_kind("epoch")
    return tuple(
        Epoch(epoch=key["epoch"] + 1, metric=value[run.data.metric.name]) for key, value in noted
    )


def _evidence_json(package: Package, evidence: tuple[Evidence, ...]) -> bytes:
    items = ",\n".join(item.model_dump_json(indent=1) for item in evidence)
    return f'{{"package": "{package.sha256}", "evidence": [{items}]}}\n'.encode()


def _data_facts(data: Data) -> dict[str, Any]:
    sizes = {"train": data.train.size, "validate": data.validate.size, "test": data.test.size}
    return sizes | {"metric": data.metric.name, "classes": list(data.classes), "notes": list(data.notes)}

