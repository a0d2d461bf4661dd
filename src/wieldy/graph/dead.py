"""Which channels a network can do without: nobody reads them, or they are constants that fit into biases."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.graph.coupling import Coupling, Group, unit_roots
from wieldy.graph.known import Known
from wieldy.graph.labels import operand
from wieldy.graph.ops import LINEAR, MATMUL, RECURRENT, TRANSPOSED, WEIGHTED
from wieldy.graph.program import Node, Program, Stored

Arrays = Mapping[str, NDArray[Any]]
Mask = NDArray[np.bool_]
CONSUMERS = (*WEIGHTED, *TRANSPOSED, *RECURRENT)
SAME = 1e-12  # of the largest number: how far float64 is off where positions are alike


@dataclass(frozen=True)
class Reader:
    """A node that multiplies channels and yields others.

    Attributes:
        node: a layer.
        roots: (channels,) which unit each channel that it reads belongs to.
        read: (channels,) whether any weight of it is not zero.
        constants: (channels,) their values, where they are settled.
        fixed: (channels,) whether they are the same whatever the input.
        settled: (channels,) whether they are besides the same at all positions.
        padded: whether it puts zeros beside what it reads.
        free: whether its tensors are its own, so that they may be altered.
    """

    node: Node
    roots: NDArray[np.int64]
    read: Mask
    constants: NDArray[np.float64]
    fixed: Mask
    settled: Mask
    padded: bool
    free: bool

    @property
    def done_without(self) -> Mask:
        """Which channels may go once their constants are in the bias."""
        fits = (self.constants == 0) | (self.free and not self.padded and self.node.op in WEIGHTED)
        return np.asarray(~self.read | (self.settled & fits))

    @property
    def carriable(self) -> Mask:
        """Which channels may go if another constant one takes over their weights."""
        can = self.free and self.node.op in WEIGHTED and self.node.groups == 1
        return np.asarray(self.read & self.settled & (self.constants != 0) & can)

    def strongest(self, root: int) -> int:
        """Return the channel of a unit that it reads whose constant is largest, to carry others with."""
        return int(np.argmax(np.abs(self.constants) * (self.roots == root)))

    def needs_carrier(self, roots: Collection[int] | NDArray[np.int64]) -> Mask:
        """Return which channels of these units cannot go but for a carrier."""
        return np.asarray(np.isin(self.roots, list(roots)) & ~self.done_without)


@dataclass
class Dead:
    """Units of one group that go.

    Attributes:
        units: by number.
        carrier: the unit that stays in the place of others with constants beside zero padding, or None.
        note: what else there is to say of this group, or empty.
    """

    units: list[int] = field(default_factory=list)
    carrier: int | None = None
    note: str = ""


def readers_of(
    program: Program, arrays: Arrays, coupling: Coupling, known: Mapping[str, Known]
) -> Iterator[Reader]:
    """Yield every node that multiplies channels which can go; a depthwise layer hands them on."""
    labels = coupling.labels
    for node in program.nodes:
        if node.op not in CONSUMERS or (node.groups > 1 and program.tensors[node.weight].shape[1] == 1):
            continue
        axis = -1 if node.op == LINEAR or node.op in RECURRENT else 1
        source = next(node.refs())
        ids = labels.values[source][axis]
        if ids is None:
            continue
        fixed, settled, constants = _per_channel(known[source], axis)
        yield Reader(
            node, np.array(labels.roots(ids)), _read(node, arrays, len(ids)), constants, fixed, settled,
            padded=_is_padded(node), free=_is_free(program, node),
        )  # fmt: skip


def _per_channel(known: Known, axis: int) -> tuple[Mask, Mask, NDArray[np.float64]]:
    """Return which channels follow no input, which of them hold one number everywhere, and that number."""
    values: NDArray[np.float64] = known.values.movedim(axis, 0).flatten(1).numpy()
    fixed = np.asarray(~known.unknown.movedim(axis, 0).flatten(1).numpy().any(1))
    same = fixed & (np.ptp(values, axis=1) <= SAME * np.abs(values).max(1))
    return fixed, np.asarray(same), np.where(same, values[:, 0], 0.0)


def _read(node: Node, arrays: Arrays, channels: int) -> Mask:
    """Return which channels meet a weight that is not zero."""
    if node.op in RECURRENT:
        return np.asarray((_weight(node, arrays, "weight_ih") != 0).any(axis=0))
    weight = _weight(node, arrays, "weight") != 0
    if node.op in TRANSPOSED:
        return np.asarray(weight.reshape(len(weight), -1).any(axis=1))
    by_group = weight.reshape(node.groups, -1, weight.shape[1], int(np.prod(weight.shape[2:])))
    return np.asarray(by_group.any(axis=(1, 3)).reshape(channels))


def _weight(node: Node, arrays: Arrays, argument: str) -> NDArray[Any]:
    held = node.inputs[argument]
    assert isinstance(held, Stored)
    return arrays[held.name]


def _is_padded(node: Node) -> bool:
    padding = node.inputs.get("padding", ())
    assert isinstance(padding, tuple)
    return any(padding)


def _is_free(program: Program, node: Node) -> bool:
    own = set(node.stored())
    return not any(own & set(other.stored()) for other in program.nodes if other.name != node.name)


def summed_over(coupling: Coupling) -> set[int]:
    """Return the units that a product of two values sums over: they cannot go by what one layer says."""
    labels = coupling.labels
    found: set[int] = set()
    for node in labels.program.nodes:
        if node.op == MATMUL:
            for name, axis in (("self", -1), ("other", -2)):
                ids, _ = operand(labels, node.inputs[name])
                if len(ids) > 1 and (of := ids[axis]) is not None:
                    found.update(labels.roots(of))
    return found


def dead_units(
    coupling: Coupling, group: Group, readers: Iterable[Reader], blocked: set[int], makers: set[str]
) -> Dead:
    """Return which units of a group go.

    Args:
        coupling, group: of a program.
        readers: all of its readers.
        blocked: units that must stay.
        makers: operators of the layers that make these channels.
    """
    roots = np.array(unit_roots(coupling, group))
    if makers & set(RECURRENT) or blocked & set(roots.tolist()):
        return Dead()
    mine = [reader for reader in readers if np.isin(reader.roots, roots).any()]
    goes, carried, fixed = (np.ones(len(roots), bool) for _ in range(3))
    for reader in mine:
        goes &= _all_of(reader, roots, reader.done_without)
        carried &= _all_of(reader, roots, reader.done_without | reader.carriable)
        fixed &= _all_of(reader, roots, reader.done_without | reader.fixed)
    found = Dead(np.flatnonzero(goes).tolist())
    _carry(found, np.flatnonzero(carried & ~goes), roots, mine)
    if left := int((fixed & ~carried & ~goes).sum()):
        found.note = f"constant, but worth something that fits into no bias: {left} channels"
    if len(found.units) == len(roots):
        found.units = found.units[1:]
        found.note = "all of its channels are dead, and one has to stay"
    return found


def _all_of(reader: Reader, roots: NDArray[np.int64], mask: Mask) -> Mask:
    """Return of which units all channels are in the mask."""
    return np.asarray(~np.isin(roots, reader.roots[~mask]))


def _carry(
    found: Dead, candidates: NDArray[np.intp], roots: NDArray[np.int64], readers: list[Reader]
) -> None:
    """Let one constant channel stand for all of them, where zero padding keeps them out of the bias."""
    if len(candidates) == 0:
        return
    beside = [reader for reader in readers if reader.needs_carrier(roots[candidates]).any()]
    names = ", ".join(dict.fromkeys(reader.node.layer for reader in beside))
    least = [
        min(float(np.abs(reader.constants[reader.roots == roots[unit]]).max(initial=0)) for reader in beside)
        for unit in candidates
    ]
    best = int(np.argmax(least))
    if len(candidates) == 1 or least[best] == 0:
        found.note = f"constant, not zero, and beside the padding of {names}: {len(candidates)} channels"
        return
    found.carrier = int(candidates[best])
    others = [int(unit) for unit in candidates if unit != found.carrier]
    found.units = sorted(found.units + others)


def carried_weight(reader: Reader, weight: NDArray[Any], carrier: int, gone: set[int]) -> NDArray[Any]:
    """Return a weight whose carrier's column stands for the columns of the constant channels that go.

    sum over c of constant_c W[:, c] = constant_k W'[:, k], at every position, padding or not.
    """
    place = reader.strongest(carrier)
    share = np.where(reader.needs_carrier(gone), reader.constants / reader.constants[place], 0.0)
    wide = weight.astype(np.float64)
    wide[:, place] += np.tensordot(wide, share, axes=(1, 0))
    return wide.astype(weight.dtype)


def folded_amounts(reader: Reader, weight: NDArray[Any], gone: set[int]) -> NDArray[np.float64]:
    """Return what the constants of the channels that go add to each output."""
    goes = np.isin(reader.roots, list(gone)) & reader.settled
    amounts = np.where(goes, reader.constants, 0.0).reshape(reader.node.groups, -1)
    summed = weight.astype(np.float64).reshape(*weight.shape[:2], -1).sum(-1)
    by_group = summed.reshape(reader.node.groups, -1, weight.shape[1])
    return np.asarray(np.einsum("goc,gc->go", by_group, amounts).reshape(-1))
