"""Leaf modules: which of torch's module classes is exactly one operator, and how to build one again."""

from typing import Any

from torch import Tensor, nn

from wieldy.graph.program import Node, Stored

LEAF_OPS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("aten.conv2d.default",),
    nn.Linear: ("aten.linear.default",),
    nn.BatchNorm1d: ("aten.batch_norm.default",),
    nn.BatchNorm2d: ("aten.batch_norm.default",),
    nn.PReLU: ("aten.prelu.default",),
    nn.GroupNorm: ("aten.group_norm.default",),
    nn.LayerNorm: ("aten.layer_norm.default",),
    nn.Dropout: ("aten.dropout.default",),
    nn.Dropout1d: ("aten.feature_dropout.default",),
    nn.Dropout2d: ("aten.feature_dropout.default",),
    nn.ReLU: ("aten.relu.default",),
    nn.ReLU6: ("aten.hardtanh.default", "aten.relu6.default"),
    nn.Hardtanh: ("aten.hardtanh.default",),
    nn.LeakyReLU: ("aten.leaky_relu.default",),
    nn.ELU: ("aten.elu.default",),
    nn.Sigmoid: ("aten.sigmoid.default",),
    nn.Tanh: ("aten.tanh.default",),
    nn.SiLU: ("aten.silu.default",),
    nn.GELU: ("aten.gelu.default",),
    nn.Hardswish: ("aten.hardswish.default",),
    nn.Hardsigmoid: ("aten.hardsigmoid.default",),
    nn.MaxPool2d: ("aten.max_pool2d.default",),
    nn.AvgPool2d: ("aten.avg_pool2d.default",),
    nn.AdaptiveAvgPool2d: ("aten.adaptive_avg_pool2d.default",),
}


def rebuild_leaf(node: Node, tensors: dict[str, Tensor]) -> nn.Module | None:
    """Make the module that a node of a stored program stands for, or None where a function does.

    Only what holds tensors or behaves differently in training becomes a module again; names of
    tensors that do not fit the module's own stay functional.
    """
    a: dict[str, Any] = dict(node.inputs)
    held = {key: value.name for key, value in a.items() if isinstance(value, Stored)}
    if any(name != f"{node.module}.{key}" for key, name in held.items()):
        return None
    bias = a.get("bias") is not None
    leaf: nn.Module
    match node.op:
        case "aten.conv2d.default":
            out_channels, width, *kernel = tensors[held["weight"]].shape
            size = (kernel[0], kernel[1])
            spread = (a["stride"], a["padding"], a["dilation"], a["groups"])
            leaf = nn.Conv2d(width * a["groups"], out_channels, size, *spread, bias=bias)
        case "aten.linear.default":
            rows, columns = tensors[held["weight"]].shape
            leaf = nn.Linear(columns, rows, bias=bias)
        case "aten.batch_norm.default":
            kind = nn.BatchNorm2d if len(node.shape) == 4 else nn.BatchNorm1d
            affine = "weight" in held
            leaf = kind(
                len(tensors[held["running_mean"]]), eps=a["eps"], momentum=a["momentum"], affine=affine
            )
        case "aten.prelu.default":
            leaf = nn.PReLU(len(tensors[held["weight"]]))
        case "aten.group_norm.default":
            channels, affine = node.shape[1], "weight" in held
            assert channels is not None
            leaf = nn.GroupNorm(a["num_groups"], channels, a["eps"], affine)
        case "aten.layer_norm.default":
            leaf = nn.LayerNorm(a["normalized_shape"], a["eps"], "weight" in held, bias)
        case "aten.dropout.default":
            leaf = nn.Dropout(a["p"])
        case "aten.feature_dropout.default":
            leaf = (nn.Dropout2d if len(node.shape) == 4 else nn.Dropout1d)(a["p"])
        case _:
            return None
    leaf.load_state_dict({key: tensors[name] for key, name in held.items()}, strict=False)
    return leaf


def is_leaf(module: nn.Module, ops: set[str]) -> bool:
    """Whether `module` is one of torch's own classes and traced to exactly its one operator."""
    allowed = LEAF_OPS.get(type(module))
    return allowed is not None and len(ops) == 1 and ops <= set(allowed)


def without_inplace(module: nn.Module) -> nn.Module:
    """Let a leaf leave its input alone, so that what was computed before it can still be looked at."""
    if getattr(module, "inplace", False) is True:
        module.inplace = False  # type: ignore[assignment]
    return module
