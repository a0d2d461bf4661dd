"""What each operation takes: OpenVINO's by its own counters, those of our regions step by step."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.formats.integer import IntegerFormat
from wieldy.graph.program import Node, Program
from wieldy.kernels.native import IN_PAIRS, native
from wieldy.kernels.region.level_steps import BYTES, entries_of
from wieldy.kernels.region.ops import Conv, LevelConv, Op, RegionPlan, Size
from wieldy.kernels.region.plan import plan_region
from wieldy.kernels.region.run import run_plan
from wieldy.runtime.engine import compile_model
from wieldy.runtime.fuse import Weights, fuse_region
from wieldy.runtime.fuse_levels import LevelWeights
from wieldy.runtime.inputs import fill_inputs
from wieldy.runtime.lower import NO_INTEGERS, lower
from wieldy.runtime.lower_levels import level_regions
from wieldy.runtime.lower_zeros import Zeros, sparse_regions

WARM, RUNS, COLD_RUNS = 10, 60, 15
EVICTED_FLOATS = 32 << 20


@dataclass(frozen=True)
class Operation:
    """One operation that was executed, and its median time."""

    kind: str
    kernel: str
    milliseconds: float


def operation_times(
    request: Any, runs: int = RUNS, before: Callable[[], None] | None = None
) -> dict[str, Operation]:
    """Run a request whose model was compiled for profiling, and return its operations by name.

    `before` is called before each run.
    """
    return times_in_turns([request], runs, before)[0]


def times_in_turns(
    requests: Sequence[Any], runs: int = RUNS, before: Callable[[], None] | None = None
) -> list[dict[str, Operation]]:
    """Do so for several requests in turns, so that what else the machine does hits them alike."""
    times: list[dict[str, list[float]]] = [defaultdict(list) for _ in requests]
    facts: list[dict[str, Any]] = [{} for _ in requests]
    for index in range(WARM + runs):
        for request, taken, known in zip(requests, times, facts, strict=True):
            if before:
                before()
            request.infer()
            for info in request.profiling_info if index >= WARM else ():
                if info.status == info.Status.EXECUTED:
                    taken[info.node_name].append(info.real_time.total_seconds() * 1e3)
                    known[info.node_name] = info
    return [
        {
            name: Operation(known[name].node_type, known[name].exec_type, float(np.median(values)))
            for name, values in taken.items()
        }
        for taken, known in zip(times, facts, strict=True)
    ]


def layer_ms(
    program: Program,
    arrays: Mapping[str, NDArray[Any]],
    threads: int,
    zeros: Zeros | None = None,
    integers: Mapping[str, IntegerFormat] = NO_INTEGERS,
) -> dict[str, float]:
    """Return the milliseconds of each layer of a program that OpenVINO runs, at batch 1, out of no cache.

    Between the requests of a service, or of two networks timed in turns, others use the caches.
    """
    compiled = compile_model(lower(program, arrays, 1, zeros, integers), threads=threads, profile=True)
    request = compiled.create_infer_request()
    fill_inputs(request, program)
    owners = owners_of(program, compiled)
    memory = np.zeros(EVICTED_FLOATS, np.float32)
    times = operation_times(request, COLD_RUNS, lambda: native().evict(memory, threads))
    return {
        layer: operation.milliseconds for name, operation in times.items() for layer in owners.get(name, ())
    }


def _fused_names(compiled: Any) -> dict[str, list[str]]:
    """For each executed operation, the names of what OpenVINO says it was fused from."""
    names = {}
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        text = info["originalLayersNames"].astype(str) if "originalLayersNames" in info else ""
        names[node.get_friendly_name()] = [part.split("/")[0] for part in text.split(",")]
    return names


@dataclass(frozen=True)
class ChainTime:
    """Layers that a region runs together, tile by tile, with the values that each keeps, and their time."""

    layers: tuple[tuple[Node, int], ...]
    milliseconds: float


def region_times(
    program: Program, arrays: Mapping[str, NDArray[Any]], zeros: Zeros, *, cold: bool
) -> tuple[list[ChainTime], float]:
    """Return the median time of each chain of layers in regions, and what loading a megabyte takes.

    Cold: out of no cache, as `layer_ms` has it; else one run after the other.

    What splits an input into phases counts to the layer that asks for it.
    """
    chains: list[ChainTime] = []
    loads = []
    for region in sparse_regions(program, zeros):
        fused = fuse_region(program, region, Weights(arrays, zeros.blocks))
        plan = plan_region(
            fused.inputs, fused.ops, fused.outputs, variant=zeros.variant, threads=zeros.threads
        )
        found, each = _chain_times(program, plan, fused.inputs, fused.ops, zeros.threads, cold=cold)
        chains += found
        loads += each
    return chains, float(np.median(loads)) if loads else 0.0


def level_times(
    program: Program,
    arrays: Mapping[str, NDArray[Any]],
    integers: Mapping[str, IntegerFormat],
    zeros: Zeros,
) -> list[ChainTime]:
    """Return the median time of each chain of layers in regions of eight bits, out of no cache."""
    weights = LevelWeights(arrays, integers, in_pairs=zeros.level_variant in IN_PAIRS)
    chains: list[ChainTime] = []
    for fused in level_regions(program, weights, zeros.levels).values():
        plan = plan_region(
            fused.sizes, fused.ops, fused.outputs, variant=zeros.variant, threads=zeros.threads,
            levels=fused.levels, level_variant=zeros.level_variant,
        )  # fmt: skip
        chains += _chain_times(program, plan, fused.sizes, fused.ops, zeros.threads, cold=True)[0]
    return chains


def _chain_times(
    program: Program, plan: RegionPlan, sizes: Mapping[str, Size], ops: Sequence[Op], threads: int, *,
    cold: bool,
) -> tuple[list[ChainTime], list[float]]:  # fmt: skip
    """Run a region on ones; return what each chain takes, and what loading a megabyte of each input does."""
    x = [np.ones((1, size.channels, size.height, size.width), np.float32) for size in sizes.values()]
    evict = np.zeros(EVICTED_FLOATS, np.float32) if cold else None
    _, steps = run_plan(plan, x, threads=threads, repeats=WARM + (COLD_RUNS if cold else RUNS), evict=evict)
    times = np.median(steps[WARM:], axis=0)
    loads = [ms / (tensor.nbytes / 1e6) for ms, tensor in zip(times, x, strict=False)]
    of_layer = {op.target: op for op in ops if isinstance(op, Conv | LevelConv) and op.layer}
    chains = []
    for targets, ms in _whole_chains(plan.work, times):
        convs = [of_layer[target] for target in targets if target in of_layer]
        layers = tuple((program.node(op.layer), _kept(op)) for op in convs)
        chains += [ChainTime(layers, ms)] if layers else []
    return chains, loads


def _kept(op: Conv | LevelConv) -> int:
    """Return how many values a convolution multiplies, those that fill up blocks included."""
    return op.values.size if isinstance(op, Conv) else BYTES * entries_of(op).entries.size


def region_operations(
    program: Program,
    arrays: Mapping[str, NDArray[Any]],
    zeros: Zeros,
    batch: int,
    times: Mapping[str, Operation],
) -> dict[str, list[tuple[list[str], Operation]]]:
    """Return, for each region among the executed operations, its chains with their layers and times.

    A last entry without layers is what is left of the region's own counter: copies in and out, poolings.
    """
    chains, _ = region_times(program, arrays, zeros, cold=False)
    found = {}
    for region in sparse_regions(program, zeros):
        name, members = region.nodes[-1].name, {node.name for node in region.nodes}
        inside = [chain for chain in chains if chain.layers[0][0].name in members]
        parts = [
            (
                [node.layer for node, _ in chain.layers],
                Operation("Zeros", zeros.variant, batch * chain.milliseconds),
            )
            for chain in inside
        ]
        rest = times[name].milliseconds - sum(operation.milliseconds for _, operation in parts)
        found[name] = [*parts, ([], Operation("Region", "copies and poolings", max(0.0, rest)))]
    return found


def _whole_chains(
    work: Sequence[tuple[str, ...]], times: NDArray[np.float64]
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield each chain with its time, the steps before it that only some of its members need included."""
    last = {target: index for index, targets in enumerate(work) for target in targets}
    total: dict[int, float] = defaultdict(float)
    for targets, ms in zip(work, times, strict=True):
        if targets:
            total[last[targets[0]]] += float(ms)
    for index, ms in total.items():
        yield work[index], ms


def owners_of(program: Program, compiled: Any) -> dict[str, list[str]]:
    """Give every layer of the program to one executed operation: its own, or that of what reads it.

    OpenVINO folds a convolution into the multiplication that follows and keeps the latter's name.
    """
    owner = {name: operation for operation, names in _fused_names(compiled).items() for name in names}
    for node in reversed(program.nodes):
        readers = [other for other in program.nodes if node.name in other.refs()]
        if node.name not in owner and readers and readers[0].name in owner:
            owner[node.name] = owner[readers[0].name]
    found: dict[str, list[str]] = defaultdict(list)
    for node in program.nodes:
        if node.name in owner:
            found[owner[node.name]].append(node.layer)
    return found
