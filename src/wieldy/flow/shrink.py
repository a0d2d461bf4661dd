"""`shrink`: trace, rank, search, remove, recover, save, measure, examine, report."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wieldy.assure.checks import Checks
from wieldy.compress.quantize import BATCH, EXAMPLES, quantize_with_settings
from wieldy.compress.storage import level_formats
from wieldy.core import digest
from wieldy.core.data import Data, check_fit, each, part
from wieldy.core.errors import ConfigError, DataError, ShapeError
from wieldy.core.files import write_atomic
from wieldy.core.first import first_inputs
from wieldy.core.progress import Progress
from wieldy.core.records import Timing
from wieldy.flow.fingerprint import check_fingerprint
from wieldy.flow.record import beside, write_record
from wieldy.flow.reduce import reduced
from wieldy.flow.stages import check_stages
from wieldy.flow.state import (
    ORIGINAL,
    PACKAGE,
    TRAINING,
    Planning,
    Recovery,
    Run,
    Stage,
)
from wieldy.flow.together import begun, training_threads
from wieldy.flow.training import settled_in_levels
from wieldy.graph.cost import total_parameters
from wieldy.graph.network import GraphNetwork
from wieldy.graph.tensors import all_of, tensors
from wieldy.graph.trace import trace
from wieldy.methods.contract import MethodConfig
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.taylor import TaylorConfig
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.methods.registry import METHODS, leaves_level_blocks, may_leave_zeros, settings_of
from wieldy.package.manifest import Provenance
from wieldy.package.save import pack, save
from wieldy.plan.budget import Budget
from wieldy.plan.trials import level_blocks_where_faster
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier
from wieldy.stats.loss import loss_of
from wieldy.stats.saturation import saturated_shares
from wieldy.train.threads import torch_threads
from wieldy.train.watch import Log


def shrink(
    model: nn.Module,
    data: Data,
    budget: Budget,
    *,
    out: str | Path = "runs/shrink",
    example: Tensor | tuple[Tensor, ...] | None = None,
    method: MethodConfig | None = None,
    recovery: Recovery | None = None,
    quantize: bool | IntegerConfig = False,
    planning: Planning | bool = False,
    stages: Sequence[Stage] = (),
    accept: Callable[[GraphNetwork], bool] | None = None,
    checks: Checks | None = None,
    seed: int = 0,
    threads: int | None = None,
    tier: str | None = None,
    batch: int | None = None,
    replay: str | Path | None = None,
    resume: bool = False,
    watch: Log | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make `model` smaller and faster until `budget` is met here, and say what it cost.

    Args:
        model: trained; not altered.
        data: training, validation and test examples; the test set is read once, at the end.
        budget: goals for time, size and the metric.
        out: a folder for the packages, their evidence, the record and the page; made if it is missing.
        example: one input, or a tuple of them; default: the first of `data.train`.
        method: importance of channels; default: first-order Taylor, or magnitude where the data's metric has
            no loss whose gradients it could take. With `ZerosConfig` no channel goes:
            that many weights become zero while the network trains, the package leaves them out, and the
            budget is not searched for but judged. With `SvdConfig` layers become two of that rank or share
            where two are faster here, and the budget is judged alike.
        recovery: training after removal; default: five epochs with distillation.
        quantize: round what is left to eight bits, after recovery; True: as the tier wants it. The search
            times what it finds in eight bits, and where they are enough no channel goes.
        planning: let the planner find the mix of methods that meets the budget at the least damage, True: of
            all kinds; `method` then only ranks channels.
        stages: instead of one method, several in order, each with its goals and the training after it.
        accept: may refuse a mix: is handed the network as it is after the brief training by which mixes are
            judged.
        checks: how closely the saved files are looked at, and the floors that must hold.
        seed: of everything that is random.
        threads, tier, batch: what milliseconds are measured with; default: all cores, the CPU's own tier.
        replay: the folder of an earlier run whose measurements are read back instead of being taken again.
        resume: go on with the run that was cut off in `out`, from its last measurement or epoch; it ends in
            the bytes in which it would have ended. Where there is none, or it had ended, a new one begins.
        watch: is handed the training's loss, rate and metric as (name, value, step), as TensorBoard's
            `add_scalar` and MLflow's `log_metric` take them.
        progress: who is told how far it is.

    Under torchrun every process calls this alike; they train together, and the first measures and writes.

    Returns:
        The path of the package. `record.json` beside it holds the verdict, `report.html` shows it.

    Raises:
        InputError: the model, the data or a setting cannot be used, another run works in `out`, or what is
            to be resumed was begun with another network, other data, settings or code, or elsewhere.
        BudgetError: no share of removed channels reaches the budget; names the nearest point.
        StorageError: the folder cannot be written.

    Cost: some 20 measurements of a second or two, a few of six times as long, and the training.
    """
    tier = tier or current_tier()
    if quantize is True:
        quantize = IntegerConfig.fitting(tier)
    with begun(Path(out), replay=replay, resumed=resume, progress=progress) as (folder, log, ledger):
        run = Run(
            folder=folder,
            data=data,
            budget=budget,
            method=method or default_method(data, seed),
            recovery=recovery or Recovery().seeded(seed),
            quantize=quantize or None,
            planning=Planning() if planning is True else planning or None,
            stages=tuple(stages),
            accept=accept,
            checks=checks or Checks(),
            seed=seed,
            threads=usable_cores() if threads is None else threads,
            tier=tier,
            batch=batch,
            title=type(model).__name__,
            recipe={},
            reproduce=(),
            ledger=ledger,
            progress=log,
            watch=watch,
        )
        execute(run, model, example)
    return Path(out) / PACKAGE


def default_method(data: Data, seed: int) -> MethodConfig:
    """Return the importance that is used where none is named."""
    return TaylorConfig(seed=seed) if loss_of(data.metric) else MagnitudeConfig(seed=seed)


def execute(run: Run, model: nn.Module, example: Tensor | tuple[Tensor, ...] | None = None) -> Run:
    """Do all steps of a run; its folder then holds both packages, the record and the page."""
    check_settings(run)
    run.quiet.progress = run.progress
    with torch_threads(training_threads(run.threads)):
        _all_steps(run, model, example)
    return run


def _all_steps(run: Run, model: nn.Module, example: Tensor | tuple[Tensor, ...] | None) -> None:
    network = trace(model, first_input(run.data) if example is None else example)
    check_data(network, run.data)
    check_fingerprint(run, network)
    if run.batch is None:
        run.batch = own_timing(run, network).batch
    done = reduced(run, network)
    small, accounted, formats = done.network, done.accounted, done.formats
    steps: list[dict[str, Any]] = [done.plan.method, run.recovery.model_dump()]
    if run.quantize:
        small, rounded, run.quantize = quantize_with_settings(
            small, run.data, run.quantize, progress=run.progress
        )
        accounted = beside(accounted, rounded)
        steps.append(settings_of(run.quantize))
        small = settled_in_levels(run, network, small)
        say_what_saturates(run, small)
        formats = stored_levels(run, small, formats)
    write_packages(run, network, small, steps, formats)
    write_record(run, done.plan, accounted)
    run.ledger.settle()
    shutil.rmtree(run.folder / TRAINING, ignore_errors=True)


def say_what_saturates(run: Run, small: GraphNetwork) -> None:
    """Say how much of what is rounded lies beyond its range on examples that ranges were not chosen on."""
    batches = [each(inputs) for inputs in first_inputs(run.data.validate, EXAMPLES, BATCH)]
    shares = saturated_shares(small, batches)
    if shares:
        most, mean = max(shares, key=lambda name: shares[name]), np.mean(list(shares.values()))
        run.progress.say(
            f"beyond its range on validation examples: {mean:.3%} of what is rounded, at most "
            f"{shares[most]:.3%} ({most})"
        )


def stored_levels(run: Run, small: GraphNetwork, formats: dict[str, str] | None) -> dict[str, str]:
    """Return how a rounded network is stored: without blocks of zeros where it is faster so here.

    Where bytes are asked for and time is not, they are left out in any case.
    `formats`: of what is not rounded.
    """
    whole, blocks = (formats or {}) | dict(small.formats), level_formats(small)
    if not blocks:
        return whole
    if (run.budget.bytes or run.budget.bytes_ratio) and not run.budget.asks_time:
        run.progress.say(f"blocks of zeros left out of {len(blocks)} layers in eight bits, for their bytes")
        return whole | blocks
    chosen, timing = level_blocks_where_faster(small, blocks, **run.settings, progress=run.progress)
    run.progress.say(
        f"blocks of zeros left out of {len(blocks)} layers in eight bits: {timing.ratio} of the milliseconds"
        + ("" if chosen else ", so they are stored whole")
    )
    return whole | dict(chosen)


def check_settings(run: Run) -> None:
    """Refuse settings that contradict each other, before anything is done."""
    if run.planning and run.stages:
        raise ConfigError("planning: the planner says what is done. Leave out stages.")
    if run.planning and run.quantize:
        raise ConfigError("planning: the planner says whether all is rounded. Leave out quantize.")
    if run.threads < 1:
        raise ConfigError(f"threads: must be at least 1; got {run.threads}.")
    if any(isinstance(of, IntegerConfig) for of in (run.method, *(stage.method for stage in run.stages))):
        raise ConfigError(
            "method: integer rounds what another method leaves. Write quantize: true, or its settings there."
        )
    check_stages(run.stages)
    for config in [stage.method for stage in run.stages] or [run.method]:
        if run.quantize and may_leave_zeros(config) and not leaves_level_blocks(config):
            raise ConfigError(
                f"quantize: {METHODS[type(config)].name} may leave zeros that stand alone, which are "
                "multiplied in float32, not in eight bits. Leave out quantize, take zeros or lobs with "
                "inputs: 4, pivot with template: block_1x4, or a method that removes channels: magnitude, "
                "taylor."
            )


def write_packages(
    run: Run, network: GraphNetwork, small: GraphNetwork, steps: list[dict[str, Any]],
    formats: dict[str, str] | None,
) -> None:  # fmt: skip
    """Write the original and what became of it."""
    mean, std = run.data.normalisation
    facts: dict[str, Any] = {"classes": run.data.classes, "mean": mean, "std": std}
    original = pack(network, **facts)
    origin = digest.of_bytes(original)
    provenance = Provenance(original=origin, steps=tuple(steps), recipe=run.recipe, seed=run.seed)
    facts |= {"provenance": provenance, "tiers": (run.tier,), "formats": formats}
    write_atomic(run.folder / ORIGINAL, original)
    write_atomic(run.folder / PACKAGE, pack(small, **facts))


def own_timing(run: Run, network: GraphNetwork) -> Timing:
    """Time a network against itself: at its batch the whole run measures, so that no two figures differ."""
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        original = Subject(save(network, Path(folder) / ORIGINAL))
        return measure(original, original, **run.settings, rounds=1, processes=1, quiet=run.quiet)


def check_data(network: GraphNetwork, data: Data) -> None:
    """Refuse data that does not fit the network, before anything is written."""
    program = network.program
    if not total_parameters(program):
        raise ConfigError("shrink: the network has no weights, so there is nothing to make smaller.")
    output = program.shape(program.outputs[0])
    if data.metric.labels and (len(program.outputs) != 1 or len(output) != 2):
        raise ShapeError(
            "shrink: where targets are class labels, the network must yield (batch, classes); it yields "
            f"{len(program.outputs)} outputs, the first of shape {output}. Or give Data a Metric with "
            "labels=False."
        )
    shapes = [spec.shape for spec in program.inputs.values()]
    dtypes = [spec.dtype for spec in program.inputs.values()]
    for name in ("train", "validate", "test"):
        check_fit(getattr(data, name), shapes, int(output[-1] or 0), name, dtypes)
    _check_finite(network, data)


def _check_finite(network: GraphNetwork, data: Data) -> None:
    with torch.no_grad():
        found = network(*first_input(data))
    for name, value in zip(network.program.outputs, all_of(found), strict=True):
        if not torch.isfinite(value).all():
            raise DataError(
                f"shrink: output {name!r} is NaN or infinite on the first training example. Check the "
                "weights and how the inputs are scaled."
            )


def first_input(data: Data) -> tuple[Tensor, ...]:
    """Return the first training example, as a batch of one."""
    x, _ = next(iter(data.train.batches(1)))
    return tensors(part(x, slice(1)))
