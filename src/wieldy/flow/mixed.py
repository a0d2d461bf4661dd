"""A run whose planner mixes methods: what it may do, how it rehearses, and what becomes of its choice."""

import copy
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from wieldy.compress.apply import account
from wieldy.compress.quantize import first_examples
from wieldy.compress.storage import smallest_formats
from wieldy.core.records import Change, Plan, Refused
from wieldy.flow.record import beside
from wieldy.flow.state import ORIGINAL, Account, Planning, Reduced, Run
from wieldy.flow.together import agreed_costs
from wieldy.flow.training import rehearsal, trained
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.removal import remove_units
from wieldy.methods.factor.svd import SvdConfig, factorable
from wieldy.methods.prune import zeros
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.save import save
from wieldy.plan.forecast import Forecaster
from wieldy.plan.judge import Bench
from wieldy.plan.keep import kept_layers
from wieldy.plan.mix import ONLY_IN_LEVELS, Mix, masks, thinned, zeroed
from wieldy.plan.planner import plan_mix
from wieldy.plan.ranking import ranked
from wieldy.plan.sensitivity import PACE, options_of
from wieldy.runtime.measure import Subject, measure, patience
from wieldy.runtime.tier import has_bf16
from wieldy.stats.collect import Stats
from wieldy.stats.moments import collect_moments
from wieldy.train.mask import Mask

BRIEF_SECONDS = 5  # of a training by which a mix is judged
PACE_BATCHES = 4  # by which it is told how many examples that is
MOST_EXAMPLES = 5120
PATIENCE = 72  # processes, where others are on the machine: one wrong figure misleads all that follows
MULTIPLE = 8  # of the channels that are kept: what the narrowest vector registers take at once


def by_mix(run: Run, network: GraphNetwork, planning: Planning) -> Reduced:
    """Plan a mix of methods, do it, and train what is left.

    Raises:
        BudgetError: no mix meets the budget.
        ConfigError: a layer to keep does not exist.
        KernelError: there is no cost table without the compiled kernels.
    """
    run.quiet.patience = patience(PATIENCE)
    say_what_a_switch_does(run, network)
    bench = bench_of(run, network, planning)
    planned = plan_mix(bench, planning.kinds, planning.curve)
    mix = planned.mix
    run.progress.say(f"chosen: {mix}")
    small, records = thinned(network, mix, bench.stats)
    run.quantize = bench.integer if mix.in_levels else None
    if mix.thins:
        hooks = masks(mix)
        formed = max((hook.schedule.end for hook in hooks), default=0.0)
        small = trained(run, network, small, mix.remove, *hooks, formed=formed)
    plan = Plan(
        method=planning.settings(), remove=mix.remove, budget=run.budget.model_dump(), mixes=planned.points
    )
    formats = smallest_formats(small) if mix.zeros else None
    return Reduced(small, plan, _accounted(network, small, mix, records), formats)


def say_what_a_switch_does(run: Run, network: GraphNetwork) -> None:
    """Say what computing in bf16 alone gains, where this tier has it: it is a switch for who opens a file."""
    if not run.budget.asks_time or not has_bf16(run.tier):
        return
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        path = save(network, Path(folder) / ORIGINAL)
        timing = measure(Subject(path), Subject(path, "bf16"), **run.settings, processes=3, quiet=run.quiet)
    enough = run.budget.time_over_goal(timing, surely=True) <= 1
    run.progress.say(
        f"bf16 alone, without any change of the file: {timing.ratio.value:.3f} of the milliseconds"
        + (", which is all that is asked of time" if enough else "")
    )


def bench_of(run: Run, network: GraphNetwork, planning: Planning) -> Bench:
    """Ask what every layer can spare, and return what mixes are weighed with."""
    assert run.batch is not None  # execute settled it
    with run.progress.task("measuring what layers cost here, once for a machine", 1) as task:
        table = agreed_costs(threads=run.threads, tier=run.tier)
        task.advance()
    ranking = ranked(network, run.data, run.method, progress=run.progress)
    stats = Stats()
    if "rank" in planning.kinds:
        examples, layers = first_examples(run.data), factorable(network, SvdConfig())
        stats = Stats(moments=collect_moments(network, examples, layers, progress=run.progress))
    kinds = [kind for kind in planning.kinds if kind != ONLY_IN_LEVELS or planning.eight_bits]
    options = options_of(
        network, run.data, ranking, stats, kinds=kinds, keep=kept_layers(network, planning.keep),
        multiple=MULTIPLE, seed=run.seed, ledger=run.ledger, progress=run.progress,
    )  # fmt: skip
    few = planning.examples or int(
        run.ledger.remember(PACE, {"training": run.seed}, partial(_pace, run, network))
    )
    integer = IntegerConfig.fitting(run.tier).model_copy(update={"seed": run.seed})
    return Bench(
        network=network, data=run.data, budget=run.budget, forecaster=Forecaster(network, table),
        options=options, stats=stats, train=partial(rehearsed, run, few, network),
        integer=integer if planning.eight_bits else None, threads=run.threads, batch=run.batch,
        tier=run.tier, accept=run.accept, quiet=run.quiet, ledger=run.ledger, progress=run.progress,
    )  # fmt: skip


def _pace(run: Run, network: GraphNetwork) -> int:
    """Return how many examples a network trains on in the seconds of a brief training."""
    size = run.recovery.fit.batch_size
    taken = []
    for batches in (PACE_BATCHES, 3 * PACE_BATCHES):
        start = time.perf_counter()
        trained(rehearsal(run, batches * size), network, copy.deepcopy(network), {})
        taken.append(time.perf_counter() - start)
    each = max(taken[1] - taken[0], 0.1 * taken[1]) / (2 * PACE_BATCHES)  # without what is done once
    return int(np.clip(BRIEF_SECONDS / each * size, PACE_BATCHES * size, MOST_EXAMPLES))


def rehearsed(
    run: Run, examples: int, network: GraphNetwork, small: GraphNetwork, mix: Mix, rate: float, epochs: int
) -> GraphNetwork:
    """Train a thinned network for short epochs of a few examples, at a share of the recipe's learning rate.

    Its zeros come at once. One from which nothing is taken stays as it is.
    """
    if not mix.thins:
        return small
    brief = rehearsal(run, examples, rate, epochs)
    sparse = (*mix.zeros, *mix.blocks)
    hooks = [Mask(sparse)] if sparse else []
    return trained(brief, network, zeroed(small, mix), mix.remove, *hooks)


def _accounted(
    network: GraphNetwork, small: GraphNetwork, mix: Mix, records: tuple[Change | Refused, ...]
) -> Account:
    """Say what became of every layer: of its channels, of its weights, of its being one."""
    thinner, _ = remove_units(network.program, couple(network.program), mix.remove)
    channels = account(network.program, thinner, Plan(method={"name": "channels"}, remove=mix.remove))
    changes = []
    for node in zeros.weighted(small, (*mix.zeros, *mix.blocks)):
        after = zeros.counts(small.tensor(node.weight))
        before = after | {"nonzero": after["weights"]}
        changes.append(Change(layer=node.layer, method=zeros.NAME, before=before, after=after, seed=0))
    return beside(channels, (*records, *changes))
