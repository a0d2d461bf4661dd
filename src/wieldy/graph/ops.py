"""The allow-list: every operator that a program may hold, with its arguments in ATen's order.

The kinds of arguments are `value` (what another node computed), `values` (a list of them), `tensor` (a stored
weight), `operand` (a value, a stored tensor or a number), the literals `int`, `float`, `bool` and `dtype`,
`ints` (a list of whole numbers; `naturals`: none below 0; `positives`: none below 1), `positive`, and texts
to choose from, such as `none|tanh`. Some may be absent (`?`).

A program that names any other operator is refused, when traced and when opened. Operators that change
only a shape are all written as `aten.reshape.default` (see reader.py), so one rule serves them. Three do less
than ATen's of the same name, so that a program stays plain: `aten.lstm.input` and `aten.gru.input` are one
layer in one direction, batch first, from a state of zeros, and yield the output of every step;
`aten.upsample_*` always have a size.
"""

from typing import Final

Arguments = tuple[tuple[str, str], ...]

CONV: Final = "aten.conv2d.default"
CONV1D: Final = "aten.conv1d.default"
LINEAR: Final = "aten.linear.default"
EXPAND: Final = "aten.expand.default"
CAT: Final = "aten.cat.default"
MATMUL: Final = "aten.matmul.default"
ATTENTION: Final = "aten.scaled_dot_product_attention.default"
FAKE_QUANTIZE: Final = "aten.fake_quantize_per_tensor_affine.default"
EMBEDDING: Final = "aten.embedding.default"
CAST: Final = "aten.to.dtype"
FULL: Final = "aten.full.default"
WHERE: Final = "aten.where.self"
LSTM: Final = "aten.lstm.input"
GRU: Final = "aten.gru.input"
INTS: Final = ("ints", "naturals", "positives")  # kinds of lists of whole numbers
WEIGHTED: Final = (CONV, CONV1D, LINEAR)  # their first tensor is a weight (outputs, inputs, ...)
TRANSPOSED: Final = ("aten.conv_transpose1d.default", "aten.conv_transpose2d.input")  # (inputs, outputs, ...)
RECURRENT: Final = {LSTM: 4, GRU: 3}  # with how many gates

_POOL: Final[Arguments] = (
    ("self", "value"),
    ("kernel_size", "positives"),
    ("stride", "positives"),
    ("padding", "naturals"),
)
_FILL: Final = ("value", "float?")
_UNARY: Final[Arguments] = (("self", "value"),)
_BINARY: Final[Arguments] = (("self", "operand"), ("other", "operand"))

_CONV: Final[Arguments] = (
    ("input", "value"),
    ("weight", "tensor"),
    ("bias", "tensor?"),
    ("stride", "positives"),
    ("padding", "naturals"),
    ("dilation", "positives"),
    ("groups", "positive"),
)

_TRANSPOSED: Final[Arguments] = (
    *_CONV[:5],
    ("output_padding", "naturals"),
    ("groups", "positive"),
    ("dilation", "positives"),
)
_RECURRENT: Final[Arguments] = (
    ("input", "value"),
    ("weight_ih", "tensor"),
    ("weight_hh", "tensor"),
    ("bias_ih", "tensor?"),
    ("bias_hh", "tensor?"),
    ("reverse", "bool"),
)
_REDUCED: Final[Arguments] = (*_UNARY, ("dim", "ints"), ("keepdim", "bool"))

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
    "aten.gelu.default": (*_UNARY, ("approximate", "none|tanh")),
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
    "aten.maximum.default": _BINARY,
    "aten.minimum.default": _BINARY,
    "aten.eq.Tensor": _BINARY,
    "aten.ne.Tensor": _BINARY,
    "aten.lt.Tensor": _BINARY,
    "aten.le.Tensor": _BINARY,
    "aten.gt.Tensor": _BINARY,
    "aten.ge.Tensor": _BINARY,
    "aten.logical_and.default": _BINARY,
    "aten.logical_or.default": _BINARY,
    "aten.logical_not.default": _UNARY,
    WHERE: (("condition", "operand"), ("self", "operand"), ("other", "operand")),
    CAST: (*_UNARY, ("dtype", "dtype")),
    FULL: (("size", "ints"), ("fill_value", "float")),
    EMBEDDING: (("weight", "tensor"), ("indices", "operand"), ("padding_idx", "int")),
    "aten.cumsum.default": (*_UNARY, ("dim", "int")),
    "aten.abs.default": _UNARY,
    "aten.neg.default": _UNARY,
    "aten.exp.default": _UNARY,
    "aten.log.default": _UNARY,
    "aten.sqrt.default": _UNARY,
    "aten.rsqrt.default": _UNARY,
    "aten.erf.default": _UNARY,
    "aten.sin.default": _UNARY,
    "aten.cos.default": _UNARY,
    "aten.mish.default": _UNARY,
    "aten.softplus.default": (*_UNARY, ("beta", "float"), ("threshold", "float")),
    "aten.pow.Tensor_Scalar": (*_UNARY, ("exponent", "float")),
    "aten.clamp.default": (*_UNARY, ("min", "float?"), ("max", "float?")),
    FAKE_QUANTIZE: (
        *_UNARY,
        ("scale", "float"),
        ("zero_point", "int"),
        ("quant_min", "int"),
        ("quant_max", "int"),
    ),
    LSTM: _RECURRENT,
    GRU: _RECURRENT,
    TRANSPOSED[0]: _TRANSPOSED,
    TRANSPOSED[1]: _TRANSPOSED,
    "aten.upsample_nearest1d.vec": (("input", "value"), ("output_size", "positives")),
    "aten.upsample_nearest2d.vec": (("input", "value"), ("output_size", "positives")),
    "aten.upsample_bilinear2d.vec": (
        ("input", "value"),
        ("output_size", "positives"),
        ("align_corners", "bool"),
    ),
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
    "aten.pad.default": (
        *_UNARY,
        ("pad", "ints"),
        ("mode", "constant|reflect|replicate"),
        ("value", "float?"),
    ),
    "aten.prelu.default": (*_UNARY, ("weight", "tensor")),
    "aten.group_norm.default": (
        ("input", "value"),
        ("num_groups", "positive"),
        ("weight", "tensor?"),
        ("bias", "tensor?"),
        ("eps", "float"),
        ("cudnn_enabled", "bool"),
    ),
    "aten.layer_norm.default": (
        ("input", "value"),
        ("normalized_shape", "positives"),
        ("weight", "tensor?"),
        ("bias", "tensor?"),
        ("eps", "float"),
        ("cudnn_enable", "bool"),
    ),
    "aten.mean.dim": (("self", "value"), ("dim", "ints"), ("keepdim", "bool"), ("dtype", "none")),
    "aten.adaptive_avg_pool2d.default": (("self", "value"), ("output_size", "positives")),
    "aten.avg_pool2d.default": (
        *_POOL,
        ("ceil_mode", "bool"),
        ("count_include_pad", "bool"),
        ("divisor_override", "none"),
    ),
    "aten.max_pool2d.default": (*_POOL, ("dilation", "positives"), ("ceil_mode", "bool")),
    "aten.adaptive_avg_pool1d.default": (*_UNARY, ("output_size", "positives")),
    "aten.avg_pool1d.default": (*_POOL, ("ceil_mode", "bool"), ("count_include_pad", "bool")),
    "aten.max_pool1d.default": (*_POOL, ("dilation", "positives"), ("ceil_mode", "bool")),
    "aten.amax.default": _REDUCED,
    "aten.amin.default": _REDUCED,
    "aten.sum.dim_IntList": (*_REDUCED, ("dtype", "none")),
    "aten.linalg_vector_norm.default": (
        *_UNARY,
        ("ord", "float"),
        ("dim", "ints"),
        ("keepdim", "bool"),
        ("dtype", "none"),
    ),
}

ELEMENTWISE: Final = frozenset(
    f"aten.{name}.default"
    for name in (
        "relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid",
        "gelu", "leaky_relu", "elu", "hardtanh", "dropout", "feature_dropout", "abs", "neg", "exp", "log",
        "sqrt", "rsqrt", "erf", "sin", "cos", "mish", "softplus", "clamp", "logical_not",
    )
) | {"aten.pow.Tensor_Scalar", CAST, FAKE_QUANTIZE}  # fmt: skip
COMPARISONS: Final = frozenset(f"aten.{name}.Tensor" for name in ("eq", "ne", "lt", "le", "gt", "ge"))
BINARY: Final = COMPARISONS | {
    *(f"aten.{name}.Tensor" for name in ("add", "sub", "mul", "div")),
    *(f"aten.{name}.default" for name in ("maximum", "minimum", "logical_and", "logical_or")),
}
POOLING: Final = frozenset(
    f"aten.{name}{rank}d.default" for name in ("adaptive_avg_pool", "avg_pool", "max_pool") for rank in (1, 2)
)
VIEWS: Final = frozenset({"aten.permute.default", "aten.slice.Tensor", "aten.select.int"})
SOFTMAX: Final = frozenset(
    {"aten.softmax.int", "aten.log_softmax.int", "aten.cumsum.default"}
)  # along an axis
REDUCTIONS: Final = {  # what they do to the channels of their axes
    "aten.mean.dim": "averages over them",
    "aten.sum.dim_IntList": "adds them up",
    "aten.amax.default": "takes the largest of them",
    "aten.amin.default": "takes the smallest of them",
    "aten.linalg_vector_norm.default": "takes their norm",
}
