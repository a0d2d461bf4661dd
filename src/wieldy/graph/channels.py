"""Bundles of the channels that layers read: a channel is one group for all that read it."""

from collections.abc import Sequence

import torch

from wieldy.graph.bundles import Bundle, Member
from wieldy.graph.coupling import Group, couple
from wieldy.graph.ops import WEIGHTED
from wieldy.graph.program import Node, Program

READ = "the channels that it reads must stay"


def channels_of(program: Program, layers: Sequence[str]) -> tuple[list[Bundle], dict[str, str]]:
    """Return the channels that these layers read, and which of them are left out with the reason.

    Left out are layers that read what must stay, or what somebody else reads who is not named.
    """
    bundles: list[Bundle] = []
    refused: dict[str, str] = {}
    for group in couple(program).groups:
        readers = _readers(program, group)
        others = [node.layer for node in readers if node.layer not in layers or node.op not in WEIGHTED]
        named = tuple(dict.fromkeys(node.layer for node in readers if node.layer in layers))
        if others:
            refused |= dict.fromkeys(named, f"the channels that it reads are also read by {others[0]}")
        elif named:
            weights = {node.weight: node.groups for node in readers}
            members = [_member(program, group, name, parts) for name, parts in weights.items()]
            bundles.append(Bundle(named, tuple(members), group.size))
    taken = {layer for bundle in bundles for layer in bundle.layers}
    return bundles, {name: refused.get(name, READ) for name in layers if name not in taken}


def _readers(program: Program, group: Group) -> list[Node]:
    """Return the nodes of which a tensor has columns for a group's channels."""
    return [node for node in program.nodes if any((name, 1) in group.members for name in node.stored())]


def _member(program: Program, group: Group, weight: str, parts: int) -> Member:
    of = torch.full((int(program.tensors[weight].shape[1] or 0),), group.size)
    for unit, places in enumerate(group.members[weight, 1]):
        of[list(places)] = unit
    return Member(weight, "channels", parts, of.repeat(parts))
