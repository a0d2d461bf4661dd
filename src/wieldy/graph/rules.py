"""What each operator does to the labels of channels: which depend on each other, and which must stay."""

import numpy as np

from wieldy.core.errors import InternalError, MisfitError
from wieldy.graph.axes import AXIS_RULES
from wieldy.graph.labels import AxisIds, Ids, Labels, Rule, joined, operand, source_ids, whole, wholes
from wieldy.graph.ops import (
    ATTENTION,
    BINARY,
    ELEMENTWISE,
    EMBEDDING,
    FULL,
    MATMUL,
    POOLING,
    RECURRENT,
    REDUCTIONS,
    SOFTMAX,
    TRANSPOSED,
    WHERE,
)
from wieldy.graph.program import Argument, Node, Program, Ref, Stored


def label_program(program: Program) -> Labels:
    """Walk the program once and return its labels."""
    labels = Labels(program)
    for name, spec in program.inputs.items():
        labels.values[name] = (None,) * len(spec.shape)
    for node in program.nodes:
        try:
            labels.values[node.name] = rule_of(node.op)(labels, node)
        except (IndexError, ValueError) as error:
            raise MisfitError(
                f"program: {node.op} of {node.name!r} does not fit the shapes that it names ({error})."
            ) from None
        labels.shapes[node.name] = node.shape
    for name in program.outputs:
        for ids in labels.values[name]:
            labels.pin(ids, "its channels are the network's outputs")
    return labels


FIXED = "channels that must stay, such as the network's inputs"


def rule_of(op: str) -> Rule:
    """Return what an operator of the allow-list does to labels."""
    if op in RULES:
        return RULES[op]
    if op in ELEMENTWISE:
        return _same
    if op in POOLING:
        return _pool
    if op in BINARY:
        return _binary
    if op in SOFTMAX:
        return _softmax
    if op in REDUCTIONS:
        return _reduce
    if op in TRANSPOSED:
        return _transposed
    if op in RECURRENT:
        return _recurrent
    raise InternalError(f"labels: {op} is on the allow-list but has no rule.")


def _value(argument: Argument) -> str:
    assert isinstance(argument, Ref)
    return argument.name


def _same(labels: Labels, node: Node) -> AxisIds:
    """Each channel comes from the same channel."""
    return source_ids(labels, node)


def _pool(labels: Labels, node: Node) -> AxisIds:
    """Each channel comes from the same channel; the axes that are pooled stay."""
    source = source_ids(labels, node)
    for ids in source[2:]:
        labels.pin(ids, f"{node.name} pools across them")
    return (*source[:2], *(None for _ in source[2:]))


def _conv(labels: Labels, node: Node) -> AxisIds:
    """Outputs have channels of their own; inputs go with what is read, in every group alike."""
    weight = node.inputs["weight"]
    assert isinstance(weight, Stored)
    shape = labels.program.tensors[weight.name].shape
    out_channels, width = int(shape[0] or 0), int(shape[1] or 0)
    groups = node.groups
    source = source_ids(labels, node)[1]
    produced = labels.axis(weight.name, 0, out_channels)
    _bias(labels, node, produced)
    if groups == 1 or width > 1:  # of more groups, the same position goes from every group
        _read_by(labels, np.tile(labels.axis(weight.name, 1, width), groups), source)
        labels.unite(np.tile(produced[: out_channels // groups], groups), produced)
    elif source is None:
        labels.pin(produced, f"{node.layer} is depthwise over {FIXED}")
    else:  # depthwise: a channel and everything made from it go together, and the group with them
        labels.unite(np.repeat(source, out_channels // groups), produced)
    return (None, produced, *(None for _ in node.shape[2:]))


def _transposed(labels: Labels, node: Node) -> AxisIds:
    """A transposed convolution: its weight is (inputs, outputs / groups, ...)."""
    weight = node.inputs["weight"]
    assert isinstance(weight, Stored)
    inputs, per_group = (int(size or 0) for size in labels.program.tensors[weight.name].shape[:2])
    groups, source = node.groups, source_ids(labels, node)[1]
    rows, columns = labels.axis(weight.name, 0, inputs), labels.axis(weight.name, 1, per_group)
    _read_by(labels, rows, source)
    if groups > 1:  # the same place goes from every group
        labels.unite(np.tile(rows[: inputs // groups], groups), rows)
        if per_group == 1:  # depthwise: nothing but the group itself could go
            labels.pin(rows, f"{node.layer} computes each channel from one of its own")
    produced = np.tile(columns, groups)
    bias = node.inputs["bias"]
    if isinstance(bias, Stored):
        labels.unite(labels.axis(bias.name, 0, len(produced)), produced)
    return (None, produced, *(None for _ in node.shape[2:]))


def _recurrent(labels: Labels, node: Node) -> AxisIds:
    """A hidden unit has a row for each gate, and the column by which the next step reads it."""
    names = {name: value.name for name, value in node.inputs.items() if isinstance(value, Stored)}
    source, gates = source_ids(labels, node), RECURRENT[node.op]
    rows, inputs = (int(size or 0) for size in labels.program.tensors[names["weight_ih"]].shape)
    hidden = labels.axis(names["weight_hh"], 1, rows // gates)
    _read_by(labels, labels.axis(names["weight_ih"], 1, inputs), source[-1])
    for name in names.values():
        labels.unite(labels.axis(name, 0, rows), np.tile(hidden, gates))
    labels.pin(source[1], f"{node.name} takes them one after the other")
    return (source[0], None, hidden)


def _embedding(labels: Labels, node: Node) -> AxisIds:
    """What stands for a token goes by its place; which tokens there are stays."""
    weight = node.inputs["weight"]
    assert isinstance(weight, Stored)
    width = int(labels.program.tensors[weight.name].shape[1] or 0)
    indices, shape = operand(labels, node.inputs["indices"])
    for ids in indices:
        labels.pin(ids, f"{node.name} looks them up")
    return (*(None,) * len(shape), labels.axis(weight.name, 1, width))


def _full(labels: Labels, node: Node) -> AxisIds:  # noqa: ARG001
    """Nothing in it can go."""
    return (None,) * len(node.shape)


def _where(labels: Labels, node: Node) -> AxisIds:
    """Channels at the same place go together."""
    sides = [operand(labels, node.inputs[name]) for name in ("condition", "self", "other")]
    return joined(labels, node, sides, len(node.shape))


def _upsample(labels: Labels, node: Node) -> AxisIds:
    """Each channel comes from the same channel; the axes that grow stay."""
    source = source_ids(labels, node)
    return (*source[:2], *(None for _ in source[2:]))


def _read_by(labels: Labels, columns: Ids, source: Ids | None) -> None:
    """The columns of a weight go with the channels that they read; a weight used twice may read two."""
    if source is None:
        labels.pin(columns, f"they read {FIXED}")
    else:
        labels.unite(columns, source)


def _linear(labels: Labels, node: Node) -> AxisIds:
    """Outputs have units of their own; inputs go with what is read."""
    weight = node.inputs["weight"]
    assert isinstance(weight, Stored)
    rows, columns = (int(size or 0) for size in labels.program.tensors[weight.name].shape)
    source = source_ids(labels, node)
    _read_by(labels, labels.axis(weight.name, 1, columns), source[-1])
    produced = labels.axis(weight.name, 0, rows)
    _bias(labels, node, produced)
    return (*source[:-1], produced)


def _bias(labels: Labels, node: Node, produced: Ids) -> None:
    bias = node.inputs["bias"]
    if isinstance(bias, Stored):
        labels.unite(labels.axis(bias.name, 0, len(produced)), produced)


def _batch_norm(labels: Labels, node: Node) -> AxisIds:
    """Each channel comes from the same channel, with numbers of its own."""
    source = source_ids(labels, node)
    _per_channel(labels, node, source[1])
    return source


def _per_channel(labels: Labels, node: Node, source: Ids | None) -> None:
    """The numbers that a node stores for each channel go with the channel."""
    for name in node.stored():
        size = int(labels.program.tensors[name].shape[0] or 0)
        _read_by(labels, labels.axis(name, 0, size), source)


def _binary(labels: Labels, node: Node) -> AxisIds:
    """Channels at the same place go together."""
    sides = [operand(labels, node.inputs[name]) for name in ("self", "other")]
    return joined(labels, node, sides, len(node.shape))


def _cat(labels: Labels, node: Node) -> AxisIds:
    """Channels stay apart along the axis that is joined, and go together along the others."""
    tensors, dim = node.inputs["tensors"], whole(node, "dim")
    assert isinstance(tensors, tuple)
    names = [_value(item) for item in tensors]
    result: list[Ids | None] = []
    for axis in range(len(node.shape)):
        parts = [labels.values[name][axis] for name in names]
        known = [ids for ids in parts if ids is not None]
        if not known:
            result.append(None)
        elif axis == dim:
            filled = [
                _or_fixed(labels, ids, labels.shapes[name][axis])
                for ids, name in zip(parts, names, strict=True)
            ]
            result.append(np.concatenate(filled))
        else:
            for ids in known[1:]:
                labels.unite(known[0], ids)
            if len(known) < len(parts):
                labels.pin(known[0], f"{node.name} joins them with channels that must stay")
            result.append(known[0])
    return tuple(result)


def _or_fixed(labels: Labels, ids: Ids | None, size: int | None) -> Ids:
    if ids is not None:
        return ids
    fixed = labels.fresh(int(size or 0))
    labels.pin(fixed, f"they are {FIXED}")
    return fixed


def _reduce(labels: Labels, node: Node) -> AxisIds:
    """What is reduced over stays; each other channel comes from the same channel."""
    source = source_ids(labels, node)
    dims = wholes(node, "dim")
    for dim in dims:
        labels.pin(source[dim], f"{node.name} {REDUCTIONS[node.op]}")
    if node.inputs["keepdim"]:
        return tuple(None if axis in dims else ids for axis, ids in enumerate(source))
    return tuple(ids for axis, ids in enumerate(source) if axis not in dims)


def _softmax(labels: Labels, node: Node) -> AxisIds:
    """The axis that is gone along stays; each other channel comes from the same channel."""
    source = source_ids(labels, node)
    done = "adds them up in order" if "cumsum" in node.op else "normalises over them"
    labels.pin(source[whole(node, "dim")], f"{node.name} {done}")
    return source


def _prelu(labels: Labels, node: Node) -> AxisIds:
    """Each channel comes from the same channel, with a slope of its own."""
    source = source_ids(labels, node)
    if labels.program.tensors[next(node.stored())].shape != (1,):  # else one slope serves all channels
        _per_channel(labels, node, source[1])
    return source


def _group_norm(labels: Labels, node: Node) -> AxisIds:
    """A group goes as a whole: the statistics of the others are their own."""
    source, groups = source_ids(labels, node), whole(node, "num_groups")
    ids = source[1]
    if ids is not None and groups == 1:
        labels.pin(ids, f"{node.name} normalises over them")
    elif ids is not None:
        of_groups = ids.reshape(groups, -1)
        labels.unite(np.repeat(of_groups[:, 0], of_groups.shape[1]), ids)
    for axis, others in enumerate(source[2:], 2):
        labels.pin(others, f"{node.name} normalises over axis {axis}")
    _per_channel(labels, node, ids)
    return (source[0], ids, *(None for _ in source[2:]))


def _layer_norm(labels: Labels, node: Node) -> AxisIds:
    """The axes that are normalised over stay."""
    source, count = source_ids(labels, node), len(wholes(node, "normalized_shape"))
    for ids in source[-count:]:
        labels.pin(ids, f"{node.name} normalises over them")
    return source


def _matmul(labels: Labels, node: Node) -> AxisIds:
    """What is summed over goes on both sides together."""
    sides = [operand(labels, node.inputs[name]) for name in ("self", "other")]
    (first, _), (second, _) = sides
    if min(len(first), len(second)) < 2:
        for ids in (*first, *second):
            labels.pin(ids, f"{node.name} multiplies them by a vector")
        return (None,) * len(node.shape)
    for one, other in ((first[-1], second[-2]), (second[-2], first[-1])):
        if other is None:
            labels.pin(one, f"{node.name} sums over them with {FIXED}")
        elif one is not None:
            labels.unite(one, other)
    leading = joined(labels, node, [(ids[:-2], of[:-2]) for ids, of in sides], len(node.shape) - 2)
    return (*leading, first[-2], second[-1])


def _attention(labels: Labels, node: Node) -> AxisIds:
    """Heads go together in queries, keys and values; what a head computes with stays."""
    names = ("query", "key", "value")
    sides = [operand(labels, node.inputs[name]) for name in names]
    for ids, _ in sides[:2]:
        labels.pin(ids[-1], f"{node.name} sums over them")
    for ids, _ in sides:
        labels.pin(ids[-2], f"{node.name} normalises over them")
    mask, shape = operand(labels, node.inputs["attn_mask"])
    for of_mask in mask[-2:]:
        labels.pin(of_mask, f"{node.name} masks by them")
    leading = [(ids[:-2], of[:-2]) for ids, of in sides] + ([(mask[:-2], shape[:-2])] if shape else [])
    return (*joined(labels, node, leading, len(node.shape) - 2), None, sides[2][0][-1])


RULES: dict[str, Rule] = AXIS_RULES | {
    "aten.conv1d.default": _conv,
    "aten.conv2d.default": _conv,
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    "aten.cat.default": _cat,
    EMBEDDING: _embedding,
    FULL: _full,
    WHERE: _where,
    "aten.upsample_nearest1d.vec": _upsample,
    "aten.upsample_nearest2d.vec": _upsample,
    "aten.upsample_bilinear2d.vec": _upsample,
    MATMUL: _matmul,
    ATTENTION: _attention,
    "aten.prelu.default": _prelu,
    "aten.group_norm.default": _group_norm,
    "aten.layer_norm.default": _layer_norm,
}
