"""In which order the operations of a region run, and which of them run together, tile by tile.

A tile goes through all operations of a chain while it is in the cache. What a chain makes and nobody else
reads never leaves it; what a strided convolution reads later is split into phases where it is made.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wieldy.kernels.region.layout import phases, taps
from wieldy.kernels.region.ops import Op, Pair, Shifting, Size, read_by


@dataclass(frozen=True)
class Split:
    """Every stride-th row and column of a value, in planes of their own for each phase that is read."""

    source: str
    stride: Pair
    phases: tuple[Pair, ...]


Item = str | Split


@dataclass(frozen=True)
class Tiling:
    """How many positions are computed together, and how many such tiles there are."""

    positions: int
    tiles: int


@dataclass(frozen=True)
class Chain:
    """Operations that run together; one alone unless all are convolutions.

    Attributes:
        tiling: of convolutions; None for what else there is.
        tiled: whether threads take tiles of their own, so that each goes through all operations.
        uses: the splits that the operations read.
        before: those of them that are made by steps of their own, before the chain.
        inside: splits of values that are made here, tile by tile.
        local: values that are made here and read nowhere else.
    """

    ops: tuple[Op, ...]
    tiling: Tiling | None
    tiled: bool
    uses: tuple[Split, ...]
    before: tuple[Split, ...]
    inside: tuple[Split, ...]
    local: frozenset[str]

    def reads(self) -> set[Item]:
        """Return the values and splits that must be there when the chain runs, or are made by it."""
        values = {name for op in self.ops for name in reads(op)}
        return values | set(self.uses) | {split.source for split in self.before}


def reads(op: Op) -> list[str]:
    """Return the values that an operation reads as they are."""
    return list(read_by(op)[1 if _split_key(op) else 0 :])


def split_read(op: Op, chain: Chain) -> Split | None:
    """Return the split that an operation of a chain reads, or None if it reads its source as it is."""
    key = _split_key(op)
    return next((split for split in chain.uses if (split.source, split.stride) == key), None)


def schedule(
    ops: Sequence[Op],
    sizes: Mapping[str, Size],
    outputs: Iterable[str],
    tiling: Callable[[Shifting], Tiling],
    threads: int,
) -> list[Chain]:
    """Order the operations of a region into chains: what can run next in the chain at hand does."""
    groups = _group(ops, sizes, tiling, threads)
    splits = _splits(ops)
    made = {op.target: number for number, group in enumerate(groups) for op in group}
    tiled = [_tiled(group, tiling, threads) for group in groups]
    inside = {key: made[key[0]] for key in splits if key[0] in made and tiled[made[key[0]]]}
    kept, chains, ready = set(outputs), [], set(inside)
    for number, group in enumerate(groups):
        keys = dict.fromkeys(key for op in group if (key := _split_key(op)))
        elsewhere = {name for other in groups if other is not group for op in other for name in reads(op)}
        elsewhere |= {key[0] for key in splits if inside.get(key) != number} | kept
        chains.append(
            Chain(
                tuple(group),
                tiling(first) if isinstance(first := group[0], Shifting) else None,
                tiled[number],
                tuple(splits[key] for key in keys),
                tuple(splits[key] for key in keys if key not in ready),
                tuple(splits[key] for key, of in inside.items() if of == number),
                frozenset({op.target for op in group} - elsewhere if tiled[number] else ()),
            )
        )
        ready |= set(keys)
    return chains


def _split_key(op: Op) -> tuple[str, Pair] | None:
    return (op.source, op.stride) if isinstance(op, Shifting) and op.stride != (1, 1) else None


def _splits(ops: Iterable[Op]) -> dict[tuple[str, Pair], Split]:
    """Return the splits of a region; convolutions of one source and stride share theirs."""
    wanted: dict[tuple[str, Pair], set[Pair]] = {}
    for op in ops:
        if isinstance(op, Shifting) and (key := _split_key(op)):
            wanted.setdefault(key, set()).update(phases(op))
    return {key: Split(*key, tuple(sorted(found))) for key, found in wanted.items()}


def _tiled(group: Sequence[Op], tiling: Callable[[Shifting], Tiling], threads: int) -> bool:
    first = group[0]
    return isinstance(first, Shifting) and tiling(first).tiles >= threads


def _group(
    ops: Sequence[Op], sizes: Mapping[str, Size], tiling: Callable[[Shifting], Tiling], threads: int
) -> list[list[Op]]:
    waiting, groups = list(ops), list[list[Op]]()
    missing = {op.target for op in ops}
    while waiting:
        able = [op for op in waiting if not missing.intersection(read_by(op))]
        joining = [op for op in able if groups and _joins(op, groups[-1], sizes, tiling, threads)]
        op = (joining or able)[0]
        if joining:
            groups[-1].append(op)
        else:
            groups.append([op])
        waiting.remove(op)
        missing.remove(op.target)
    return groups


def _joins(
    op: Op,
    group: Sequence[Op],
    sizes: Mapping[str, Size],
    tiling: Callable[[Shifting], Tiling],
    threads: int,
) -> bool:
    """Return whether a tile can go on to an operation: it shifts nothing that the chain makes."""
    if not (isinstance(op, Shifting) and _tiled(group, tiling, threads)):
        return False
    size, other = sizes[op.target], sizes[group[0].target]
    if (size.height, size.width) != (other.height, other.width):
        return False
    shifted = op.stride != (1, 1) or any(tap.row or tap.column for tap in taps(op))
    return not (shifted and op.source in {made.target for made in group})
