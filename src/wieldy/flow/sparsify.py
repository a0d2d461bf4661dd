"""Zeros instead of fewer channels: they come while the network trains, and the package leaves them out."""

from wieldy.core.records import Change, Plan, Refused
from wieldy.flow.state import Run
from wieldy.graph.network import GraphNetwork
from wieldy.methods.prune.zeros import NAME, ZerosConfig, counts, sparse_layers, weighted
from wieldy.methods.registry import settings_of


def zeros_plan(run: Run) -> Plan:
    """Return the plan of a run whose method makes zeros: no channel goes."""
    return Plan(method=settings_of(run.method), remove={}, budget=run.budget.model_dump())


def zeros_account(
    before: GraphNetwork, after: GraphNetwork, config: ZerosConfig
) -> tuple[tuple[Change, ...], tuple[Refused, ...]]:
    """Return, for every layer with weights, how many are not zero, or why it was left alone."""
    layers, refused = sparse_layers(before)
    changes = []
    for node in weighted(before, layers):
        first, second = (counts(network.tensor(next(node.stored()))) for network in (before, after))
        changes.append(Change(layer=node.layer, method=NAME, before=first, after=second, seed=config.seed))
    return tuple(changes), refused
