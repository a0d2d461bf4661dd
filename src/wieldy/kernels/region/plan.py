"""From the operations of a region to what the executor reads: places, shifts, parts and shares of work."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import OversizeError
from wieldy.kernels import balance
from wieldy.kernels.check import LARGEST
from wieldy.kernels.region.check import check_concat, check_joined_levels
from wieldy.kernels.region.layout import (
    CHANNELS,
    LANES,
    Geometry,
    Planes,
    Resolution,
    taps,
)  # fmt: skip
from wieldy.kernels.region.level_steps import BYTES, LevelEntries, entries_of, word_of, words
from wieldy.kernels.region.ops import (
    Concat,
    Conv,
    GlobalMean,
    LevelConv,
    Levels,
    Op,
    Pair,
    Pooling,
    RegionPlan,
    Shifting,
    Size,
)  # fmt: skip
from wieldy.kernels.region.places import local_planes, place_values
from wieldy.kernels.region.schedule import Chain, Item, Split, Tiling, schedule, split_read
from wieldy.kernels.sparse_conv.check import check_conv
from wieldy.kernels.sparse_int8.check import check_level_conv, check_levels

LOAD, STORE, SPLIT, CHAIN, PRODUCT, POOL, MEAN = range(7)  # steps.h
QUANTIZE, DEQUANTIZE, LEVEL_PRODUCT, LEVEL_POOL, LEVEL_MEAN = range(7, 12)
LOCAL_FROM, LOCAL_RESIDUAL, LOCAL_TO = 1, 2, 4  # steps.h
Ints = NDArray[np.int32]
PLAIN: tuple[Pair, ...] = ((0, 0),)  # the phases of what is read as it is


@dataclass(frozen=True)
class Tuning:
    """How a variant computes best.

    Attributes:
        tile: positions that are computed together.
        least: of positions for each thread; fewer are not worth a tile, and threads share rows instead.
        part_bytes: of the inputs of a tile that are kept in the first cache.
        part_entries: fewer entries of a row in a part are not worth the partial sums' way to memory and back.
    """

    tile: int
    least: int
    part_bytes: int = 32 * 1024
    part_entries: int = 24


TUNING = {
    ("portable", 1): Tuning(64, 64), ("portable", 4): Tuning(64, 64), ("portable", 8): Tuning(64, 64),
    ("avx2", 1): Tuning(96, 64), ("avx2", 4): Tuning(96, 96), ("avx2", 8): Tuning(96, 96),
    ("avx512", 1): Tuning(128, 128),
    ("avx512", 4): Tuning(96, 96, 1 << 20), ("avx512", 8): Tuning(144, 32, 1 << 20),
}  # fmt: skip
LEVEL_TUNING = {  # by variant, and whether four channels share a pattern
    ("portable", False): Tuning(64, 64), ("portable", True): Tuning(64, 64),
    ("avx2", False): Tuning(256, 64), ("avx2", True): Tuning(256, 64),
    ("avx_vnni", False): Tuning(256, 64), ("avx_vnni", True): Tuning(256, 64),
    ("avx512_vnni", False): Tuning(128, 64), ("avx512_vnni", True): Tuning(128, 64),
}  # fmt: skip
TASKS_PER_THREAD = 4  # of a product whose rows are shared out


def sizes_of(inputs: Mapping[str, Size], ops: Sequence[Op]) -> dict[str, Size]:
    """Return the size of every value of a region; refuses what cannot be planned, see `check_conv`."""
    sizes = dict(inputs)
    for op in ops:
        if isinstance(op, Concat):
            sizes[op.target] = check_concat(op, sizes)
            continue
        source = sizes[op.source]
        if isinstance(op, Conv):
            sizes[op.target] = check_conv(op, sizes)
        elif isinstance(op, LevelConv):
            sizes[op.target] = check_level_conv(op, sizes)
        elif isinstance(op, Pooling):
            sizes[op.target] = Size(source.channels, *op.size)
        else:
            sizes[op.target] = Size(source.channels, 1, 1)
    return sizes


def plan_region(
    inputs: Mapping[str, Size],
    ops: Sequence[Op],
    outputs: Sequence[str],
    *,
    variant: str,
    threads: int,
    channels_last: Collection[str] = (),
    levels: Mapping[str, Levels] | None = None,
    level_variant: str = "",
) -> RegionPlan:
    """Lay out a region for a variant and a number of threads.

    Args:
        inputs: sizes of what it reads.
        ops: in an order in which each follows what it reads.
        outputs: values that it hands out.
        variant: of products of float32.
        threads: at least 1.
        channels_last: inputs and outputs that are (batch, height, width, channels) instead of channels first.
        levels: what the values stand for that are kept as levels; the others are float32. Inputs and outputs
            are float32 in any case: they are rounded, or scaled, where they cross the edge.
        level_variant: of products of levels; needed where there are any.
    """
    return _Planner(inputs, ops, outputs, (variant, level_variant), threads, levels or {}).plan(channels_last)


class _Planner:
    def __init__(
        self,
        inputs: Mapping[str, Size],
        ops: Sequence[Op],
        outputs: Sequence[str],
        variants: tuple[str, str],
        threads: int,
        levels: Mapping[str, Levels],
    ) -> None:
        self.inputs, self.ops, self.outputs = inputs, ops, outputs
        (self.variant, self.level_variant), self.threads, self.levels = variants, threads, levels
        self.real = sizes_of(inputs, ops)
        check_levels(ops, levels)
        check_joined_levels(ops, levels, self.real)
        self.sizes = {name: words(size) if name in levels else size for name, size in self.real.items()}
        self.geometry = Geometry(ops, self.sizes)
        self.chains = schedule(ops, self.sizes, outputs, self._tiling, threads)
        self.places, self.scratch = place_values(inputs, self.chains, outputs, self.sizes, self.geometry)
        self.scratch_floats = 0
        for chain in self.chains:
            local, floats = local_planes(chain, self.sizes, self.geometry)
            self.places |= local
            self.scratch_floats = max(self.scratch_floats, floats)
        self.places = {item: replace(found, fill=self._fill(item)) for item, found in self.places.items()}
        self.floats = self.scratch + self.scratch_floats * threads + LANES
        if self.floats > LARGEST:
            raise OversizeError(
                f"region: its activations must fit {LARGEST:,} floats; {self.floats:,} are needed."
            )
        self.indices: list[Ints] = []
        self.values: list[NDArray[np.float32]] = []
        self.masks: dict[Resolution, int] = {}
        self.work: list[tuple[str, ...]] = []

    def _fill(self, item: Item) -> int:
        known = self.levels.get(item if isinstance(item, str) else item.source)
        return word_of(known.zero) if known else 0

    def _tiling(self, op: Shifting) -> Tiling:
        size = self.sizes[op.target]
        vectors = -(-self.geometry.positions((size.height, size.width)) // LANES)
        if isinstance(op, LevelConv):
            tuning = LEVEL_TUNING[self.level_variant, op.shared]
        else:
            assert isinstance(op, Conv)
            tuning = TUNING[self.variant, op.block]
        tiles = max(1, round(vectors * LANES / tuning.tile))
        if tiles > 1 or vectors * LANES >= self.threads * tuning.least:
            tiles = -(-tiles // self.threads) * self.threads
        tile = -(-vectors // tiles) * LANES
        return Tiling(tile, -(-vectors * LANES // tile))

    def _index(self, values: Ints) -> int:
        self.indices.append(values.astype(np.int32))
        return sum(map(len, self.indices)) - len(values)

    def _value(self, values: NDArray[np.float32]) -> int:
        self.values.append(values.astype(np.float32).ravel())
        return sum(map(len, self.values)) - values.size

    def plan(self, channels_last: Collection[str]) -> RegionPlan:
        """Write all steps."""
        steps: list[int] = []
        for number, name in enumerate(self.inputs):
            steps += self._crossing(LOAD, QUANTIZE, number, name, name in channels_last)
            self.work.append(())
        for chain in self.chains:
            op = chain.ops[0]
            if chain.tiling:
                steps += self._chain(chain, chain.tiling)
            elif isinstance(op, Concat):
                steps += self._concat(op)
            else:
                steps += self._pooled(op)
        for number, name in enumerate(self.outputs):
            steps += self._crossing(STORE, DEQUANTIZE, number, name, name in channels_last)
            self.work.append(())
        shapes = tuple(_shape(self.real[name], name in channels_last) for name in self.outputs)
        return RegionPlan(
            np.array(steps, np.int32), np.concatenate([*self.indices, np.zeros(1, np.int32)]),
            np.concatenate([*self.values, np.zeros(1, np.float32)]), self.floats,
            shapes, self.variant, tuple(self.work), self.level_variant,
        )  # fmt: skip

    def _pooled(self, op: Op) -> list[int]:
        assert isinstance(op, Pooling | GlobalMean)
        self.work.append((op.target,))
        known = self.levels.get(op.source)
        ends = [*astuple(self.places[op.source]), *astuple(self.places[op.target])]
        if isinstance(op, GlobalMean):
            return [LEVEL_MEAN, known.zero, _bits(known.scale), *ends] if known else [MEAN, *ends]
        spread = (*op.kernel, *op.stride, *op.padding, *op.dilation)
        if known:
            return [LEVEL_POOL, *ends, *spread]
        return [POOL, op.average, *ends, *spread, op.counts_padding]

    def _concat(self, op: Concat) -> list[int]:
        """Return a copy of each source to its channels, as a split into the one phase of stride one.

        The last source is copied first: what it clears before its first channel may be pixels of the source
        before it, which then come into their place.
        """
        target, table, steps = self.places[op.target], self._index(np.zeros(2, np.int32)), list[int]()
        end = target.channels
        for name in reversed(op.sources):
            source = self.places[name]
            end -= source.channels
            part = replace(target, begin=target.begin + end * target.stride, channels=source.channels)
            steps += [SPLIT, *astuple(source), *astuple(part), 1, 1, 1, table, False]
            self.work.append((op.target,))
        return steps

    def _crossing(self, plain: int, of_levels: int, number: int, name: str, last: bool) -> list[int]:
        """Return the step by which a value enters or leaves."""
        known, planes = self.levels.get(name), astuple(self.places[name])
        if known is None:
            return [plain, number, last, *planes]
        scale = (_bits(known.scale), known.zero, known.least, known.largest)
        return [of_levels, number, last, self.real[name].channels, *planes, *scale]

    def _chain(self, chain: Chain, tiling: Tiling) -> list[int]:
        steps, members = [], []
        for split in chain.before:
            steps += self._split(split, chain)
            self.work.append(tuple(op.target for op in chain.ops if split_read(op, chain) == split)[:1])
        tile_tasks, row_tasks = self.threads, 1
        if not chain.tiled:
            tile_tasks, row_tasks = tiling.tiles, self.threads * TASKS_PER_THREAD // tiling.tiles
        for op in chain.ops:
            members.append(
                self._level_product(op, chain, row_tasks)
                if isinstance(op, LevelConv)
                else self._product(op, chain, tiling, row_tasks)
            )
            members += [self._split(split, chain) for split in chain.inside if split.source == op.target]
        self.work.append(tuple(op.target for op in chain.ops))
        return [
            *steps, CHAIN, len(members), tiling.positions, tile_tasks, row_tasks,
            self.scratch, self.scratch_floats, *(field for member in members for field in member),
        ]  # fmt: skip

    def _split(self, split: Split, chain: Chain) -> list[int]:
        table = self._index(np.array(split.phases).ravel())
        return [
            SPLIT, *astuple(self.places[split.source]), *astuple(self.places[split]),
            *split.stride, len(split.phases), table, split.source in chain.local,
        ]  # fmt: skip

    def _shifts(self, op: Conv, source: Planes, read: Sequence[Pair]) -> Ints:
        """Return the offset of every entry of a convolution that reads phases."""
        by_tap = _by_tap(op, source, read)
        channel, tap = np.divmod(op.columns, len(by_tap))
        rows_in_group = op.channels // op.groups
        group = np.arange(len(op.starts) - 1) * op.block // rows_in_group
        inputs_in_group = self.sizes[op.source].channels // op.groups
        channel = channel + np.repeat(group * inputs_in_group, np.diff(op.starts))
        shifts: Ints = channel * len(read) * source.stride + by_tap[tap]
        return shifts

    def _product(self, op: Op, chain: Chain, tiling: Tiling, row_tasks: int) -> list[int]:
        assert isinstance(op, Conv)
        split = split_read(op, chain)
        target, source = self.places[op.target], self.places[split or op.source]
        shifts = self._shifts(op, source, split.phases if split else PLAIN)
        packed = pack(op, shifts, self._parts(op, source, tiling.positions, len(shifts)))
        bias = np.zeros(-(-op.channels // CHANNELS) * CHANNELS, np.float32)
        bias[: op.channels] = op.bias
        cuts = self._index(balance.cuts(np.diff(op.starts), row_tasks))
        local = (split is None and op.source in chain.local) * LOCAL_FROM
        local += (op.residual in chain.local) * LOCAL_RESIDUAL + (op.target in chain.local) * LOCAL_TO
        residual = self.places[op.residual] if op.residual else None
        return [
            PRODUCT, *astuple(target), source.begin,
            *((residual.begin, residual.stride) if residual else (-1, 0)), local,
            self._index(packed.starts), self._index(packed.offsets), self._value(packed.values),
            self._value(bias), self._mask(target), cuts,
            op.block, packed.parts, len(op.starts) - 1, op.groups == op.channels,
            _bits(op.low), _bits(op.high),
        ]  # fmt: skip

    def _level_product(self, op: Op, chain: Chain, row_tasks: int) -> list[int]:
        assert isinstance(op, LevelConv)
        split = split_read(op, chain)
        target, source = self.places[op.target], self.places[split or op.source]
        read = split.phases if split else PLAIN
        found: LevelEntries = entries_of(op)
        shifts = found.words * len(read) * source.stride + _by_tap(op, source, read)[found.taps]
        order = np.lexsort((shifts, found.rows))
        rows = -(-op.channels // BYTES)
        bias, scale = np.zeros(rows * BYTES, np.int32), np.zeros(rows * BYTES, np.float32)
        bias[: op.channels], scale[: op.channels] = op.bias, op.scale
        counts = np.diff(found.starts)
        cuts = balance.cuts(counts if op.shared else counts.reshape(rows, BYTES).sum(axis=1), row_tasks)
        local = (split is None and op.source in chain.local) * LOCAL_FROM
        local += (op.residual in chain.local) * LOCAL_RESIDUAL + (op.target in chain.local) * LOCAL_TO
        residual = self.places[op.residual] if op.residual else None
        return [
            LEVEL_PRODUCT, *astuple(target), source.begin,
            *((residual.begin, residual.stride) if residual else (-1, 0)), local,
            self._index(found.starts), self._index(shifts[order]), self._index(found.entries[order].ravel()),
            self._index(bias), self._value(scale), self._mask(target), self._index(cuts),
            op.shared, op.numbers, op.zero, _bits(op.low), _bits(op.high),
            _bits(op.residual_scale), op.residual_zero, op.residual_numbers,
        ]  # fmt: skip

    def _parts(self, op: Conv, source: Planes, tile: int, entries: int) -> Ints:
        """Return the part of every entry: input channels whose tiles fit the first cache together."""
        if op.groups > 1:
            return np.zeros(entries, np.int32)
        tap_rows = len({(t.phase, t.row) for t in taps(op)})
        span = max(t.row for t in taps(op)) - min(t.row for t in taps(op))
        phases = len({t.phase for t in taps(op)})
        one = min(tap_rows * (tile + LANES), (tile + span * source.pitch + LANES) * phases) * 4
        tuning = TUNING[self.variant, op.block]
        inputs = self.sizes[op.source].channels
        by_bytes = -(-inputs * one // tuning.part_bytes)
        by_entries = entries // (tuning.part_entries * (len(op.starts) - 1))
        count = max(1, min(by_bytes, by_entries, inputs))
        channel = op.columns // len(taps(op))
        found: Ints = (channel * count // inputs).astype(np.int32)
        return found

    def _mask(self, planes: Planes) -> int:
        """Return where the bits of the pixels lie, or -1 where nobody reads past the pixels."""
        if not planes.lead:
            return -1
        resolution = (planes.height, planes.width)
        if resolution not in self.masks:
            pixels = self.geometry.positions(resolution)
            at = np.arange(-(-pixels // 32) * 32)
            bits = np.packbits((at % planes.pitch < planes.width) & (at < pixels), bitorder="little")
            self.masks[resolution] = self._index(bits.view(np.int32))
        return self.masks[resolution]


def _by_tap(op: Shifting, source: Planes, read: Sequence[Pair]) -> Ints:
    """Return the offset of every tap of a convolution that reads phases."""
    found = [read.index(t.phase) * source.stride + t.row * source.pitch + t.column for t in taps(op)]
    return np.array(found, np.int32)


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


def _shape(size: Size, channels_last: bool) -> tuple[int, int, int]:
    order = (size.height, size.width, size.channels)
    return order if channels_last else (size.channels, size.height, size.width)


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))
