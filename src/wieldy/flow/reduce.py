"""What a run's method makes of a network: fewer channels, zeros, thinner layers, shared numbers."""

import copy
from collections.abc import Callable, Mapping
from functools import partial

from wieldy.compress.apply import account, apply_plan
from wieldy.compress.compact import compact
from wieldy.compress.quantize import first_examples, quantize_roughly
from wieldy.compress.storage import smallest_formats
from wieldy.compress.surgeon import operate
from wieldy.core.errors import BudgetError, ConfigError
from wieldy.core.progress import Progress, Silent
from wieldy.core.records import Change, Plan, Refused
from wieldy.flow.mixed import by_mix
from wieldy.flow.record import beside
from wieldy.flow.stages import by_steps
from wieldy.flow.state import Reduced, Run
from wieldy.flow.together import agreed_costs
from wieldy.flow.training import recovered, trained
from wieldy.graph.grouped import groupable
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import Hook, MethodConfig
from wieldy.methods.factor.svd import SvdConfig, factorable
from wieldy.methods.prune import lobs, zeros
from wieldy.methods.prune.guided import Guided, GuidedConfig
from wieldy.methods.prune.lobs import LobsConfig
from wieldy.methods.prune.zeros import ZerosConfig
from wieldy.methods.registry import METHODS, settings_of
from wieldy.plan.ranking import ranked
from wieldy.plan.search import search_plan
from wieldy.plan.trials import factor_where_faster, grouped_where_faster
from wieldy.stats.collect import Stats
from wieldy.stats.moments import collect_moments
from wieldy.train.fit import evaluate
from wieldy.train.mask import Mask
from wieldy.train.recalibrate import recalibrate

Train = Callable[[GraphNetwork, Hook, int, float | None], GraphNetwork]  # hook, epochs, settling rate
SURGERY_EXAMPLES = 2048  # more than most layers have inputs
SETTLING = 0.4  # of the epochs of a method that finds its structure in training: those after it is found


def reduced(run: Run, network: GraphNetwork) -> Reduced:
    """Do what the run's method does, and train what remains to compute as the original does.

    Raises:
        BudgetError: no share of removed channels reaches the budget, or no layer is faster as two.
    """
    if run.stages:
        return by_steps(run, network, reduced)
    if run.planning is not None:
        return by_mix(run, network, run.planning)
    if isinstance(run.method, ZerosConfig):
        return _with_zeros(run, network, run.method)
    if isinstance(run.method, SvdConfig):
        return _in_low_rank(run, network, run.method)
    if isinstance(run.method, LobsConfig):
        return _by_surgery(run, network, run.method)
    if METHODS[type(run.method)].shape == "hook":
        return _in_training(run, network)
    plan = planned(run, network)
    small = recovered(run, network, plan.remove) if plan.remove else network
    return Reduced(small, plan, account(network.program, small.program, plan))


def _with_zeros(run: Run, network: GraphNetwork, config: ZerosConfig) -> Reduced:
    """Let zeros come while the network trains; the package leaves them out."""
    plan = _fixed_plan(run)
    layers, refused = zeros.sparse_layers(network)
    mask = Mask(layers, config)
    small = trained(run, network, apply_plan(network, plan), {}, mask, formed=mask.schedule.end)
    changes = []
    for node in zeros.weighted(network, layers):
        first, second = (zeros.counts(of.tensor(next(node.stored()))) for of in (network, small))
        changes.append(
            Change(layer=node.layer, method=zeros.NAME, before=first, after=second, seed=config.seed)
        )
    formats = zeros.stored_formats(network, config)
    return Reduced(small, plan, (tuple(changes), refused), formats)


def _by_surgery(run: Run, network: GraphNetwork, config: LobsConfig) -> Reduced:
    """Set weights to zero by what that does to each layer's outputs, then train the others."""
    layers, refused = zeros.sparse_layers(network, lobs.NAME)
    examples = first_examples(run.data, SURGERY_EXAMPLES)
    small, records = operate(network, examples, config, layers, progress=run.progress)
    small = trained(run, network, small, {}, Mask(layers))
    return Reduced(small, _fixed_plan(run), beside(((), refused), records), smallest_formats(small))


def _in_training(run: Run, network: GraphNetwork) -> Reduced:
    """Find a structure in the epochs of the recovery, and say how it is computed and stored."""

    def train(small: GraphNetwork, hook: Hook, epochs: int, settling_rate: float | None) -> GraphNetwork:
        alike = small.program.nodes == network.program.nodes
        return trained(
            run, network, small, {}, hook, epochs=epochs, features=alike, settling_rate=settling_rate,
            formed=1.0 if settling_rate is None else 0.0, before=0 if settling_rate is None else 1,
        )  # fmt: skip

    hook = hook_of(run)
    small, removed = found_in_training(network, hook, run.epochs, train)
    small, records = _in_groups(run, small, tuple(hook.records()))
    accounted = beside(((), ()), (*records, *removed))
    return Reduced(small, _fixed_plan(run), accounted, smallest_formats(small))


def found_in_training(
    network: GraphNetwork, hook: Hook, epochs: int, train: Train
) -> tuple[GraphNetwork, tuple[Change | Refused, ...]]:
    """Let a hook find its structure, take out what is dead, and train on with what is left.

    Args:
        network: not altered.
        epochs: of both trainings together.
        train: trains a network in place or anew, with a hook for some epochs; once the structure is found,
            at that share of the learning rate, and in another order of the examples.

    Returns:
        The network, and what was taken out of it.

    Raises:
        ConfigError: there are too few epochs to find and to settle.
    """
    settling = max(1, round(SETTLING * epochs))
    if epochs - settling < 1:
        raise ConfigError(
            f"recovery: {type(hook).__name__.lower()} finds its structure in training and settles after it, "
            f"which takes 2 epochs or more; fit.epochs is {epochs}."
        )
    small = train(copy.deepcopy(network), hook, epochs - settling, None)
    removed: tuple[Change | Refused, ...] = ()
    keeping = hook.settling()
    if keeping is None:  # a structure that needs keeping also needs its places
        if not hook.keeps_places:
            small, removed = compact(small)
        keeping = Mask(tuple(small.program.weighted_layers()))
    return train(small, keeping, settling, hook.settling_rate), removed


def _in_groups(
    run: Run, small: GraphNetwork, records: tuple[Change | Refused, ...]
) -> tuple[GraphNetwork, tuple[Change | Refused, ...]]:
    """Compute layers with blocks in order on their diagonals in groups, if that is faster here."""
    assert run.batch is not None  # execute settled it
    found = {
        record.layer: record.after["blocks"]
        for record in records
        if isinstance(record, Change) and "blocks" in record.after and not record.note
    }
    blocks = {layer: count for layer, count in found.items() if groupable(small, layer, count)}
    notes = dict.fromkeys(found, "a channel of its blocks died, so that they are uneven: zeros are left out")
    if not blocks:
        return small, noted(records, notes)
    faster, timing = grouped_where_faster(
        small, blocks, threads=run.threads, batch=run.batch, tier=run.tier, ledger=run.ledger,
        progress=run.progress,
    )  # fmt: skip
    form = "zeros are left out" if faster is small else "computed in groups"
    how = f"{form}: groups take {timing.ratio.value:.3f} of the milliseconds of zeros in blocks"
    return faster, noted(records, notes | dict.fromkeys(blocks, how))


def noted(records: tuple[Change | Refused, ...], notes: Mapping[str, str]) -> tuple[Change | Refused, ...]:
    """Return records with notes by layer."""
    return tuple(
        record.model_copy(update={"note": notes[record.layer]}) if record.layer in notes else record
        for record in records
    )


def hook_of(run: Run) -> Hook:
    """Return the hook of a run's method; a guided one weighs bytes where the budget has some."""
    config = run.method
    if isinstance(config, GuidedConfig) and config.bytes_weight is None:
        in_bytes = run.budget.bytes or run.budget.bytes_ratio
        config = config.model_copy(update={"bytes_weight": 1.0 if in_bytes else 0.0})
    return hook_for(config, threads=run.threads, tier=run.tier, progress=run.progress)


def hook_for(config: MethodConfig, *, threads: int, tier: str, progress: Progress | None = None) -> Hook:
    """Return a method's hook; what guides one is measured on this machine, for the tier."""
    if isinstance(config, GuidedConfig):
        with (progress or Silent()).task("measuring what zeros cost here, once for a machine", 1) as task:
            table = agreed_costs(threads=threads, tier=tier)
            task.advance()
        return Guided(config, table=table)
    hook = METHODS[type(config)].apply(config)
    assert isinstance(hook, Hook)
    return hook


def _in_low_rank(run: Run, network: GraphNetwork, config: SvdConfig) -> Reduced:
    """Factor the layers that are faster as two."""
    assert run.batch is not None  # execute settled it
    layers = factorable(network, config)
    moments = collect_moments(network, first_examples(run.data), layers, progress=run.progress)
    stats = Stats(moments=moments)
    small, records = factor_where_faster(
        network, stats, config, threads=run.threads, batch=run.batch, tier=run.tier,
        ledger=run.ledger, progress=run.progress,
    )  # fmt: skip
    changes, refused = beside(((), ()), records)
    if not changes:
        raise BudgetError(
            f"svd: no layer gains by being two here; {refused[0].layer!r}: {refused[0].reason}. Take another "
            "share, or remove channels instead: leave out method."
        )
    return Reduced(trained(run, network, small, {}), _fixed_plan(run), (changes, refused))


def _fixed_plan(run: Run) -> Plan:
    """Return the plan of a run whose method says how much goes: no channel does."""
    return Plan(method=settings_of(run.method), remove={}, budget=run.budget.model_dump())


def planned(run: Run, network: GraphNetwork) -> Plan:
    """Rank the channels and search for the share to remove."""

    def judge(small: GraphNetwork) -> float:
        recalibrate(small, run.data.train, seed=run.seed)
        score = evaluate(small, run.data.validate, run.data)
        return score if run.data.metric.higher_is_better else -score

    ranking = ranked(network, run.data, run.method, progress=run.progress)
    return search_plan(
        network, Stats(), run.budget, method=run.method, ranking=ranking, judge=judge, threads=run.threads,
        batch=run.batch, tier=run.tier, quiet=run.quiet, ledger=run.ledger, progress=run.progress,
        finish=partial(quantize_roughly, config=run.quantize) if run.quantize else None,
    )  # fmt: skip
