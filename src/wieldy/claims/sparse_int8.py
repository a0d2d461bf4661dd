"""Zeros in eight bits: compiled kernels compute what whole numbers do, and packages answer alike at once.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018, sections 2.2 to 2.4. Every variant that this CPU can run is held against
`kernels/sparse_int8/reference.py`, bit for bit, on shapes drawn here.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.claims.subjects import claiming, pictures, trained
from wieldy.compress.quantize import quantize
from wieldy.compress.storage import level_formats
from wieldy.core import rng
from wieldy.core.data import part
from wieldy.core.first import first_inputs
from wieldy.core.progress import Progress
from wieldy.core.records import Claim
from wieldy.formats import FORMATS
from wieldy.formats.level_blocks import INPUTS
from wieldy.kernels.native import IN_PAIRS, level_variants
from wieldy.kernels.region.ops import LevelConv
from wieldy.kernels.sparse_conv.check import extent_of
from wieldy.kernels.sparse_int8 import call
from wieldy.kernels.sparse_int8.reference import finished, sums
from wieldy.methods.prune.zeros import ZerosConfig, apply
from wieldy.methods.quantize.integer import IntegerConfig, rounded_weight
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.stats.collect import Stats
from wieldy.zoo.networks.lenet import Lenet5

SOURCE = "Jacob et al., CVPR 2018"
claim = claiming("sparse_int8", SOURCE)
Bytes = NDArray[np.uint8]
Answer = Bytes | NDArray[np.float32]
Kernel = Callable[[Bytes, LevelConv, Answer | None, str], Answer]
SEVEN_BITS, EIGHT_BITS = 64, 127
SHAPES, QUICK_SHAPES, REQUESTS, STREAMS = 2000, 150, 1000, 2
LEVELLED = ("conv2",)  # of LeNet-5: what runs by its zeros
LAYERS = ((64, 64, 3), (256, 64, 1), (512, 512, 3), (2048, 512, 1))  # channels out, in, kernel


@dataclass(frozen=True)
class LevelCase:
    """A convolution of levels and what it reads."""

    x: Bytes
    op: LevelConv
    residual: Answer | None

    def __repr__(self) -> str:
        op = self.op
        return (
            f"x {self.x.shape}, weight {op.weight.shape}, stride {op.stride}, padding {op.padding}, "
            f"dilation {op.dilation}, groups {op.groups}, shared {op.shared}, numbers {op.numbers}, "
            f"residual {self.residual is not None}, pad {op.pad}, zero {op.zero}, {op.low} to {op.high}"
        )


def compiled(x: Bytes, op: LevelConv, residual: Answer | None, variant: str) -> Answer:
    """Run one convolution of levels on a variant."""
    return call.sparse_int8(x, op, residual, variant=variant)


def measure(quick: bool, progress: Progress, kernel: Kernel = compiled) -> list[Claim]:
    """Return the claims; in quick mode on fewer shapes."""
    shapes, found = QUICK_SHAPES if quick else SHAPES, []
    variants = level_variants()
    with progress.task("zeros in eight bits", len(variants) + 2) as task:
        for variant in variants:
            found += equality(variant, shapes, kernel)
            task.advance(1, variant)
        found.append(stored())
        task.advance(1, "bytes")
        found.append(together())
        task.advance(1, "requests at once")
    return found


def equality(variant: str, shapes: int, kernel: Kernel = compiled) -> list[Claim]:
    """A variant against whole numbers, and how many of those sums end half-way between two levels."""
    apart = ties = outputs = 0
    for case in cases(variant, shapes):
        whole = sums(case.x, case.op)
        wanted = finished(whole, case.op, case.residual)
        found = kernel(case.x, case.op, case.residual, variant)
        apart += int((np.asarray(found).view(np.uint8) != wanted.view(np.uint8)).sum())
        outputs += wanted.size
        ties += half_way(case, whole)
    what = f"{variant}: bytes of {outputs:,} outputs that differ from whole numbers, {shapes} random shapes"
    return [
        claim(what, apart, "<=", 0),
        claim(f"{variant}: sums among them that end half-way between two levels", ties, ">=", 1),
    ]


def half_way(case: LevelCase, whole: NDArray[np.int64]) -> int:
    """Return how many of a case's sums, scaled, are a whole number and a half: there roundings differ."""
    if case.residual is not None or case.op.numbers:
        return 0
    scaled = whole.astype(np.float32) * case.op.scale[:, None, None]
    inside = (scaled > case.op.low) & (scaled < case.op.high)
    return int((inside & (np.abs(scaled - np.floor(scaled)) == 0.5)).sum())


def cases(variant: str, count: int) -> Iterator[LevelCase]:
    """Yield random convolutions of all settings that a variant can run."""
    draw = rng.generator(0, "claims", "sparse_int8", variant)
    for _ in range(count):
        yield case_of(draw, SEVEN_BITS if variant in IN_PAIRS else EIGHT_BITS)


def case_of(draw: np.random.Generator, top: int) -> LevelCase:
    """Return a random convolution, small enough for the reference, with weights up to `top`."""

    def pick(*choices: Any) -> Any:
        return choices[draw.integers(len(choices))]

    def pair(*choices: Any) -> tuple[Any, Any]:
        return pick(*choices), pick(*choices)

    groups = pick(1, 1, 1, 2, 3)
    inputs, channels = groups * pick(1, 2, 3, 4, 5, 8), groups * pick(1, 2, 3, 4, 7, 8)
    if pick(*[False] * 5, True):
        groups = channels = inputs
    kernel, stride, padding, dilation = pair(1, 1, 3, 2, 5), pair(1, 1, 2, 3), pair(0, 1, 2), pair(1, 1, 2)
    size = [
        max(1, (wanted - 1) * s + d * (k - 1) + 1 - 2 * p + int(draw.integers(0, s)))
        for wanted, k, s, p, d in zip(
            (pick(1, 2, 6, 17), pick(1, 5, 9, 31)), kernel, stride, padding, dilation, strict=True
        )
    ]
    numbers = pick(False, False, False, True)
    zero = 0 if numbers else int(pick(0, draw.integers(0, 256)))
    low, high = (pick(-np.inf, 0.0), pick(np.inf, 6.0)) if numbers else (pick(-zero, 0), 255 - zero)
    op = LevelConv(
        "x", "out", weight_of(draw, (channels, inputs // groups, *kernel), top, pick(0, 0.1, 0.4, 1)),
        draw.integers(-5000, 5000, channels).astype(np.int32), scales_of(draw, channels), pick(False, True),
        stride, padding, dilation, groups, pad=int(draw.integers(0, 256)), low=low, high=high, zero=zero,
        numbers=numbers, residual=pick(None, "residual"), residual_scale=pick(0.25, 0.3),
        residual_zero=int(draw.integers(0, 256)), residual_numbers=pick(False, False, True),
    )  # fmt: skip
    x = bytes_of(draw, (pick(1, 2), inputs, *size))
    shape = (len(x), channels, *(extent_of(op, extent, axis) for axis, extent in enumerate(size)))
    other = draw.normal(size=shape).astype(np.float32) * 99 if op.residual_numbers else bytes_of(draw, shape)
    return LevelCase(x, op, other if op.residual else None)


def weight_of(
    draw: np.random.Generator, shape: tuple[int, ...], top: int, density: float
) -> NDArray[np.int8]:
    """Return weights up to `top`; one in ten is all as large as can be."""
    if draw.random() < 0.1:
        return np.full(shape, draw.choice([-top, top]), np.int8)
    return (draw.integers(-top, top + 1, shape) * (draw.random(shape) < density)).astype(np.int8)


def scales_of(draw: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return scales by which many sums end half-way between two levels."""
    scales = 2.0 ** -draw.integers(0, 12, count) * draw.choice([1, 1.25, 1.5], count)
    return np.asarray(scales, np.float32)


def bytes_of(draw: np.random.Generator, shape: tuple[int, ...]) -> Bytes:
    """Return levels; one in ten tensors is all 255."""
    return np.full(shape, 255, np.uint8) if draw.random() < 0.1 else draw.integers(0, 256, shape, np.uint8)


def stored() -> Claim:
    """Bytes of layers of a residual network with nine tenths of their blocks of four inputs zero."""
    draw, kept, dense = rng.generator(0, "claims", "stored"), 0, 0
    form = FORMATS["int8_1x4"]
    for channels, inputs, kernel in LAYERS:
        weight = draw.standard_normal((channels, inputs, kernel, kernel)).astype(np.float32)
        blocks = draw.random((channels, inputs // INPUTS, kernel, kernel)) < 0.1
        weight = rounded_weight(weight * blocks.repeat(INPUTS, axis=1), FORMATS["int8"])  # type: ignore[arg-type]
        kept, dense = kept + form.byte_count(weight), dense + weight.nbytes
    return claim("bytes over those of dense float32, 90 % of the blocks zero", kept / dense, "<=", 0.05)


def together() -> Claim:
    """A thousand requests by two threads at once against the same ones in a row."""
    thinned = copy.deepcopy(trained(Lenet5))
    list(apply(thinned, LEVELLED, Stats(), ZerosConfig(sparsity=0.75, inputs=4)))
    network, _ = quantize(thinned, pictures(), IntegerConfig(weight_bits=7))
    network.formats = dict(network.formats) | level_formats(network)
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        session = open_package(save(network, Path(folder) / "net.wieldy"), threads=1)
        first = next(first_inputs(pictures().test, REQUESTS, REQUESTS))
        each = [part(first, slice(at, at + 1)) for at in range(REQUESTS)]
        serial = [session(one) for one in each]
        with ThreadPoolExecutor(STREAMS) as pool:
            at_once = list(pool.map(session, each))
    apart = sum(not np.array_equal(one, other) for one, other in zip(serial, at_once, strict=True))
    return claim(f"answers of {REQUESTS} requests by {STREAMS} at once that differ", apart, "<=", 0)
