"""Channels of a group change places: every tensor follows, and the network computes the same.

A label is one place of one axis of one stored tensor, so an order of a group's units says for each label
which one is to lie there. That is sound if whatever the walk over the program laid side by side is carried
along alike: on every axis of every value the same labels remain, and of two axes whose places were tied
together, every place takes from the same place as before. Slices, concatenations, shuffles, grouped
convolutions, heads and group norms need no rule of their own.

Every order of n units is made of two: the first two units change places, and all move on by one. If a group
bears these, it bears any.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import ConfigError
from wieldy.graph.coupling import Axis, Coupling, Group, couple
from wieldy.graph.labels import Ids, Labels
from wieldy.graph.removal import Kept

if TYPE_CHECKING:
    from wieldy.graph.network import GraphNetwork

Order = Sequence[int] | NDArray[np.intp]  # of a group's units: place u takes unit order[u]


def permute_units(network: "GraphNetwork", orders: Mapping[str, Order]) -> None:
    """Let the units of groups change places, in place; the network computes what it did.

    Args:
        network: traced.
        orders: for each group's name, the unit that each place takes.

    Raises:
        ConfigError: a group does not exist, an order is none of its units, or its units play different
            parts, so that the network would not compute the same.

    Cost: linear in the number of channels, times the number of groups.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from wieldy.graph.trace import trace
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
        >>> network = trace(model, torch.ones(1, 2))
        >>> permute_units(network, {"0": [2, 0, 1]})
        >>> torch.equal(network.tensor("0.weight"), model[0].weight[[2, 0, 1]])
        True
        >>> torch.allclose(network(torch.ones(1, 2)), model(torch.ones(1, 2)))
        True
    """
    network.replace_program(network.program, permutation(couple(network.program), orders))


def permutation(coupling: Coupling, orders: Mapping[str, Order]) -> Kept:
    """Return which index each place of each tensor axis takes, where any changes; see `permute_units`."""
    labels, lies = coupling.labels, np.arange(coupling.labels.count)
    for name, order in orders.items():
        group, units = _group(coupling, name), np.asarray(order, np.intp)
        if not np.array_equal(np.sort(units), np.arange(group.size)):
            raise ConfigError(
                f"permute: group {name!r} has units 0 to {group.size - 1}, and an order names each once; "
                f"got {units.tolist()[:8]}."
            )
        of_group = _lying(labels, group, units)
        if not _carries(labels, of_group):
            raise ConfigError(
                f"permute: the channels of {name!r} play different parts: some are cut out, joined or "
                "grouped otherwise than others. Leave its layers out."
            )
        lies = of_group[lies]  # of two groups, each leaves the other's labels where they are
    taken = {axis: _taken(ids, lies) for axis, ids in labels.tensors.items()}
    return {axis: index for axis, index in taken.items() if index is not None and _moves(index)}


def is_free(coupling: Coupling, group: Group) -> bool:
    """Whether the units of `group` may take any order."""
    places = np.arange(group.size)
    swapped = places.copy()
    swapped[:2] = swapped[:2][::-1]
    return all(
        _carries(coupling.labels, _lying(coupling.labels, group, order))
        for order in (swapped, np.roll(places, 1))
    )


def free_groups(coupling: Coupling, axes: Iterable[Axis]) -> dict[Axis, Group]:
    """Return the group of each axis that one group fills, where its units may take any order."""
    filled = {
        axis: group
        for group in coupling.groups
        for axis, units in group.members.items()
        if sum(map(len, units)) == len(coupling.labels.tensors[axis])
    }
    found = {axis: filled[axis] for axis in axes if axis in filled}
    free = {group.name: is_free(coupling, group) for group in {g.name: g for g in found.values()}.values()}
    return {axis: group for axis, group in found.items() if free[group.name]}


def _group(coupling: Coupling, name: str) -> Group:
    known = {group.name: group for group in coupling.groups}
    if name not in known:
        raise ConfigError(f"permute: there is no group {name!r}; groups are {', '.join(sorted(known))}.")
    return known[name]


def _lying(labels: Labels, group: Group, order: NDArray[np.intp]) -> Ids:
    """Return for each label the one that lies at its place afterwards."""
    lies = np.arange(labels.count)
    for axis, members in group.members.items():
        of_units = labels.tensors[axis][np.array(members)]
        lies[of_units] = of_units[order]
    return lies


def _carries(labels: Labels, lies: Ids) -> bool:
    """Whether every value and every tie bears it."""
    values = {id(ids): ids for axes in labels.values.values() for ids in axes if ids is not None}
    if any(_taken(ids, lies) is None for ids in values.values()):
        return False
    for first, second in labels.ties:
        one, other = _taken(first, lies), _taken(second, lies)
        if one is None or other is None or not np.array_equal(one, other):
            return False
    return True


def _taken(ids: Ids, lies: Ids) -> NDArray[np.intp] | None:
    """Return the place that each place takes from, or None if other labels would have to lie there.

    Where a label lies at several places, the first takes from the first, and so on.

    Example:
        >>> swap = np.array([1, 0, 2])
        >>> _taken(np.array([0, 0, 1, 1]), swap).tolist(), _taken(np.array([0, 2]), swap)
        ([2, 3, 0, 1], None)
    """
    after = lies[ids]
    if np.array_equal(after, ids):
        return np.arange(len(ids))
    to, source = np.argsort(after, kind="stable"), np.argsort(ids, kind="stable")
    if not np.array_equal(after[to], ids[source]):
        return None
    taken = np.empty(len(ids), np.intp)
    taken[to] = source
    return taken


def _moves(index: NDArray[np.intp]) -> bool:
    return not np.array_equal(index, np.arange(len(index)))
