"""Applying a plan: channels are physically removed, and every layer accounts for itself."""

import copy

from wieldy.core.records import Change, Plan, Refused
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import WEIGHTED
from wieldy.graph.program import Node, Program
from wieldy.graph.removal import remove_units
from wieldy.stats.collect import Stats


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
    seen: set[tuple[str, str]] = set()  # a layer that is called twice is accounted for once
    for old, new in zip(before.nodes, after.nodes, strict=True):
        if old.op not in WEIGHTED or (place := (old.layer, next(old.stored()))) in seen:
            continue
        seen.add(place)
        first, second = widths(old, before), widths(new, after)
        name = str(plan.method["name"])
        if first == second:
            reason = pinned.get(old.layer, "the plan keeps all of its channels")
            refused.append(Refused(layer=old.layer, method=name, reason=reason))
        else:
            seed = int(plan.method.get("seed", 0))
            changes.append(Change(layer=old.layer, method=name, before=first, after=second, seed=seed))
    return tuple(changes), tuple(refused)


def widths(node: Node, program: Program) -> dict[str, int]:
    """Channels out and in of a layer."""
    out_channels, per_group = (int(size or 0) for size in program.tensors[next(node.stored())].shape[:2])
    return {"out_channels": out_channels, "in_channels": per_group * node.groups}
