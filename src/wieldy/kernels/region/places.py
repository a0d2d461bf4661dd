"""Which value lies where: those that are not there at one time share memory, across resolutions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wieldy.kernels.region.layout import (
    Geometry,
    Lifetime,
    Planes,
    Resolution,
    margins,
    place,
    split_resolution,
)
from wieldy.kernels.region.ops import LevelConv, Op, Shifting, Size
from wieldy.kernels.region.schedule import Chain, Item, reads, split_read


def place_values(
    inputs: Iterable[str],
    chains: Sequence[Chain],
    outputs: Iterable[str],
    sizes: Mapping[str, Size],
    geometry: Geometry,
) -> tuple[dict[Item, Planes], int]:
    """Return the planes of all values and splits but local ones, and the floats that they take together.

    Each lives from the chain that makes it to that of its last reader.
    """
    made: dict[Item, int] = dict.fromkeys(inputs, -1)
    for number, chain in enumerate(chains):
        made |= dict.fromkeys((*chain.before, *chain.inside), number)
        made |= {op.target: number for op in chain.ops if op.target not in chain.local}
    last = {item: number for number, chain in enumerate(chains) for item in chain.reads()}
    last |= dict.fromkeys(outputs, len(chains))
    padded, hosts = _padded(chains, sizes), _hosts(chains, last)
    planes = {item: geometry.planes(*_extent(item, sizes), zeros=item in padded) for item in made}
    guests: dict[Item, list[Item]] = {}
    for item in made:
        guests.setdefault(hosts.get(item, item), []).append(item)
    leads = {host: max(planes[item].lead for item in of) for host, of in guests.items()}
    places, floats = place(
        {
            host: Lifetime(
                leads[host] + max(planes[item].floats for item in of),
                min(made[item] for item in of),
                max(last.get(item, made[item]) for item in of),
            )
            for host, of in guests.items()
        }
    )
    begins = {item: places[host] + leads[host] for host, of in guests.items() for item in of}
    return {item: replace(found, begin=begins[item]) for item, found in planes.items()}, floats


def local_planes(
    chain: Chain, sizes: Mapping[str, Size], geometry: Geometry
) -> tuple[dict[Item, Planes], int]:
    """Return planes of one tile for the local values of a chain, and the floats that a task needs."""
    found, at = dict[Item, Planes](), 0
    for name in (op.target for op in chain.ops if op.target in chain.local):
        assert chain.tiling
        found[name] = replace(geometry.tile(*_extent(name, sizes), chain.tiling.positions), begin=at)
        at += found[name].floats
    return found, at


def _extent(item: Item, sizes: Mapping[str, Size]) -> tuple[Resolution, int]:
    if isinstance(item, str):
        return (sizes[item].height, sizes[item].width), sizes[item].channels
    source = sizes[item.source]
    return split_resolution(source, item.stride), source.channels * len(item.phases)


def _padded(chains: Sequence[Chain], sizes: Mapping[str, Size]) -> set[Item]:
    """Return what a convolution reads past its pixels."""
    found = set[Item]()
    for chain in chains:
        for op in chain.ops:
            if isinstance(op, Shifting):
                resolution = split_resolution(sizes[op.source], op.stride)
                if margins(op, resolution, sizes[op.target]).any:
                    found.add(split_read(op, chain) or op.source)
    return found


def _hosts(chains: Sequence[Chain], last: Mapping[Item, int]) -> dict[Item, Item]:
    """Return what is made in the place of its residual, with the first value that lay there."""
    hosts: dict[Item, Item] = {}
    for number, chain in enumerate(chains):
        for op in chain.ops:
            residual = _given_up(op, chain)
            if residual and last[residual] == number:
                hosts[op.target] = hosts.get(residual, residual)
    return hosts


def _given_up(op: Op, chain: Chain) -> str | None:
    """Return the residual of an operation if no other of its chain reads it."""
    if not isinstance(op, Shifting):
        return None
    residual = op.residual
    if residual is None or {residual, op.target} & chain.local or op.source == residual:
        return None
    if isinstance(op, LevelConv) and (op.numbers or op.residual_numbers):
        return None  # numbers take four times the room of levels
    return residual if [other for other in chain.ops if residual in reads(other)] == [op] else None
