"""What ONNX's operators do, in torch: one function for each, of its attributes and its inputs.

Source: the operators' specification, opsets 13 to 22. An input is a tensor, None where it is left out, or, of
what computes with shapes, a list of whole numbers, some of which may follow the batch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wieldy.core.errors import UnsupportedOpError

Attributes = dict[str, Any]
Op = Callable[..., Any]
LOWEST = float(np.finfo(np.float32).min)
DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}


def refuse(what: str) -> Any:
    """Raise the error that names what is not supported."""
    raise UnsupportedOpError(
        f"onnx: {what} is not supported. Export the network otherwise, or trace it in torch."
    )


def numbers(value: Any) -> list[Any]:
    """Return the whole numbers of a list, or of a stored tensor."""
    return value if isinstance(value, list) else [int(item) for item in np.ravel(value)]


def number(value: Any) -> Any:
    """Return the one number of a stored tensor."""
    return value[0] if isinstance(value, list) else np.ravel(value)[0].item()


def tensor(value: Any) -> Any:
    """Return a value as a tensor, or, of one number that is stored, as a number."""
    if isinstance(value, np.ndarray):
        return value.item() if value.ndim == 0 else torch.from_numpy(value.copy())
    return torch.tensor(value) if isinstance(value, list) else value


def unary(function: Callable[[Tensor], Tensor]) -> Op:
    """An operator of one tensor."""
    return lambda _, x: function(x)


def binary(function: Callable[[Any, Any], Any]) -> Op:
    """An operator of two values; of two lists, number by number."""

    def call(_: Attributes, a: Any, b: Any) -> Any:
        if isinstance(a, list) or isinstance(b, list):
            a, b = numbers(a), numbers(b)
            longer = max(len(a), len(b))
            pairs = zip(a * (longer // len(a)), b * (longer // len(b)), strict=True)
            return [function(x, y) for x, y in pairs]
        return function(tensor(a), tensor(b))

    return call


def reduction(function: Callable[..., Tensor]) -> Op:
    """An operator that takes axes away, or leaves them with one element."""

    def call(at: Attributes, x: Tensor, axes: Any = None) -> Tensor:
        over = numbers(axes) if axes is not None else at.get("axes") or list(range(1, x.ndim))
        return function(x, tuple(over), bool(at.get("keepdims", 1)))

    return call


def _divided(a: Any, b: Any) -> Any:
    return a // b if isinstance(a, int) else a / b


def _same_pads(at: Attributes, size: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Return the padding that `auto_pad` stands for."""
    kind = at.get("auto_pad", b"NOTSET").decode()
    strides, dilations = at.get("strides", [1] * len(kernel)), at.get("dilations", [1] * len(kernel))
    if kind in ("NOTSET", "VALID"):
        return list(at.get("pads", [0] * 2 * len(kernel))) if kind == "NOTSET" else [0] * 2 * len(kernel)
    begins, ends = [], []
    for full, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-full // s) - 1) * s + d * (k - 1) + 1 - full)
        less, more = total // 2, total - total // 2
        begins.append(less if kind == "SAME_UPPER" else more)
        ends.append(more if kind == "SAME_UPPER" else less)
    return begins + ends


def padded(at: Attributes, x: Tensor, kernel: Sequence[int], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """Return what a window slides over, and the padding that it may add itself: the same on both sides."""
    pads = _same_pads(at, x.shape[2:], kernel)
    begins, ends = pads[: len(kernel)], pads[len(kernel) :]
    if begins == ends:
        return x, begins
    sides = [side for pair in zip(reversed(begins), reversed(ends), strict=True) for side in pair]
    return F.pad(x, sides, value=value), [0] * len(kernel)


def conv(at: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution over one or two axes."""
    kernel = list(weight.shape[2:])
    x, padding = padded(at, x, kernel)
    function = {1: F.conv1d, 2: F.conv2d}.get(len(kernel)) or refuse(f"a convolution over {len(kernel)} axes")
    stride, dilation = at.get("strides", [1] * len(kernel)), at.get("dilations", [1] * len(kernel))
    found: Tensor = function(x, weight, bias, stride, padding, dilation, at.get("group", 1))
    return found


def conv_transpose(at: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A transposed convolution over one or two axes."""
    axes = weight.ndim - 2
    pads = list(at.get("pads", [0] * 2 * axes))
    if "output_shape" in at or at.get("auto_pad", b"NOTSET") != b"NOTSET" or pads[:axes] != pads[axes:]:
        refuse("ConvTranspose with a padding that is not the same on both sides")
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d}[axes]
    found: Tensor = function(
        x, weight, bias, at.get("strides", [1] * axes), pads[:axes], at.get("output_padding", [0] * axes),
        at.get("group", 1), at.get("dilations", [1] * axes),
    )  # fmt: skip
    return found


def gemm(at: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha A B + beta C, of which either may be transposed."""
    alpha, beta = at.get("alpha", 1.0), at.get("beta", 1.0)
    a = a.transpose(0, 1) if at.get("transA", 0) else a
    weight = b if at.get("transB", 0) else b.transpose(0, 1)
    if alpha == 1 and (c is None or (beta == 1 and c.ndim == 1)):
        return F.linear(a, weight, c)
    product: Tensor = alpha * F.linear(a, weight)
    return product if c is None else product + beta * c


def max_pool(at: Attributes, x: Tensor) -> Tensor:
    """The largest of each window."""
    kernel = at["kernel_shape"]
    x, padding = padded(at, x, kernel, LOWEST)
    function = {1: F.max_pool1d, 2: F.max_pool2d}.get(len(kernel)) or refuse("MaxPool over three axes")
    found: Tensor = function(
        x, kernel, at.get("strides", [1] * len(kernel)), padding, at.get("dilations", [1] * len(kernel)),
        bool(at.get("ceil_mode", 0)),
    )  # fmt: skip
    return found


def average_pool(at: Attributes, x: Tensor) -> Tensor:
    """The mean of each window."""
    kernel, counted = at["kernel_shape"], bool(at.get("count_include_pad", 0))
    pads = _same_pads(at, x.shape[2:], kernel)
    if pads[: len(kernel)] != pads[len(kernel) :] and not counted:
        refuse("AveragePool that leaves out a padding that is not the same on both sides")
    x, padding = padded(at, x, kernel)
    function = {1: F.avg_pool1d, 2: F.avg_pool2d}.get(len(kernel)) or refuse("AveragePool over three axes")
    strides, ceil = at.get("strides", [1] * len(kernel)), bool(at.get("ceil_mode", 0))
    found: Tensor = function(x, kernel, strides, padding, ceil, counted)
    return found


def batch_norm(at: Attributes, x: Tensor, *stored: Tensor) -> Tensor:
    """Normalise by what was seen in training."""
    weight, bias, mean, variance = stored
    if at.get("training_mode", 0):
        refuse("BatchNormalization that trains")
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=at.get("epsilon", 1e-5))


def layer_norm(at: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Normalise over the last axes."""
    shape = x.shape[at.get("axis", -1) % x.ndim :]
    return F.layer_norm(x, list(shape), weight.reshape(shape), bias, at.get("epsilon", 1e-5))


def group_norm(at: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise within groups of channels."""
    return F.group_norm(x, at["num_groups"], weight, bias, at.get("epsilon", 1e-5))


def instance_norm(at: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise each channel of each example."""
    return F.group_norm(x, x.shape[1], weight, bias, at.get("epsilon", 1e-5))


def reshape(at: Attributes, x: Any, shape: Any) -> Any:
    """Another shape: 0 keeps an axis, -1 takes what is left."""
    wanted = numbers(shape)
    if isinstance(x, list):
        return x
    kept = [
        x.shape[place] if size == 0 and not at.get("allowzero", 0) else size
        for place, size in enumerate(wanted)
    ]
    return x.reshape(kept)


def flatten(at: Attributes, x: Tensor) -> Tensor:
    """All axes from one on as one, and all before it."""
    axis = at.get("axis", 1) % (x.ndim + 1)
    return x.flatten(axis) if axis == 1 else refuse(f"Flatten from axis {axis}")


def transpose(at: Attributes, x: Tensor) -> Tensor:
    """Axes in another order."""
    return x.permute(at.get("perm") or list(range(x.ndim))[::-1])


def concat(at: Attributes, *values: Any) -> Any:
    """Values side by side."""
    if any(isinstance(value, list) for value in values):
        return [item for value in values for item in numbers(value)]
    return torch.cat([tensor(value) for value in values], at["axis"])


def split(at: Attributes, x: Any, sizes: Any = None) -> Any:
    """Parts of an axis."""
    axis = at.get("axis", 0)
    parts = numbers(sizes) if sizes is not None else at.get("split")
    if isinstance(x, list):
        ends = np.cumsum(parts or [1] * len(x)).tolist()
        return tuple(x[end - size : end] for end, size in zip(ends, parts or [1] * len(x), strict=True))
    if parts is None:
        count = at.get("num_outputs") or at["outputs"]
        return x.split(-(-x.shape[axis] // count), axis)
    return x.split(parts, axis)


def slice_(at: Attributes, x: Any, *given: Any) -> Any:  # noqa: ARG001
    """Part of some axes."""
    starts, ends, *rest = (numbers(value) if value is not None else None for value in given)
    assert starts is not None
    assert ends is not None
    axes = (rest[0] if rest else None) or list(range(len(starts)))
    steps = (rest[1] if len(rest) > 1 else None) or [1] * len(starts)
    if isinstance(x, list):
        return x[starts[0] : ends[0] : steps[0]]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            refuse("Slice backwards")
        cut = [slice(None)] * (axis % x.ndim) + [slice(start, end, step)]
        x = x[tuple(cut)]
    return x


def gather(at: Attributes, x: Any, indices: Any) -> Any:
    """Entries of an axis; of a table, its rows."""
    axis = at.get("axis", 0)
    if isinstance(x, list):
        found = numbers(indices)
        return [x[place] for place in found]
    if isinstance(indices, np.ndarray) and indices.ndim == 0:
        return x.select(axis, int(indices))
    if isinstance(indices, (list, np.ndarray)):
        places = numbers(indices)
        if places == list(range(places[0], places[0] + len(places))):
            return x.narrow(axis, places[0], len(places))
        refuse("Gather of stored places that do not follow each other")
    return (
        F.embedding(indices, x)
        if axis == 0
        else refuse("Gather by computed places from another axis than the first")
    )


def squeeze(at: Attributes, x: Any, axes: Any = None) -> Any:
    """Without axes of one element."""
    over = numbers(axes) if axes is not None else at.get("axes")
    if isinstance(x, list):
        return x
    for axis in sorted((axis % x.ndim for axis in over or range(1, x.ndim)), reverse=True):
        x = x.squeeze(axis)
    return x


def unsqueeze(at: Attributes, x: Any, axes: Any = None) -> Any:
    """With axes of one element more."""
    if isinstance(x, list):
        return x
    over = numbers(axes) if axes is not None else at["axes"]
    x = tensor(x)
    for axis in sorted(axis % (x.ndim + len(over)) for axis in over):
        x = x.unsqueeze(axis)
    return x


def expand(_: Attributes, x: Any, shape: Any) -> Tensor:
    """Repeated along axes of one element, and along new ones before them."""
    x, wanted = tensor(x), numbers(shape)
    if not isinstance(x, Tensor):
        return torch.full(wanted, x)
    x = x.reshape([1] * (len(wanted) - x.ndim) + list(x.shape)) if x.ndim < len(wanted) else x
    wanted = [1] * (x.ndim - len(wanted)) + wanted
    found: Tensor = x.expand([-1 if isinstance(size, int) and size == 1 else size for size in wanted])
    return found


def pad(at: Attributes, x: Tensor, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
    """More at the ends of axes."""
    sides = numbers(pads) if pads is not None else list(at["pads"])
    half = len(sides) // 2
    over = numbers(axes) if axes is not None else list(range(half))
    begins, ends = [0] * x.ndim, [0] * x.ndim
    for axis, begin, end in zip(over, sides[:half], sides[half:], strict=True):
        begins[axis % x.ndim], ends[axis % x.ndim] = begin, end
    given = [side for pair in zip(reversed(begins), reversed(ends), strict=True) for side in pair]
    while given[-2:] == [0, 0]:
        given = given[:-2]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        at.get("mode", b"constant").decode()
    ) or refuse("Pad that wraps around")
    fill = number(value) if value is not None else 0.0
    return F.pad(x, given, mode, fill) if mode == "constant" else F.pad(x, given, mode)


def resize(at: Attributes, x: Tensor, *given: Any) -> Tensor:
    """Pictures of another size."""
    scales, sizes = (*given[1:], None, None)[:2]
    if sizes is not None:
        size = numbers(sizes)[2:]
    else:
        pairs = zip(x.shape[2:], np.ravel(scales)[2:].tolist(), strict=True)
        size = [math.floor(full * scale) for full, scale in pairs]
    mode = at.get("mode", b"nearest").decode()
    place = at.get("coordinate_transformation_mode", b"half_pixel").decode()
    if (
        mode == "nearest"
        and place == "asymmetric"
        and at.get("nearest_mode", b"round_prefer_floor") == b"floor"
    ):
        return F.interpolate(x, size, mode="nearest")
    if mode == "linear" and x.ndim == 4 and place in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return F.interpolate(x, size, mode="bilinear", align_corners=place == "align_corners")
    return refuse(f"Resize by {mode} and {place}")  # type: ignore[no-any-return]


def clip(at: Attributes, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    """Within bounds."""
    ends = [number(end) if end is not None else at.get(name) for end, name in ((low, "min"), (high, "max"))]
    return torch.clamp(x, *ends) if ends != [None, None] else x


def power(_: Attributes, x: Any, exponent: Any) -> Any:
    """A power, whose exponent is stored."""
    if isinstance(exponent, Tensor):
        refuse("Pow with a computed exponent")
    return torch.pow(x, number(exponent))


def where(_: Attributes, condition: Any, a: Any, b: Any) -> Any:
    """One or the other."""
    if isinstance(condition, list):
        return [x if yes else y for yes, x, y in zip(condition, a, b, strict=True)]
    return torch.where(tensor(condition), tensor(a), tensor(b))


def cast(at: Attributes, x: Any) -> Any:
    """Another dtype."""
    if isinstance(x, list):
        return x
    return x.to(DTYPES.get(at["to"]) or refuse(f"Cast to type {at['to']}"))


def quantize(_: Attributes, x: Tensor, scale: Any, zero: Any = None) -> Any:
    """Rounded to levels, which the DequantizeLinear after it turns into numbers again."""
    if np.size(scale) != 1:
        refuse("QuantizeLinear by channels")
    ends = {"uint8": (0, 255), "int8": (-128, 127)}
    name = "uint8" if zero is None else np.asarray(zero).dtype.name
    low, high = ends.get(name) or refuse(f"QuantizeLinear to {name}")
    start = 0 if zero is None else int(np.ravel(zero)[0])
    return torch.fake_quantize_per_tensor_affine(x, number(scale), start, low, high)


def softmax(at: Attributes, x: Tensor) -> Tensor:
    """Shares that add up to one."""
    return torch.softmax(x, at.get("axis", -1))


def shape(at: Attributes, x: Tensor) -> list[Any]:
    """The sizes of a tensor's axes."""
    return list(x.shape)[at.get("start", 0) : at.get("end", None)]


def triangle(at: Attributes, x: Any, k: Any = None) -> Tensor:
    """The upper or the lower half of matrices; zeros elsewhere."""
    half = torch.triu if at.get("upper", 1) else torch.tril
    return half(tensor(x), 0 if k is None else number(k))


def constant_of_shape(at: Attributes, sizes: Any) -> Any:
    """A tensor of one number."""
    value = at.get("value")
    fill = value.ravel()[0].item() if value is not None else 0.0
    wanted = numbers(sizes)
    return torch.full(wanted, fill)


OPS: dict[str, Op] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "Gemm": gemm, "MatMul": binary(torch.matmul),
    "Add": binary(lambda a, b: a + b), "Sub": binary(lambda a, b: a - b), "Mul": binary(lambda a, b: a * b),
    "Div": binary(_divided), "Max": binary(torch.maximum), "Min": binary(torch.minimum), "Pow": power,
    "Equal": binary(lambda a, b: a == b), "Less": binary(lambda a, b: a < b),
    "LessOrEqual": binary(lambda a, b: a <= b), "Greater": binary(lambda a, b: a > b),
    "GreaterOrEqual": binary(lambda a, b: a >= b), "And": binary(torch.logical_and),
    "Or": binary(torch.logical_or), "Not": unary(torch.logical_not), "Where": where, "Clip": clip,
    "Cast": cast, "IsNaN": unary(lambda x: x != x), "Trilu": triangle,
    "Abs": unary(torch.abs), "Neg": unary(torch.neg), "Exp": unary(torch.exp), "Log": unary(torch.log),
    "Sqrt": unary(torch.sqrt), "Erf": unary(torch.erf), "Sin": unary(torch.sin), "Cos": unary(torch.cos),
    "Reciprocal": unary(lambda x: 1.0 / x), "Relu": unary(torch.relu), "Sigmoid": unary(torch.sigmoid),
    "Tanh": unary(torch.tanh), "Mish": unary(F.mish), "Softplus": unary(F.softplus),
    "HardSwish": unary(F.hardswish), "Identity": unary(lambda x: x), "Dropout": lambda _, x, *__: x,
    "HardSigmoid": lambda at, x: torch.clamp(x * at.get("alpha", 0.2) + at.get("beta", 0.5), 0.0, 1.0),
    "LeakyRelu": lambda at, x: F.leaky_relu(x, at.get("alpha", 0.01)),
    "Elu": lambda at, x: F.elu(x, at.get("alpha", 1.0)),
    "Selu": unary(F.selu), "Celu": lambda at, x: F.celu(x, at.get("alpha", 1.0)),
    "Gelu": lambda at, x: F.gelu(x, approximate=at.get("approximate", b"none").decode()),
    "PRelu": lambda _, x, slope: torch.where(x > 0, x, x * slope),
    "Softmax": softmax, "LogSoftmax": lambda at, x: torch.log_softmax(x, at.get("axis", -1)),
    "BatchNormalization": batch_norm, "LayerNormalization": layer_norm, "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": unary(lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True)),
    "GlobalMaxPool": unary(lambda x: torch.amax(x, tuple(range(2, x.ndim)), keepdim=True)),
    "ReduceMean": reduction(torch.mean), "ReduceSum": reduction(torch.sum),
    "ReduceMax": reduction(torch.amax),
    "ReduceMin": reduction(torch.amin),
    "ReduceL2": reduction(lambda x, over, keep: torch.linalg.vector_norm(x, 2, over, keep)),
    "ReduceL1": reduction(lambda x, over, keep: torch.linalg.vector_norm(x, 1, over, keep)),
    "CumSum": lambda _, x, axis: torch.cumsum(x, numbers(axis)[0]),
    "Reshape": reshape, "Flatten": flatten, "Transpose": transpose, "Concat": concat, "Split": split,
    "Slice": slice_, "Gather": gather, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Expand": expand,
    "Pad": pad,
    "Resize": resize, "Shape": shape, "ConstantOfShape": constant_of_shape, "QuantizeLinear": quantize,
    "Size": lambda _, x: [math.prod(x.shape)],
}  # fmt: skip
