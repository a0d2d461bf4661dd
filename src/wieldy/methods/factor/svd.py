"""A layer as two thinner ones: the truncated singular value decomposition of its weight.

Source: Eckart and Young 1936 (the best approximation of a rank); as layers, Denton et al., "Exploiting Linear
Structure Within Convolutional Networks", NIPS 2014 (linear layers and channels), and Jaderberg et al.,
"Speeding up Convolutional Neural Networks with Low Rank Expansions", BMVC 2014, section 2 (a column, then a
row).

    channel: W (f, c k1 k2) = U V: r filters of the kernel's size, then 1 x 1 to f channels
    spatial: W (c k1, f k2): r filters of k1 x 1, then f filters of 1 x k2

Weighted: minimises E |(W - W') x|^2 instead of |W - W'|^2. With C = E[x x^T] = R R, R symmetric, that is the
decomposition of W R, its right factor multiplied by R^-1 (derived: |A R|^2 = trace A C A^T = E |A x|^2).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from wieldy.core.errors import ConfigError
from wieldy.core.records import Change, Refused
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import CONV, LINEAR, WEIGHTED
from wieldy.graph.program import Argument, Node, Ref, Shape, Spec, Stored
from wieldy.methods.contract import MethodConfig
from wieldy.stats.collect import Stats

NAME = "svd"
Matrix = NDArray[np.float64]
PLAIN = {"stride": 1, "padding": 0, "dilation": 1}
DAMPING = 1e-6  # of the mean of C's diagonal, so that inputs that never vary can be inverted


class SvdConfig(MethodConfig):
    """How thin, and along which axes."""

    rank: int | None = Field(default=None, ge=1)  # of each layer; default: by share
    share: float = Field(default=0.5, gt=0, lt=1)  # of the weight's numbers that both factors may have
    form: Literal["channel", "spatial"] = "channel"  # of convolutions
    weighted: bool = True  # by the second moments of the input; of convolutions in the channel form alone
    max_loss: float = Field(default=0.25, gt=0, le=1)  # of the squares of a layer's outputs, if moments tell

    @model_validator(mode="after")
    def _check(self) -> "SvdConfig":
        if self.weighted and self.form == "spatial":
            raise ValueError(
                "weighted: only the channel form can be; got form 'spatial'. Use weighted=False."
            )
        return self


@dataclass(frozen=True)
class Factors:
    """W' = left @ right, (rows, rank) and (rank, columns)."""

    left: Matrix
    right: Matrix


def low_rank(weight: Matrix, rank: int, moment: Matrix | None = None) -> Factors:
    """Return the best factors of a rank: for the weight itself, or for the outputs of inputs of a moment.

    Args:
        weight: (rows, columns).
        moment: (columns, columns) E[x x^T], or None.

    Cost: one decomposition, O(rows columns min(rows, columns)); with a moment, an eigendecomposition of it.

    Example:
        >>> factors = low_rank(np.outer([1.0, 2.0], [3.0, 4.0]), 1)
        >>> (factors.left @ factors.right).round(9).tolist()
        [[3.0, 4.0], [6.0, 8.0]]
    """
    root, inverse = _roots(moment) if moment is not None else (None, None)
    u, s, vt = np.linalg.svd(weight if root is None else weight @ root, full_matrices=False)
    half = np.sqrt(s[:rank])
    right = half[:, None] * vt[:rank]
    return Factors(u[:, :rank] * half, right if inverse is None else right @ inverse)


def _roots(moment: Matrix) -> tuple[Matrix, Matrix]:
    """Return the symmetric root of a moment, damped, and its inverse."""
    values, vectors = np.linalg.eigh(moment)
    floor = DAMPING * max(float(np.trace(moment)) / len(moment), np.finfo(np.float64).tiny)
    roots = np.sqrt(np.maximum(values, 0.0) + floor)
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


def output_error(weight: Matrix, factors: Factors, moment: Matrix) -> float:
    """Return E |(W - W') x|^2 over E |W x|^2."""
    return _output_error(weight, factors.left @ factors.right, moment)


def _output_error(weight: Matrix, other: Matrix, moment: Matrix) -> float:
    lost, squares = weight - other, float(np.sum((weight @ moment) * weight))
    return float(np.sum((lost @ moment) * lost)) / squares if squares > 0 else 0.0


def product(first: NDArray[np.float32], second: NDArray[np.float32]) -> Matrix:
    """Return the weight (rows, columns) of the one layer that two compute as, as `factored` returns them."""
    one, two = first.astype(np.float64), second.astype(np.float64)
    if one.ndim == 4 and two.shape[3] > 1:  # a column, then a row
        whole: Matrix = np.einsum("frw,rch->fchw", two[:, :, 0], one[..., 0])
        return whole.reshape(len(two), -1)
    return two.reshape(len(two), -1) @ one.reshape(len(one), -1)


def rank_for_share(rows: int, columns: int, share: float) -> int:
    """Return the largest rank whose factors have at most this share of the numbers, at least 1.

    Example:
        >>> rank_for_share(100, 100, 0.5)
        25
    """
    return max(1, int(share * rows * columns / (rows + columns)))


def apply(
    network: GraphNetwork, scope: Sequence[str], stats: Stats, config: SvdConfig
) -> Iterator[Change | Refused]:
    """Replace layers by two each, named after them: `layer.first` and `layer.second`.

    Raises:
        ConfigError: `weighted`, and `stats` has no moments of a layer.
    """
    program, arrays = network.program, network.arrays()
    tensors, records = dict(program.tensors), list[Change | Refused]()
    found = {node.layer: node for node in program.nodes if any(True for _ in node.stored())}
    made: dict[str, tuple[Node, Node]] = {}
    for layer in scope:
        node = found.get(layer)
        reason = _reason(network, node, config)
        if node is None or reason:
            records.append(Refused(layer=layer, method=NAME, reason=reason))
            continue
        weight = arrays[node.weight]
        first, second = factored(weight, config, _moment(stats, layer) if config.weighted else None)
        numbers = first.size + second.size
        reason = _too_dear(weight, first, second, stats, layer, config)
        if reason:
            records.append(Refused(layer=layer, method=NAME, reason=reason))
            continue
        width = program.shape(next(node.refs()))[-1]
        made[node.name] = _two_layers(node, first, second, arrays, tensors, width)
        before = {"rank": min(len(weight), weight[0].size), "numbers": weight.size}
        after = {"rank": len(first), "numbers": numbers}
        records.append(Change(layer=layer, method=NAME, before=before, after=after, seed=config.seed))
    nodes = tuple(part for node in program.nodes for part in made.get(node.name, (node,)))
    used = {name for node in nodes for name in node.stored()}
    kept = {name: spec for name, spec in tensors.items() if name in used}
    network.rewrite(program.with_nodes(nodes, kept), {name: arrays[name] for name in kept}, network.formats)
    yield from records


def factorable(network: GraphNetwork, config: SvdConfig) -> list[str]:
    """Return the layers that `apply` would split, whatever it would save."""
    nodes = [node for node in network.program.nodes if node.op in WEIGHTED]
    return [node.layer for node in nodes if not _reason(network, node, config)]


def factored(
    weight: NDArray[np.float32], config: SvdConfig, moment: Matrix | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights of the two layers that stand for one: (rows, inputs), or (rows, inputs, k1, k2)."""
    wide = weight.astype(np.float64)
    if weight.ndim == 4 and config.form == "spatial":
        rows, inputs, high, across = weight.shape
        matrix = wide.transpose(1, 2, 0, 3).reshape(inputs * high, rows * across)
        factors = low_rank(matrix, _rank(matrix, config))
        first = factors.left.T.reshape(-1, inputs, high, 1)
        second = factors.right.reshape(-1, rows, 1, across).transpose(1, 0, 2, 3)
    else:
        matrix = wide.reshape(len(wide), -1)
        factors = low_rank(matrix, _rank(matrix, config), moment)
        first = factors.right.reshape(-1, *weight.shape[1:])
        second = factors.left.reshape(*factors.left.shape, *(1,) * (weight.ndim - 2))
    return np.ascontiguousarray(first, np.float32), np.ascontiguousarray(second, np.float32)


def _rank(matrix: Matrix, config: SvdConfig) -> int:
    rows, columns = matrix.shape
    rank = config.rank if config.rank is not None else rank_for_share(rows, columns, config.share)
    return int(min(rank, rows, columns))


def _reason(network: GraphNetwork, node: Node | None, config: SvdConfig) -> str:
    """Say why a layer cannot be split, if it cannot."""
    if node is None or node.op not in WEIGHTED:
        return "it is no linear layer and no convolution"
    if node.groups > 1:
        return "its channels are in groups already"
    if sum(node.weight in other.stored() for other in network.program.nodes) > 1:
        return "its weight serves several layers"
    if network.formats.get(node.weight, "dense") != "dense":
        return f"its weight is stored as {network.formats[node.weight]}; factor first"
    spatial = node.op == CONV and config.form == "spatial"
    if spatial and network.program.tensors[node.weight].shape[2:] == (1, 1):
        return "a kernel of 1 x 1 has no column to take apart"
    return ""


def _too_dear(
    weight: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    stats: Stats,
    layer: str,
    config: SvdConfig,
) -> str:
    """Say why two layers would be no gain, or too great a loss, if they would."""
    numbers = first.size + second.size
    if numbers >= weight.size:
        return f"rank {len(first)} would have {numbers:,} numbers, and it has {weight.size:,}"
    if layer in stats.moments:
        wide = weight.reshape(len(weight), -1).astype(np.float64)
        lost = _output_error(wide, product(first, second), stats.moments[layer].mean)
        if lost > config.max_loss:
            return (
                f"rank {len(first)} would lose {lost:.1%} of the squares of its outputs, and max_loss is "
                f"{config.max_loss:.1%}"
            )
    return ""


def _moment(stats: Stats, layer: str) -> Matrix:
    if layer not in stats.moments:
        raise ConfigError(
            f"svd: needs the second moments of what {layer!r} reads. Use collect_moments first."
        )
    return stats.moments[layer].mean


def _two_layers(
    node: Node,
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    arrays: dict[str, NDArray[np.float32]],
    tensors: dict[str, Spec],
    width: int | None,
) -> tuple[Node, Node]:
    """Return the two nodes; the second keeps the name by which others read it, and the bias."""
    prefix = node.module or node.name
    names = [f"{prefix}.first.weight", f"{prefix}.second.weight"]
    for name, array in zip(names, (first, second), strict=True):
        arrays[name], tensors[name] = array, Spec(array.shape, learned=True)
    middle = f"{node.name}.first"
    spreads = _spreads(node, second)
    given: dict[str, Argument] = {"weight": Stored(names[0]), "bias": None}
    shape = _middle(node, first, second, width)
    one = Node(middle, node.op, dict(node.inputs) | given | spreads[0], f"{prefix}.first", shape)
    bias = node.inputs["bias"]
    given = {"input": Ref(middle), "weight": Stored(names[1]), "bias": _moved(bias, prefix, arrays, tensors)}
    return one, replace(node, inputs=dict(node.inputs) | given | spreads[1], module=f"{prefix}.second")


def _moved(
    bias: Argument, prefix: str, arrays: dict[str, NDArray[np.float32]], tensors: dict[str, Spec]
) -> Argument:
    """Return the bias under the second layer's name."""
    if not isinstance(bias, Stored):
        return None
    name = f"{prefix}.second.bias"
    arrays[name], tensors[name] = arrays[bias.name], tensors[bias.name]
    return Stored(name)


def _spreads(node: Node, second: NDArray[np.float32]) -> tuple[dict[str, Argument], dict[str, Argument]]:
    """Return strides, paddings and dilations of both layers: each keeps those of the axes that it spans."""
    found: tuple[dict[str, Argument], dict[str, Argument]] = ({}, {})
    for name, none in PLAIN.items() if node.op != LINEAR else ():
        value = node.inputs[name]
        assert isinstance(value, tuple)
        value = tuple(int(size) for size in value)  # type: ignore[arg-type]  # fits() saw to it
        if node.op == CONV and second.shape[3] > 1:  # a column, then a row
            found[0][name], found[1][name] = (value[0], none), (none, value[1])
        else:
            found[0][name], found[1][name] = value, (none,) * len(value)
    return found


def _middle(node: Node, first: NDArray[np.float32], second: NDArray[np.float32], width: int | None) -> Shape:
    """Return the shape of what the first layer yields; a column leaves the width of the input as it is."""
    if node.op == LINEAR:
        return (*node.shape[:-1], len(first))
    batch, _, *sizes = node.shape
    if node.op == CONV and second.shape[3] > 1:
        sizes[1] = width
    return (batch, len(first), *sizes)
