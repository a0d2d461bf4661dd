"""Random regions of whole numbers, which float32 computes exactly in any order, and what they give."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from kernel_cases import Array, conv_of

from wieldy.kernels.region.ops import Concat, Conv, GlobalMean, Op, Pooling, Size
from wieldy.kernels.region.plan import sizes_of
from wieldy.kernels.sparse_conv.reference import sparse_conv


def pooled(x: Array, op: Pooling) -> Array:
    """Pool in float64; what the size asks for past the padding counts as outside."""
    top, left = op.padding
    spans = [op.dilation[a] * (op.kernel[a] - 1) + (op.size[a] - 1) * op.stride[a] + 1 for a in (0, 1)]
    below, right = (max(0, spans[a] - x.shape[2 + a] - op.padding[a]) for a in (0, 1))
    outside = np.pad(np.zeros(x.shape[2:], bool), ((top, below), (left, right)), constant_values=True)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, below), (left, right)))

    def windows(planes: np.ndarray) -> np.ndarray:
        window = [op.dilation[a] * (op.kernel[a] - 1) + 1 for a in (0, 1)]
        seen = np.lib.stride_tricks.sliding_window_view(planes, window, axis=(-2, -1))
        seen = seen[..., :: op.stride[0], :: op.stride[1], :: op.dilation[0], :: op.dilation[1]]
        return seen[..., : op.size[0], : op.size[1], :, :]

    if not op.average:
        return windows(np.where(outside, -np.inf, padded)).max(axis=(-2, -1)).astype(np.float32)
    count = np.prod(op.kernel) if op.counts_padding else (~windows(outside)).sum(axis=(-2, -1))
    return (windows(padded).sum(axis=(-2, -1)) / count).astype(np.float32)


def computed(inputs: dict[str, Array], ops: list[Op]) -> dict[str, Array]:
    """Return every value, one operation after the other, by the references."""
    values = dict(inputs)
    for op in ops:
        if isinstance(op, Concat):
            values[op.target] = np.concatenate([values[name] for name in op.sources], axis=1)
            continue
        x = values[op.source]
        if isinstance(op, Conv):
            residual = None if op.residual is None else values[op.residual]
            values[op.target] = sparse_conv(x, op, residual).astype(np.float32)
        elif isinstance(op, Pooling):
            values[op.target] = pooled(x, op)
        else:
            values[op.target] = x.astype(np.float64).mean(axis=(2, 3), keepdims=True).astype(np.float32)
    return values


def describe(ops: list[Op]) -> str:
    """Return the operations without their arrays."""
    arrays = ("starts", "columns", "values", "bias")
    return "\n".join(
        str(
            {key: value for key, value in vars(op).items() if key not in arrays} | {"kind": type(op).__name__}
        )
        for op in ops
    )


def whole(rng: np.random.Generator, shape: tuple[int, ...], density: float = 1) -> Array:
    """Return whole numbers from -2 to 2 as float32."""
    return (rng.integers(-2, 3, shape) * (rng.random(shape) < density)).astype(np.float32)


def layer(rng, inputs, channels, kernel, block=1, *, density=0.3, **changes) -> Conv:  # type: ignore[no-untyped-def]
    """Return a convolution of whole numbers that is clamped, so that a chain of them stays small."""
    groups = changes.get("groups", 1)
    weight = whole(rng, (channels, inputs // groups, *kernel), density)
    settings = {"low": 0.0, "high": 9.0, "bias": whole(rng, (channels,))} | changes
    return conv_of(weight, block, **settings)


@st.composite
def regions(draw: st.DrawFn):  # type: ignore[no-untyped-def]
    """Operations that read each other at random, and which values are asked for."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pick = lambda *choices: choices[rng.integers(len(choices))]  # noqa: E731
    batch = pick(1, 2)
    first = (batch, pick(1, 3, 8, 9), pick(1, 4, 7, 15), pick(1, 5, 8, 23))
    inputs = {f"in{i}": whole(rng, first) for i in range(pick(1, 1, 2))}
    sizes = {name: Size(*first[1:]) for name in inputs}
    exact, ops = list(inputs), []
    for number in range(draw(st.integers(1, 6))):
        target, source = f"v{number}", pick(*exact[-3:], *exact)
        op = _random_op(rng, pick, sizes, exact, source, target)
        ops.append(op)
        sizes = sizes_of(sizes, [op])
        if isinstance(op, (Conv, Concat)) or (isinstance(op, Pooling) and not op.average):
            exact.append(target)
    names = [op.target for op in ops]
    outputs = [name for name in names[:-1] if rng.random() < 0.2] + names[-1:]
    return inputs, ops, outputs


def _random_op(rng, pick, sizes, exact, source, target) -> Op:  # type: ignore[no-untyped-def]
    size = sizes[source]
    kind = pick("conv", "conv", "conv", "point", "point", "pool", "mean", "concat")
    if kind == "mean":
        return GlobalMean(source, target)
    if kind == "concat":
        fitting = [n for n in exact if (sizes[n].height, sizes[n].width) == (size.height, size.width)]
        return Concat(tuple(pick(*fitting) for _ in range(pick(1, 2, 3))), target)
    if kind == "pool":
        padding = (pick(0, 1), pick(0, 1))
        stride = (pick(1, 2), pick(1, 2))
        kernel = tuple(
            min(k, n + p) for k, n, p in zip((2, 3), (size.height, size.width), padding, strict=True)
        )
        extent = tuple(
            max(1, (n + 2 * p - k) // s + 1)
            for n, p, k, s in zip((size.height, size.width), padding, kernel, stride, strict=True)
        )
        return Pooling(
            source, target, kernel, stride, padding, (1, 1), bool(pick(0, 1)), bool(pick(0, 1)), extent
        )
    kernel = (1, 1) if kind == "point" else (pick(1, 3, 5), pick(1, 2, 3))
    padding = (0, 0) if kind == "point" else tuple(pick(k // 2, k - 1) for k in kernel)
    kernel = tuple(
        min(k, n + 2 * p) for k, n, p in zip(kernel, (size.height, size.width), padding, strict=True)
    )
    settings = {
        "padding": padding, "source": source, "target": target,
        "stride": (1, 1) if rng.random() < 0.7 else (pick(1, 2, 3), pick(1, 2, 3)),
    }  # fmt: skip
    depthwise = rng.random() < 0.15
    channels = size.channels if depthwise or rng.random() < 0.5 else pick(1, 4, 8, 10)
    block = 1 if depthwise else pick(1, 4, 8)
    op = layer(rng, size.channels, channels, kernel, block, groups=channels if depthwise else 1, **settings)
    result = sizes_of(sizes, [op])[target]
    fitting = [name for name in exact if sizes[name] == result]
    return replace(op, residual=pick(*fitting)) if fitting and rng.random() < 0.6 else op
