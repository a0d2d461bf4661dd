"""Small weights become zero: each for itself, or all of a block of output and input channels together.

Source: Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks", NIPS
2015, section 3 (weights below a threshold go). Score of a weight: its magnitude; of a block: the root of its
mean square over the weights that it has, at one place of the kernel. With scope "layer" every layer loses the
same share, with "network" one threshold holds for all of them.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.formats import BY_BLOCK
from wieldy.graph.bundles import Bundle, columns_of
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import WEIGHTED
from wieldy.graph.program import Node
from wieldy.methods.contract import MethodConfig
from wieldy.stats.collect import Stats

NAME = "zeros"
FIRST = "the first layer reads few channels; its zeros would save nothing"
FEW_CHANNELS = 4  # as pictures have them; a first linear layer may read hundreds
DEPTHWISE = "depthwise convolutions run dense"


class ZerosConfig(MethodConfig):
    """How many weights go, and what goes together."""

    sparsity: float = Field(default=0.9, ge=0, le=1)  # share of blocks that become zero
    block: Literal[1, 4, 8] = 1  # output channels that share a pattern
    inputs: Literal[1, 4] = 1  # neighbouring input channels that do; 4 is for eight bits
    scope: Literal["layer", "network"] = "layer"

    @model_validator(mode="after")
    def _has_kernels(self) -> Self:
        if self.inputs == 4 and self.block == 8:
            raise ValueError("blocks of four input channels are 1 or 4 output channels high, not 8")
        return self


def block_scores(weight: NDArray[np.float64], block: int, inputs: int = 1) -> NDArray[np.float64]:
    """Map (rows, inputs, ...) to (block rows, columns): roots of mean squares; a last block may be smaller.

    Example:
        >>> block_scores(np.array([[3.0, 0.0], [-3.0, 0.0], [2.0, 1.0]]), 2).tolist()
        [[3.0, 0.0], [2.0, 1.0]]
        >>> block_scores(np.array([[3.0, 4.0, 0.0, 5.0, 6.0]]), 1, 4).round(2).tolist()
        [[3.54, 6.0]]
    """
    means = np.square(weight.reshape(*weight.shape[:2], -1))
    for axis, size in enumerate((block, inputs)):
        edges = np.arange(0, means.shape[axis], size)
        members = np.minimum(size, means.shape[axis] - edges)
        means = np.add.reduceat(means, edges, axis=axis) / np.expand_dims(members, (1 - axis, 2))
    return np.asarray(np.sqrt(means).reshape(len(means), -1))


def smallest(scores: Sequence[NDArray[np.float64]], sparsity: float) -> list[NDArray[np.bool_]]:
    """Return which entries go: the smallest round(sparsity * total) of all arrays; ties go by position.

    Example:
        >>> [mask.tolist() for mask in smallest([np.array([3.0, 1.0]), np.array([2.0, 9.0])], 0.5)]
        [[False, True], [True, False]]
    """
    flat = np.concatenate([score.ravel() for score in scores])
    goes = np.zeros(flat.size, bool)
    goes[np.argsort(flat, kind="stable")[: round(sparsity * flat.size)]] = True
    parts = np.split(goes, np.cumsum([score.size for score in scores])[:-1])
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def apply(
    network: GraphNetwork,
    scope: Sequence[str],
    stats: Stats,  # noqa: ARG001
    config: ZerosConfig,
) -> Iterator[Change | Refused]:
    """Set weights of the layers in `scope` to zero, in place, and account for each layer.

    Raises:
        ConfigError: `scope` names a layer that has no weights here.
        DataError: a weight is NaN or infinite.
    """
    tensors: dict[str, str] = {}
    scores = {}
    for node in weighted(network, scope):
        layer, tensor = node.layer, next(node.stored())
        weight = network.tensor(tensor).detach().double().numpy()
        if not np.isfinite(weight).all():
            raise DataError(f"zeros: {tensor} holds NaN or infinity. Check the weights.")
        if is_depthwise(network, node):
            yield Refused(layer=layer, method=NAME, reason=DEPTHWISE)
        else:
            tensors[layer], scores[layer] = tensor, block_scores(weight, config.block, config.inputs)
    for layer, goes in _masks(scores, config).items():
        yield _zero(network, layer, tensors[layer], goes, config)


def weighted(network: GraphNetwork, scope: Sequence[str], asker: str = NAME) -> list[Node]:
    """Return the nodes of the layers in `scope`, in the program's order; of a shared weight the first."""
    nodes = [node for node in network.program.nodes if node.op in WEIGHTED]
    layers = {node.layer for node in nodes}
    unknown = [name for name in scope if name not in layers]
    if unknown:
        raise ConfigError(
            f"{asker}: {unknown[0]!r} is no layer with weights. Layers are {', '.join(sorted(layers))}."
        )
    first: dict[str, Node] = {}
    for node in nodes:
        if node.layer in scope:
            first.setdefault(next(node.stored()), node)
    return list(first.values())


def is_depthwise(network: GraphNetwork, node: Node) -> bool:
    """Whether each filter of a convolution reads one channel."""
    return node.groups > 1 and network.tensor(next(node.stored())).shape[1] == 1


def sparse_layers(network: GraphNetwork, method: str = NAME) -> tuple[tuple[str, ...], tuple[Refused, ...]]:
    """Return the layers that zeros can make faster, and the others with the reason, as `method` tells it."""
    every = tuple(node.layer for node in network.program.nodes if node.op in WEIGHTED)
    layers, refused = [], []
    for index, node in enumerate(weighted(network, every)):
        few = index == 0 and network.tensor(node.weight).shape[1] <= FEW_CHANNELS
        reason = FIRST if few else DEPTHWISE if is_depthwise(network, node) else None
        if reason:
            refused.append(Refused(layer=node.layer, method=method, reason=reason))
        else:
            layers.append(node.layer)
    return tuple(layers), tuple(refused)


def columns_that_may_go(
    network: GraphNetwork, layers: Sequence[str] | None, method: str
) -> tuple[list[Bundle], dict[str, str]]:
    """Return the columns of layers, and the layers that are left out with the reason.

    Args:
        network: not altered.
        layers: None: those that zeros can make faster. Of those that are named, depthwise ones are left out.
        method: in whose name an unknown layer is refused.
    """
    refused: dict[str, str] = {}
    if layers is None:
        layers, slow = sparse_layers(network, method)
        refused = {item.layer: item.reason for item in slow}
    nodes = weighted(network, layers, method)
    refused |= {node.layer: DEPTHWISE for node in nodes if is_depthwise(network, node)}
    return [columns_of(network.program, node) for node in nodes if node.layer not in refused], refused


def stored_formats(network: GraphNetwork, config: ZerosConfig) -> dict[str, str]:
    """Return how the tensors of sparse layers are stored, for `wieldy.save`."""
    layers, _ = sparse_layers(network)
    return {next(node.stored()): BY_BLOCK[config.block] for node in weighted(network, layers)}


def _masks(scores: dict[str, NDArray[np.float64]], config: ZerosConfig) -> dict[str, NDArray[np.bool_]]:
    if config.scope == "network" and scores:
        return dict(zip(scores, smallest(list(scores.values()), config.sparsity), strict=True))
    return {layer: smallest([score], config.sparsity)[0] for layer, score in scores.items()}


def _zero(
    network: GraphNetwork, layer: str, tensor: str, goes: NDArray[np.bool_], config: ZerosConfig
) -> Change:
    weight = network.tensor(tensor)
    before = counts(weight)
    rows, inputs = weight.shape[:2]
    blocks = goes.reshape(len(goes), -(-inputs // config.inputs), -1)
    every = np.repeat(np.repeat(blocks, config.block, axis=0)[:rows], config.inputs, axis=1)[:, :inputs]
    with torch.no_grad():
        weight.masked_fill_(torch.from_numpy(every.reshape(weight.shape)), 0.0)
    return Change(layer=layer, method=NAME, before=before, after=counts(weight), seed=config.seed)


def counts(weight: Tensor) -> dict[str, int]:
    """Return how many weights there are, and how many are not zero, as a `Change` tells them."""
    return {"weights": weight.numel(), "nonzero": int(weight.count_nonzero())}
