"""The allow-list: every operator that a program may hold, with its arguments in ATen's order.

The kinds of arguments are
`value` (what another node computed), `values` (a list of them), `tensor` (a stored weight),
`operand` (a value, a stored tensor or a number), and the literals `int`, `ints`, `float`, `bool`, `text`,
each of which may be optional (`?`).

A program that names any other operator is refused, when traced and when opened. Operators that change
only a shape are all written as `aten.reshape.default` (see trace.py), so one rule serves them.
"""

from typing import Final

Arguments = tuple[tuple[str, str], ...]

CONV: Final = "aten.conv2d.default"
CONV1D: Final = "aten.conv1d.default"
LINEAR: Final = "aten.linear.default"
EXPAND: Final = "aten.expand.default"
MATMUL: Final = "aten.matmul.default"
ATTENTION: Final = "aten.scaled_dot_product_attention.default"
WEIGHTED: Final = (CONV, CONV1D, LINEAR)  # their first tensor is a weight (outputs, inputs, ...)

_POOL: Final[Arguments] = (
    ("self", "value"),
    ("kernel_size", "ints"),
    ("stride", "ints"),
    ("padding", "ints"),
)
_UNARY: Final[Arguments] = (("self", "value"),)
_BINARY: Final[Arguments] = (("self", "operand"), ("other", "operand"))

_CONV: Final[Arguments] = (
    ("input", "value"),
    ("weight", "tensor"),
    ("bias", "tensor?"),
    ("stride", "ints"),
    ("padding", "ints"),
    ("dilation", "ints"),
    ("groups", "int"),
)

OPS: Final[dict[str, Arguments]] = {
    CONV: _CONV,
    CONV1D: _CONV,
    LINEAR: (("input", "value"), ("weight", "tensor"), ("bias", "tensor?")),
    "aten.batch_norm.default": (
        ("input", "value"),
        ("weight", "tensor?"),
        ("bias", "tensor?"),
        ("running_mean", "tensor"),
        ("running_var", "tensor"),
        ("training", "bool"),
        ("momentum", "float"),
        ("eps", "float"),
        ("cudnn_enabled", "bool"),
    ),
    "aten.relu.default": _UNARY,
    "aten.relu6.default": _UNARY,
    "aten.sigmoid.default": _UNARY,
    "aten.tanh.default": _UNARY,
    "aten.silu.default": _UNARY,
    "aten.hardswish.default": _UNARY,
    "aten.hardsigmoid.default": _UNARY,
    "aten.gelu.default": (*_UNARY, ("approximate", "text")),
    "aten.leaky_relu.default": (*_UNARY, ("negative_slope", "float")),
    "aten.elu.default": (*_UNARY, ("alpha", "float"), ("scale", "float"), ("input_scale", "float")),
    "aten.hardtanh.default": (*_UNARY, ("min_val", "float"), ("max_val", "float")),
    "aten.softmax.int": (*_UNARY, ("dim", "int"), ("dtype", "none")),
    "aten.log_softmax.int": (*_UNARY, ("dim", "int"), ("dtype", "none")),
    "aten.dropout.default": (("input", "value"), ("p", "float"), ("train", "bool")),
    "aten.feature_dropout.default": (("input", "value"), ("p", "float"), ("train", "bool")),
    "aten.add.Tensor": (*_BINARY, ("alpha", "float")),
    "aten.sub.Tensor": (*_BINARY, ("alpha", "float")),
    "aten.mul.Tensor": _BINARY,
    "aten.div.Tensor": _BINARY,
    "aten.cat.default": (("tensors", "values"), ("dim", "int")),
    MATMUL: (("self", "operand"), ("other", "operand")),
    ATTENTION: (
        ("query", "value"),
        ("key", "value"),
        ("value", "value"),
        ("attn_mask", "operand?"),
        ("dropout_p", "float"),
        ("is_causal", "bool"),
        ("scale", "float?"),
        ("enable_gqa", "bool"),
    ),
    "aten.reshape.default": (("self", "value"), ("shape", "ints")),
    EXPAND: (("self", "operand"), ("size", "ints")),
    "aten.permute.default": (*_UNARY, ("dims", "ints")),
    "aten.slice.Tensor": (*_UNARY, ("dim", "int"), ("start", "int"), ("end", "int"), ("step", "int")),
    "aten.select.int": (*_UNARY, ("dim", "int"), ("index", "int")),
    "aten.pad.default": (*_UNARY, ("pad", "ints"), ("mode", "text"), ("value", "float?")),
    "aten.prelu.default": (*_UNARY, ("weight", "tensor")),
    "aten.group_norm.default": (
        ("input", "value"),
        ("num_groups", "int"),
        ("weight", "tensor?"),
        ("bias", "tensor?"),
        ("eps", "float"),
        ("cudnn_enabled", "bool"),
    ),
    "aten.layer_norm.default": (
        ("input", "value"),
        ("normalized_shape", "ints"),
        ("weight", "tensor?"),
        ("bias", "tensor?"),
        ("eps", "float"),
        ("cudnn_enable", "bool"),
    ),
    "aten.mean.dim": (("self", "value"), ("dim", "ints"), ("keepdim", "bool"), ("dtype", "none")),
    "aten.adaptive_avg_pool2d.default": (("self", "value"), ("output_size", "ints")),
    "aten.avg_pool2d.default": (
        *_POOL,
        ("ceil_mode", "bool"),
        ("count_include_pad", "bool"),
        ("divisor_override", "none"),
    ),
    "aten.max_pool2d.default": (*_POOL, ("dilation", "ints"), ("ceil_mode", "bool")),
    "aten.adaptive_avg_pool1d.default": (*_UNARY, ("output_size", "ints")),
    "aten.avg_pool1d.default": (*_POOL, ("ceil_mode", "bool"), ("count_include_pad", "bool")),
    "aten.max_pool1d.default": (*_POOL, ("dilation", "ints"), ("ceil_mode", "bool")),
    "aten.amax.default": (*_UNARY, ("dim", "ints"), ("keepdim", "bool")),
}

ELEMENTWISE: Final = frozenset(
    f"aten.{name}.default"
    for name in (
        "relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid",
        "gelu", "leaky_relu", "elu", "hardtanh", "dropout", "feature_dropout",
    )
)  # fmt: skip
BINARY: Final = frozenset(f"aten.{name}.Tensor" for name in ("add", "sub", "mul", "div"))
POOLING: Final = frozenset(
    f"aten.{name}{rank}d.default" for name in ("adaptive_avg_pool", "avg_pool", "max_pool") for rank in (1, 2)
)
VIEWS: Final = frozenset({"aten.permute.default", "aten.slice.Tensor", "aten.select.int"})
SOFTMAX: Final = frozenset({"aten.softmax.int", "aten.log_softmax.int"})
