"""Applying a plan: channels are physically removed, and every layer accounts for itself."""

import copy

from wieldy.core.records import Change, Plan, Refused
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Program
from wieldy.graph.removal import remove_units
from wieldy.stats.collect import WEIGHTED, Stats


def apply_plan(network: GraphNetwork, plan: Plan, stats: Stats | None = None) -> GraphNetwork:  # noqa: ARG001
    """Return a copy of `network` without the channels that `plan` removes.

    Args:
        network: the one that the plan was made for; not altered.
        plan: what `search_plan` returned.
        stats: for steps that need statistics; removing channels needs none.

    Raises:
        ConfigError: the plan names a group or a channel that the network does not have.

    Cost: one copy of the weights.
    """
    small = copy.deepcopy(network)
    program, kept = remove_units(network.program, couple(network.program), plan.remove)
    small.replace_program(program, kept)
    return small


def account(before: Program, after: Program, plan: Plan) -> tuple[tuple[Change, ...], tuple[Refused, ...]]:
    """Return what became of every layer with weights: a change, or why it was left alone."""
    pinned = couple(before).pinned
    changes, refused = [], []
    for old, new in zip(before.nodes, after.nodes, strict=True):
        if old.op not in WEIGHTED:
            continue
        first, second = (
            _widths(old.layer, before, next(old.stored())),
            _widths(new.layer, after, next(new.stored())),
        )
        name = str(plan.method["name"])
        if first == second:
            reason = pinned.get(old.layer, "the plan keeps all of its channels")
            refused.append(Refused(layer=old.layer, method=name, reason=reason))
        else:
            seed = int(plan.method.get("seed", 0))
            changes.append(Change(layer=old.layer, method=name, before=first, after=second, seed=seed))
    return tuple(changes), tuple(refused)


def _widths(layer: str, program: Program, weight: str) -> dict[str, int]:
    """Channels out and in of a layer; of a grouped one, in per group."""
    node = next(node for node in program.nodes if node.layer == layer and weight in node.stored())
    out_channels, in_channels = (int(size or 0) for size in program.tensors[weight].shape[:2])
    return {"out_channels": out_channels, "in_channels": in_channels * int(node.inputs.get("groups", 1))}  # type: ignore[arg-type]
