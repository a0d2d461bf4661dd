"""From the operations of a region to what the executor reads: places, shifts, parts and shares of work."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import SchemaError
from wieldy.kernels import balance
from wieldy.kernels.check import LARGEST
from wieldy.kernels.region.layout import (
    LANES,
    Geometry,
    Planes,
    Resolution,
    Workspace,
    phases,
    split_resolution,
    taps,
)  # fmt: skip
from wieldy.kernels.region.ops import Conv, Op, Pooling, RegionPlan, Size
from wieldy.kernels.sparse_conv.check import check_conv

LOAD, STORE, SPLIT, CHAIN, POOL, MEAN = range(6)  # steps.h
Ints = NDArray[np.int32]
Slot = tuple[Resolution, int]


@dataclass(frozen=True)
class Tuning:
    """How a variant computes best.

    Attributes:
        tile: positions that are computed together.
        part_bytes: of the inputs of a tile that are kept in the first cache.
        part_entries: fewer entries of a row in a part are not worth the partial sums' way to memory and back.
    """

    tile: int
    part_bytes: int = 32 * 1024
    part_entries: int = 24


TUNING = {
    ("portable", 1): Tuning(64), ("portable", 4): Tuning(64), ("portable", 8): Tuning(64),
    ("avx2", 1): Tuning(64), ("avx2", 4): Tuning(96), ("avx2", 8): Tuning(96),
    ("avx512", 1): Tuning(128), ("avx512", 4): Tuning(96, 1 << 20), ("avx512", 8): Tuning(128, 1 << 20),
}  # fmt: skip
TASKS_PER_THREAD = 4  # of a product whose rows are shared out


def sizes_of(inputs: Mapping[str, Size], ops: Sequence[Op]) -> dict[str, Size]:
    """Return the size of every value of a region; refuses what cannot be planned, see `check_conv`."""
    sizes = dict(inputs)
    for op in ops:
        source = sizes[op.source]
        if isinstance(op, Conv):
            sizes[op.target] = check_conv(op, sizes)
        elif isinstance(op, Pooling):
            sizes[op.target] = Size(source.channels, *op.size)
        else:
            sizes[op.target] = Size(source.channels, 1, 1)
    return sizes


def plan_region(
    inputs: Mapping[str, Size], ops: Sequence[Op], outputs: Sequence[str], *, variant: str, threads: int
) -> RegionPlan:
    """Lay out a region for a variant and a number of threads."""
    return _Planner(inputs, ops, outputs, variant, threads).plan()


class _Planner:
    def __init__(
        self,
        inputs: Mapping[str, Size],
        ops: Sequence[Op],
        outputs: Sequence[str],
        variant: str,
        threads: int,
    ) -> None:
        self.inputs, self.ops, self.outputs = inputs, ops, outputs
        self.variant, self.threads = variant, threads
        self.sizes = sizes_of(inputs, ops)
        self.geometry = Geometry(ops, self.sizes)
        self.chains = self._chains()
        self.slots, self.phase_slots, workspace = self._assign()
        self.places, self.floats = workspace.place()
        if self.floats > LARGEST:
            raise SchemaError(
                f"region: its activations must fit {LARGEST:,} floats; {self.floats:,} are needed."
            )
        self.indices: list[Ints] = []
        self.values: list[NDArray[np.float32]] = []
        self.masks: dict[Resolution, int] = {}
        self.work: list[tuple[str, ...]] = []

    def _tile(self, conv: Conv) -> tuple[int, int]:
        """Return the positions of a tile, and how many tiles there are."""
        size = self.sizes[conv.target]
        pixels = (size.height - 1) * self.geometry.pitch((size.height, size.width)) + size.width
        vectors = -(-pixels // LANES)
        tiles = max(1, round(vectors * LANES / TUNING[self.variant, conv.block].tile))
        if tiles > 1:
            tiles = -(-tiles // self.threads) * self.threads
        tile = -(-vectors // tiles) * LANES
        return tile, -(-vectors * LANES // tile)

    def _chains(self) -> list[list[int]]:
        """Group operations that can run tile by tile."""
        chains: list[list[int]] = []
        made: dict[str, int] = {}  # value -> the chain that makes it
        for index, op in enumerate(self.ops):
            if chains and self._joins(op, chains[-1], made, len(chains) - 1):
                chains[-1].append(index)
            else:
                chains.append([index])
            made[op.target] = len(chains) - 1
        return chains

    def _joins(self, op: Op, chain: list[int], made: Mapping[str, int], number: int) -> bool:
        first = self.ops[chain[0]]
        if not (isinstance(op, Conv) and isinstance(first, Conv)):
            return False
        size, other = self.sizes[op.target], self.sizes[first.target]
        if (size.height, size.width) != (other.height, other.width) or self._tile(first)[1] < self.threads:
            return False
        shifted = op.stride != (1, 1) or any(t.row or t.column for t in taps(op))
        return not (shifted and made.get(op.source) == number)

    def _assign(self) -> tuple[dict[str, Slot], dict[int, Slot], Workspace]:
        """Give every value a slot, from its definition to the end of the chain of its last reader."""
        workspace = Workspace(self.geometry)
        last = {name: index for index, op in enumerate(self.ops) for name in _reads(op)}
        last |= dict.fromkeys(self.outputs, len(self.ops))
        slots = {name: workspace.take((s.height, s.width), s.channels) for name, s in self.inputs.items()}
        phase_slots = {}
        for chain in self.chains:
            reads = {name for index in chain for name in _reads(self.ops[index])}
            for index in chain:
                op, size = self.ops[index], self.sizes[self.ops[index].target]
                if isinstance(op, Conv) and op.stride != (1, 1):
                    source = self.sizes[op.source]
                    resolution = split_resolution(source, op.stride)
                    phase_slots[index] = workspace.take(resolution, source.channels * len(phases(op)))
                reused = self._in_place(op, index, chain, last)
                if reused:
                    slots[op.target] = slots[reused]
                    reads.discard(reused)
                else:
                    slots[op.target] = workspace.take((size.height, size.width), size.channels)
            for name in reads:
                if last[name] <= chain[-1]:
                    workspace.give_back(slots[name])
            for index in chain:
                if index in phase_slots:
                    workspace.give_back(phase_slots[index])
        return slots, phase_slots, workspace

    def _in_place(self, op: Op, index: int, chain: list[int], last: Mapping[str, int]) -> str | None:
        """Return the residual if the result can take its place: nobody needs it later or elsewhere."""
        residual = op.residual if isinstance(op, Conv) else None
        if residual is None or last[residual] != index:
            return None
        sources = {self.ops[other].source for other in chain if other <= index}
        return None if residual in sources else residual

    def _planes(self, name: str) -> Planes:
        return replace(self.places[self.slots[name]], channels=self.sizes[name].channels)

    def _index(self, values: Ints) -> int:
        self.indices.append(values.astype(np.int32))
        return sum(map(len, self.indices)) - len(values)

    def _value(self, values: NDArray[np.float32]) -> int:
        self.values.append(values.astype(np.float32).ravel())
        return sum(map(len, self.values)) - values.size

    def plan(self) -> RegionPlan:
        """Write all steps."""
        steps: list[int] = []
        for number, name in enumerate(self.inputs):
            steps += [LOAD, number, *astuple(self._planes(name))]
            self.work.append(())
        for chain in self.chains:
            op = self.ops[chain[0]]
            if isinstance(op, Conv):
                steps += self._chain(chain)
                continue
            self.work.append((op.target,))
            if isinstance(op, Pooling):
                spread = (*op.kernel, *op.stride, *op.padding, *op.dilation, op.counts_padding)
                ends = (*astuple(self._planes(op.source)), *astuple(self._planes(op.target)))
                steps += [POOL, op.average, *ends, *spread]
            else:
                steps += [MEAN, *astuple(self._planes(op.source)), *astuple(self._planes(op.target))]
        for number, name in enumerate(self.outputs):
            steps += [STORE, number, *astuple(self._planes(name))]
            self.work.append(())
        return RegionPlan(
            np.array(steps, np.int32), np.concatenate([*self.indices, np.zeros(1, np.int32)]),
            np.concatenate([*self.values, np.zeros(1, np.float32)]), self.floats,
            tuple(self.sizes[name] for name in self.outputs), self.variant, tuple(self.work),
        )  # fmt: skip

    def _chain(self, chain: list[int]) -> list[int]:
        steps, products = [], []
        convs = [(index, op) for index in chain if isinstance(op := self.ops[index], Conv)]
        tile, tiles = self._tile(convs[0][1])
        wanted = self.threads * TASKS_PER_THREAD if self.threads > 1 else 1
        tile_tasks = min(tiles, wanted)
        row_tasks = 1 if len(chain) > 1 or tiles >= self.threads else wanted // tiles
        for index, op in convs:
            source = self._planes(op.source)
            if index in self.phase_slots:
                read = phases(op)
                split = replace(self.places[self.phase_slots[index]], channels=source.channels * len(read))
                table = self._index(np.array(read).ravel())
                steps += [SPLIT, *astuple(source), *astuple(split), *op.stride, len(read), table]
                source = split
                self.work.append((op.target,))
            products += self._product(op, source, tile, row_tasks)
        self.work.append(tuple(op.target for _, op in convs))
        return [*steps, CHAIN, len(chain), tile, tile_tasks, row_tasks, *products]

    def _shifts(self, op: Conv, source: Planes, phase_count: int) -> Ints:
        """Return the offset of every entry of a convolution."""
        read = phases(op)
        found = taps(op)
        by_tap = np.array(
            [read.index(t.phase) * source.stride + t.row * source.pitch + t.column for t in found]
        )
        channel, tap = np.divmod(op.columns, len(found))
        rows_in_group = op.channels // op.groups
        group = np.arange(len(op.starts) - 1) * op.block // rows_in_group
        inputs_in_group = source.channels // phase_count // op.groups
        channel = channel + np.repeat(group * inputs_in_group, np.diff(op.starts))
        shifts: Ints = channel * phase_count * source.stride + by_tap[tap]
        return shifts

    def _product(self, op: Conv, source: Planes, tile: int, row_tasks: int) -> list[int]:
        target = self._planes(op.target)
        shifts = self._shifts(op, source, len(phases(op)))
        parts = self._parts(op, source, tile, shifts)
        packed = pack(op, shifts, parts)
        residual = self.places[self.slots[op.residual]].begin if op.residual else -1
        bias = np.zeros(-(-op.channels // 8) * 8, np.float32)
        bias[: op.channels] = op.bias
        cuts = self._index(balance.cuts(np.diff(op.starts), row_tasks))
        return [
            *astuple(target), source.begin, residual,
            self._index(packed.starts), self._index(packed.offsets), self._value(packed.values),
            self._value(bias), self._mask(target), cuts,
            op.block, packed.parts, len(op.starts) - 1, op.groups == op.channels,
            _bits(op.low), _bits(op.high),
        ]  # fmt: skip

    def _parts(self, op: Conv, source: Planes, tile: int, shifts: Ints) -> Ints:
        """Return the part of every entry: input channels whose tiles fit the first cache together."""
        if op.groups > 1:
            return np.zeros(len(shifts), np.int32)
        tap_rows = len({(t.phase, t.row) for t in taps(op)})
        span = max(t.row for t in taps(op)) - min(t.row for t in taps(op))
        one = min(tap_rows * (tile + LANES), (tile + span * source.pitch + LANES) * len(phases(op))) * 4
        tuning = TUNING[self.variant, op.block]
        inputs = source.channels // len(phases(op))
        by_bytes = -(-inputs * one // tuning.part_bytes)
        by_entries = len(shifts) // (tuning.part_entries * (len(op.starts) - 1))
        count = max(1, min(by_bytes, by_entries, inputs))
        channel = op.columns // len(taps(op))
        found: Ints = (channel * count // inputs).astype(np.int32)
        return found

    def _mask(self, planes: Planes) -> int:
        """Return where the bits of the pixels lie, or -1 where nobody reads past the pixels of a plane.

        What lies between pixels must be zero in every value of a resolution if it must in one: they take
        turns in the same places.
        """
        resolution = (planes.height, planes.width)
        if not self.geometry.margins(resolution).any:
            return -1
        if resolution not in self.masks:
            pixels = (planes.height - 1) * planes.pitch + planes.width
            at = np.arange(-(-pixels // 32) * 32)
            bits = np.packbits((at % planes.pitch < planes.width) & (at < pixels), bitorder="little")
            self.masks[resolution] = self._index(bits.view(np.int32))
        return self.masks[resolution]


@dataclass(frozen=True)
class Packed:
    """The entries of a layer in the order in which they are read; see product.h."""

    parts: int
    starts: Ints
    offsets: Ints
    values: NDArray[np.float32]


def pack(op: Conv, shifts: Ints, parts: Ints) -> Packed:
    """Order the entries of a layer by part, then by row block, then by place."""
    height, count = len(op.starts) - 1, int(parts.max(initial=0)) + 1
    row_of = np.repeat(np.arange(height), np.diff(op.starts))
    lengths = np.bincount(parts * height + row_of, minlength=count * height)
    order = np.lexsort((shifts, row_of, parts))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Packed(count, starts, shifts[order], op.values[order])


def _reads(op: Op) -> list[str]:
    residual = op.residual if isinstance(op, Conv) else None
    return [op.source, *([residual] if residual else [])]


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))
