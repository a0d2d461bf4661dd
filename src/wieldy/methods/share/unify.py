"""Blocks of weights take one magnitude, each weight its own sign; training leads there, then goes on so.

Source: "Micro-structured weight unification", arXiv 2106.08301. Of a block w of |B| weights:
- nearest block of one magnitude: u = mean |w|, signs kept, at the cost d = sum (|w| - u)^2;
- nearest block of zeros, at the cost sum w^2 = d + |B| u^2: so one magnitude never costs more than zeros.
In each layer the blocks that cost least as zeros are pruned, and of the others those that cost least unified.
Training leads there by the alternating direction method of multipliers, in the scaled form of Boyd et al.
2011: a pull rho (W - Z + U) beside the loss's gradient; at every update Z = projection of W + U, and
U = U + W - Z. At the end W is projected; from then on each unified block trains as one number.

Ours: rho is counted in 1 / (learning rate x steps between two updates), so that one setting leads as far in a
short training as in a long one: with a strength of 1 a plain descent that only the pull moves is two thirds
of the way at the next update, with momentum further. U is scaled anew when the strength changes, so that
rho U stays. The kinds are chosen anew at every update. `gradual=False` leaves the leading out: the blocks are
projected when training begins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field, PositiveFloat, field_validator
from torch import Tensor, nn

from wieldy.core.errors import DataError
from wieldy.core.records import Change, Refused
from wieldy.formats import BY_SHAPE, FORMATS
from wieldy.formats.unified import FREE, PRUNED, UNIFIED, UnifiedFormat
from wieldy.graph.network import GraphNetwork, need_traced
from wieldy.graph.program import Node
from wieldy.methods.contract import Hook, MethodConfig, Step
from wieldy.methods.prune.zeros import counts, is_depthwise, smallest, weighted

NAME = "unify"
ENDS = "the first and the last layer stay as they are unless they are named"
DEPTHWISE = "depthwise convolutions hold few weights, and each matters much"
FROZEN = "its weight does not train"


class UnifyConfig(MethodConfig):
    """Which blocks, how many of them, and how training leads there.

    `block` is rows by columns of the matrix (output channels, everything that one of them reads).

    Raises:
        ConfigError: no packed form holds blocks of that shape.
    """

    block: tuple[int, int] = (4, 4)
    pruned: float = Field(default=0.5, ge=0, le=1)  # share of a layer's blocks that become zero
    unified: float = Field(default=0.9, ge=0, le=1)  # share of the others that take one magnitude
    gradual: bool = True  # False: projected when training begins, not led there
    updates: int = Field(default=12, ge=1)  # of the targets, over the whole training
    strengths: tuple[PositiveFloat, ...] = Field(default=(0.003, 0.03, 0.3, 3.0), min_length=1)  # by stages

    @field_validator("block")
    @classmethod
    def _is_stored(cls, block: tuple[int, int]) -> tuple[int, int]:
        if block not in BY_SHAPE:
            raise ValueError(f"must be one of {', '.join(map(str, BY_SHAPE))}")
        return block


def as_blocks(weight: Tensor, block: tuple[int, int]) -> Tensor:
    """Map (outputs, ...) to (blocks, size), a copy; what the shape leaves over is left out.

    Example:
        >>> as_blocks(torch.arange(10.0).reshape(2, 5), (2, 2)).tolist()
        [[0.0, 1.0, 5.0, 6.0], [2.0, 3.0, 7.0, 8.0]]
    """
    matrix = weight.reshape(len(weight), -1)
    down, across = matrix.shape[0] // block[0], matrix.shape[1] // block[1]
    inner = matrix[: down * block[0], : across * block[1]]
    cut = inner.reshape(down, block[0], across, block[1]).transpose(1, 2)
    return cut.reshape(down * across, block[0] * block[1])


def with_blocks(weight: Tensor, blocks: Tensor, block: tuple[int, int]) -> Tensor:
    """Return a copy of the weight that holds other blocks."""
    matrix = weight.reshape(len(weight), -1).clone()
    down, across = matrix.shape[0] // block[0], matrix.shape[1] // block[1]
    inner = blocks.reshape(down, across, *block).transpose(1, 2)
    matrix[: down * block[0], : across * block[1]] = inner.reshape(down * block[0], across * block[1])
    return matrix.reshape(weight.shape)


def signs(blocks: Tensor) -> Tensor:
    """Return -1 where a number is negative and 1 elsewhere; zero counts as positive."""
    return torch.where(blocks < 0, -1.0, 1.0)


def unify(blocks: Tensor) -> Tensor:
    """Return the nearest blocks of one magnitude each.

    Example:
        >>> unify(torch.tensor([[1.0, -3.0, 0.0, 4.0]])).tolist()
        [[2.0, -2.0, 2.0, 2.0]]
    """
    magnitudes = blocks.abs().double().mean(dim=1, keepdim=True)
    return signs(blocks) * magnitudes.to(blocks.dtype)


def unify_costs(blocks: Tensor) -> Tensor:
    """Return (blocks,) squared distances to the nearest blocks of one magnitude, float64.

    Example:
        >>> unify_costs(torch.tensor([[1.0, -3.0, 0.0, 4.0]])).tolist()
        [10.0]
    """
    magnitudes = blocks.abs().double()
    return (magnitudes - magnitudes.mean(dim=1, keepdim=True)).square().sum(dim=1)


def prune_costs(blocks: Tensor) -> Tensor:
    """Return (blocks,) squared distances to zero, float64.

    Example:
        >>> prune_costs(torch.tensor([[1.0, -3.0, 0.0, 4.0]])).tolist()
        [26.0]
    """
    return blocks.double().square().sum(dim=1)


def select(blocks: Tensor, pruned: float, unified: float) -> Tensor:
    """Return (blocks,) kinds: first the share that costs least as zeros, then a share of the others.

    Example:
        >>> select(torch.tensor([[5.0, 5.0], [1.0, 1.0], [2.0, 9.0]]), pruned=0.34, unified=0.5).tolist()
        [1, 2, 0]
    """
    kinds = torch.full((len(blocks),), FREE)
    goes = torch.from_numpy(smallest([prune_costs(blocks).numpy()], pruned)[0])
    kinds[goes] = PRUNED
    ties = torch.from_numpy(smallest([unify_costs(blocks[~goes]).numpy()], unified)[0])
    kinds[torch.nonzero(~goes).ravel()[ties]] = UNIFIED
    return kinds


def project(blocks: Tensor, kinds: Tensor) -> Tensor:
    """Return the nearest blocks of these kinds.

    Example:
        >>> project(torch.tensor([[1.0, -3.0], [1.0, 1.0]]), torch.tensor([1, 2])).tolist()
        [[2.0, -2.0], [0.0, 0.0]]
    """
    column = kinds[:, None]
    return torch.where(column == UNIFIED, unify(blocks), torch.where(column == PRUNED, 0.0, blocks))


def strength_at(share: float, strengths: Sequence[float]) -> float:
    """Return the strength of the pull when `share` of the training is over.

    Example:
        >>> [strength_at(share, (1.0, 2.0)) for share in (0, 0.49, 0.5, 1)]
        [1.0, 1.0, 2.0, 2.0]
    """
    return strengths[min(int(share * len(strengths)), len(strengths) - 1)]


@dataclass
class _Pull:
    """Where the weight of one layer is pulled to: Z, the kinds of its blocks, and U."""

    tensor: str
    target: Tensor
    kinds: Tensor
    dual: Tensor
    before: dict[str, int]
    residual: float = 0.0


class Unify(Hook):
    """Leads blocks of weights to one magnitude or to zero while the network trains, and projects at the end.

    Args:
        config: which blocks, how many of them, and how.
        layers: whose weights; None: all but the first, the last and depthwise ones.

    Attributes:
        residuals: |W - Z| over |W| of all layers together, when training begins and after each update.

    Raises:
        ConfigError: from `attach`: the network is not traced, or lacks a layer.
        DataError: from `attach`: a weight is NaN or infinite.

    Cost: two copies of the weights, and a few passes over them in each step.

    Source: arXiv 2106.08301; Boyd et al. 2011.
    """

    def __init__(self, config: UnifyConfig | None = None, layers: Sequence[str] | None = None) -> None:
        self.config = config or UnifyConfig()
        self.layers = layers
        self.residuals: list[float] = []
        self._pulls: dict[str, _Pull] = {}
        self._records: list[Change | Refused] = []
        self._held: OneMagnitude | None = None

    def attach(self, network: nn.Module) -> None:
        """Find the layers and where their weights shall go; where that is not gradual, go there."""
        traced = need_traced(network, "Unify")
        nodes, refused = unifiable(traced, self.config.block, self.layers)
        self._records, self._pulls, self._held = list(refused), {}, None
        for node in nodes:
            weight = traced.tensor(node.weight).detach()
            if not torch.isfinite(weight).all():
                raise DataError(f"{NAME}: {node.weight} holds NaN or infinity. Check the weights.")
            target, kinds = self._target(weight)
            before = facts(weight, self.config.block)
            self._pulls[node.layer] = _Pull(node.weight, target, kinds, torch.zeros_like(weight), before)
        self.residuals = [self._distance(traced)]
        if not self.config.gradual:
            self._project(traced)
            self._held = self.settling()
            self._held.attach(traced)

    def after_backward(self, step: Step) -> None:
        """Pull the weights towards their targets."""
        network = need_traced(step.network, "Unify")
        if self._held:
            self._held.after_backward(step)
        elif step.learning_rate > 0:
            steps = step.total / self.config.updates
            rho = min(1.0, self._strength(step.index, step) / steps) / step.learning_rate
            for pull in self._pulls.values():
                weight = network.tensor(pull.tensor)
                if weight.grad is not None:
                    weight.grad.add_(weight.detach() - pull.target + pull.dual, alpha=rho)

    def after_step(self, step: Step) -> None:
        """Take new targets if it is time."""
        updates, done = self.config.updates, step.index + 1
        if self._held:
            self._held.after_step(step)
        elif done * updates // step.total > step.index * updates // step.total:
            ratio = self._strength(step.index, step) / self._strength(done, step)
            self._update(need_traced(step.network, "Unify"), ratio)

    def finish(self, network: nn.Module) -> None:
        """Project the weights on the kinds of the last targets."""
        traced = need_traced(network, "Unify")
        if not self._held:
            self._project(traced)
        for layer, pull in self._pulls.items():
            after = facts(traced.tensor(pull.tensor).detach(), self.config.block)
            self._records.append(
                Change(
                    layer=layer, method=NAME, before=pull.before, after=after, seed=self.config.seed,
                    figures={"residual": pull.residual},
                )
            )  # fmt: skip

    def settling(self) -> "OneMagnitude":
        """Return what trains each unified block as one number."""
        return OneMagnitude(self.config.block, tuple(self._pulls))

    def records(self) -> Iterator[Change | Refused]:
        """Yield what became of every layer: first those that were left alone."""
        yield from self._records

    def _strength(self, index: int, step: Step) -> float:
        return strength_at(index / step.total, self.config.strengths)

    def _target(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return Z and the kinds of its blocks."""
        blocks = as_blocks(weight, self.config.block)
        kinds = select(blocks, self.config.pruned, self.config.unified)
        return with_blocks(weight, project(blocks, kinds), self.config.block), kinds

    def _update(self, network: GraphNetwork, ratio: float) -> None:
        for pull in self._pulls.values():
            weight = network.tensor(pull.tensor).detach()
            pull.target, pull.kinds = self._target(weight + pull.dual)
            pull.dual = (pull.dual + weight - pull.target) * ratio
        self.residuals.append(self._distance(network))

    def _distance(self, network: GraphNetwork) -> float:
        """Return |W - Z| over |W|, and note it of each layer."""
        apart = whole = 0.0
        for pull in self._pulls.values():
            weight = network.tensor(pull.tensor).detach().double()
            size, miss = float(weight.norm()), float((weight - pull.target).norm())
            pull.residual = miss / size if size else 0.0
            apart, whole = apart + miss**2, whole + size**2
        return float((apart / whole) ** 0.5) if whole else 0.0

    @torch.no_grad()
    def _project(self, network: GraphNetwork) -> None:
        for pull in self._pulls.values():
            weight = network.tensor(pull.tensor)
            blocks = project(as_blocks(weight, self.config.block), pull.kinds)
            weight.copy_(with_blocks(weight, blocks, self.config.block))


class OneMagnitude(Hook):
    """Trains each unified block as one number, by the sum of its weights' gradients times their signs.

    A block is unified where its magnitudes are equal bit by bit when training begins. Its weights stay equal
    in magnitude to the last bit, under any optimiser that treats each number alike, and their signs stay; if
    the number passes through zero they all turn at once. Weights that are zero stay zero, all others are
    free.

    Args:
        block: rows and columns.
        layers: whose weights.

    Raises:
        ConfigError: from `attach`: the network is not traced, or lacks a layer.
    """

    def __init__(self, block: tuple[int, int], layers: Sequence[str]) -> None:
        self.block = block
        self.layers = layers
        self._signs: dict[str, Tensor] = {}  # (blocks, size); 0 in blocks that are not unified
        self._kept: dict[str, Tensor] = {}

    def attach(self, network: nn.Module) -> None:
        """Note which blocks are unified, their signs, and which weights are zero."""
        traced = need_traced(network, "OneMagnitude")
        self._signs, self._kept = {}, {}
        for node in weighted(traced, self.layers, NAME):
            weight = traced.tensor(node.weight).detach()
            kinds = torch.from_numpy(packing(self.block).kinds(weight.numpy()))
            found = torch.where((kinds == UNIFIED)[:, None], signs(as_blocks(weight, self.block)), 0.0)
            self._signs[node.weight], self._kept[node.weight] = found, weight != 0

    def after_backward(self, step: Step) -> None:
        """Give each unified block the gradient of its number."""
        network = need_traced(step.network, "OneMagnitude")
        for tensor, sign in self._signs.items():
            grad = network.tensor(tensor).grad
            if grad is not None:
                blocks = as_blocks(grad, self.block)
                whole = (blocks * sign).sum(dim=1, keepdim=True)
                grad.copy_(with_blocks(grad, torch.where(sign == 0, blocks, sign * whole), self.block))

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Write each block's number to its weights anew, whatever other hooks did, and zeros too."""
        network = need_traced(step.network, "OneMagnitude")
        for tensor, sign in self._signs.items():
            weight = network.tensor(tensor)
            blocks = as_blocks(weight, self.block)
            tied = torch.where(sign == 0, blocks, sign * (sign * blocks)[:, :1])
            weight.copy_(torch.where(self._kept[tensor], with_blocks(weight, tied, self.block), 0.0))


def packing(block: tuple[int, int]) -> UnifiedFormat:
    """Return the packed form of such blocks."""
    form = FORMATS[BY_SHAPE[block]]
    assert isinstance(form, UnifiedFormat)
    return form


def facts(weight: Tensor, block: tuple[int, int]) -> dict[str, int]:
    """Return what a `Change` tells of a weight: its numbers, its blocks by kind, and its bytes packed."""
    form, array = packing(block), weight.numpy()
    kinds = form.kinds(array)
    return counts(weight) | {
        "unified_blocks": int((kinds == UNIFIED).sum()),
        "pruned_blocks": int((kinds == PRUNED).sum()),
        "packed_bytes": form.byte_count(array),
    }


def unifiable(
    network: GraphNetwork, block: tuple[int, int], layers: Sequence[str] | None = None
) -> tuple[list[Node], list[Refused]]:
    """Return the nodes of layers that can be cut into such blocks, and the others with the reason.

    Raises:
        ConfigError: a layer does not exist.
    """
    every = network.program.weighted_layers()
    nodes, refused = [], []
    for node in weighted(network, every if layers is None else layers, NAME):
        is_end = layers is None and node.layer in (every[0], every[-1])
        reason = ENDS if is_end else _obstacle(network, node, block)
        if reason:
            refused.append(Refused(layer=node.layer, method=NAME, reason=reason))
        else:
            nodes.append(node)
    return nodes, refused


def _obstacle(network: GraphNetwork, node: Node, block: tuple[int, int]) -> str | None:
    """Why a weight is not cut into such blocks."""
    weight = network.tensor(node.weight)
    rows = len(weight) // node.groups
    if is_depthwise(network, node):
        return DEPTHWISE
    if not weight.requires_grad:
        return FROZEN
    if node.groups > 1 and rows % block[0]:
        return f"a block of {block[0]} rows would reach over its groups of {rows} output channels"
    if rows < block[0] or weight[0].numel() < block[1]:
        return f"it is smaller than one block of {block[0]} x {block[1]}"
    return None
