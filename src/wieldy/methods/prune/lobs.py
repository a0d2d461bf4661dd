"""Weights go one by one, and those that stay make up for them: optimal brain surgery, layer by layer.

Source: Dong, Chen, Pan, "Learning to Prune Deep Neural Networks via Layer-wise Optimal Brain Surgeon", NIPS
2017 (arXiv 1705.07565): the error of a layer, its Hessian, the order of pruning, and theorem 3.2, the bound
on the network. With W (rows, d) and the second moment H = E[x x^T] of what the layer reads, a 1 appended to
x where it has a bias,

    E(W') = tr((W' - W) H (W' - W)^T) / 2,
    loss of weight q of row w:  L_q = w_q^2 / (2 [H^-1]_qq),
    the others then move by     -w_q / [H^-1]_qq * H^-1[:, q].

`paper` ranks the weights of a layer once, by the first H^-1, and deletes in that order. `exact` ranks anew
after every deletion, with H^-1 of what is left, for every row its own (Hassibi and Stork 1993; row by row as
Frantar and Alistarh 2022 do it); the rows' losses, made monotone by a running maximum, are merged to say how
many weights each row loses. After n deletions the row is the minimum
of E over rows with those zeros, whichever way it went there, so it is found by one solve. `stepwise` ranks by
one shared H^-1 in a few rounds, and after each finds that minimum by conjugate gradients: for layers in which
a matrix for every row is too much work. Rows that share a pattern are one row with a sum of losses. In blocks
of four input channels, stepwise alone, a block S goes at once, at a loss of w_S [(H^-1)_SS]^-1 w_S^T / 2.

Inputs that are always zero cost nothing: their weights go first. H is damped by a share of its mean diagonal,
ten times as much where it is not positive definite; the record holds what was added.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.formats.level_blocks import INPUTS
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Node
from wieldy.methods.contract import MethodConfig
from wieldy.methods.prune.zeros import counts, weighted
from wieldy.methods.surgery import (
    Losses,
    Order,
    Problem,
    adjusted,
    in_blocks,
    members,
    problem,
    refit,
    removal_order,
    set_losses,
)  # fmt: skip
from wieldy.stats.collect import Stats

NAME = "lobs"
LEVEL_ROWS = (1, 4)  # output channels of blocks in eight bits
GROUPED = "the inputs of a grouped convolution have no one second moment"
Mode = Literal["exact", "paper", "stepwise"]


class LobsConfig(MethodConfig):
    """How many weights go, what goes together, and in which order."""

    sparsity: float = Field(default=0.9, ge=0, le=1)  # share of blocks that become zero
    block: Literal[1, 4, 8] = 1  # output channels that share a pattern
    inputs: Literal[1, 4] = 1  # neighbouring input channels that do; 4 is for eight bits, in mode 'stepwise'
    mode: Mode = "exact"
    scope: Literal["layer", "network"] = (
        "layer"  # network: losses over the squares of a layer's outputs compare
    )
    of_each: tuple[int, int] | None = (
        None  # (n, m): of m inputs in a row, n stay; `sparsity` is then 1 - n / m
    )
    damping: float = Field(default=0.01, ge=0)  # times the mean diagonal of H, added to it
    rounds: int = Field(default=8, ge=1)  # of stepwise
    exact_gflop: float = Field(default=2000.0, gt=0)  # a layer that asks for more in exact mode goes stepwise

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.of_each is not None:
            stays, size = self.of_each
            if not 0 <= stays < size:
                raise ValueError(f"of_each: must be (n, m) with 0 <= n < m; got {self.of_each}")
            if self.mode != "exact" or self.scope != "layer":
                raise ValueError("of_each: needs mode 'exact' and scope 'layer'")
        if self.inputs == INPUTS and (self.mode != "stepwise" or self.block not in LEVEL_ROWS):
            raise ValueError("inputs: 4 needs mode 'stepwise', and a block of 1 or 4")
        if self.scope == "network" and self.mode != "exact":
            raise ValueError("scope: 'network' merges the exact losses of all layers; use mode 'exact'")
        return self


def by_paper(layer: Problem, sparsity: float, block: int = 1) -> Tensor:
    """Return the rows after one-shot pruning: ranked once, deleted in that order, each time corrected.

    The inverse is never changed, so a correction takes no heed of what went before, and is masked.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(layer.matrix))
    rows = in_blocks(layer.weight, block).clone()
    diagonal = inverse.diagonal()
    inputs = int((layer.alive < layer.inputs).sum())
    inside = rows[:, :, layer.alive]
    losses = (inside.square().sum(1) / (2 * diagonal))[:, :inputs]
    kept = ~_least(losses, layer.inputs, sparsity)
    for index, mask in enumerate(kept):
        gone = (~mask).nonzero()[:, 0]
        now = inside[index]
        zeroed = torch.zeros(len(diagonal), dtype=torch.bool)
        for place in gone[losses[index, gone].argsort(stable=True)]:
            now -= now[:, place, None] / diagonal[place] * inverse[place]
            zeroed[place] = True
            now[:, zeroed] = 0
    rows[:, :, layer.dead] = 0
    rows[:, :, layer.alive] = inside
    return rows.reshape(-1, rows.shape[2])[: len(layer.weight)]


def _least(losses: Tensor, total: int, sparsity: float) -> Tensor:
    """Return which go of the columns, or sets of them, that are alive: as many as `sparsity` says.

    Args:
        losses: (row blocks, alive).
        total: alive and dead; dead ones went first.
        sparsity: share of all that go.
    """
    dead = len(losses) * (total - losses.shape[1])
    goes = torch.zeros(losses.numel(), dtype=torch.bool)
    wanted = round(sparsity * len(losses) * total) - dead
    goes[losses.flatten().argsort(stable=True)[: max(0, wanted)]] = True
    return goes.reshape(losses.shape)


def in_steps(
    layer: Problem, sparsity: float, block: int = 1, rounds: int = 8, of_set: Tensor | None = None
) -> Tensor:
    """Return the rows after a few rounds: ranked by the one inverse, then the kept ones adjusted to least E.

    Round r of R ends at sparsity * (1 - (1 - r / R)^3) zeros.

    Args:
        layer: the problem.
        sparsity: share of the sets that go.
        block: rows that share a pattern.
        rounds: R.
        of_set: (layer.inputs,) the set of columns that goes together; default: each by itself.

    Cost: alive^3 once, and rows * alive^2 for each of some tens of products in a round.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(layer.matrix))
    rows = layer.weight.clone()
    rows[:, layer.dead] = 0
    inputs = int((layer.alive < layer.inputs).sum())
    of_set = torch.arange(layer.inputs) if of_set is None else of_set
    total = int(of_set.max()) + 1
    alive, own = torch.unique(of_set[layer.alive[:inputs]], return_inverse=True)
    sets = members(own)
    now = rows[:, layer.alive]
    gone = torch.zeros(len(in_blocks(now, block)), len(alive), dtype=torch.bool)
    for index in range(rounds):
        share = sparsity * (1 - (1 - (index + 1) / rounds) ** 3)
        losses = set_losses(in_blocks(now, block), inverse, sets)
        gone = _least(losses.masked_fill(gone, 0.0), total, share)
        kept = torch.ones_like(now)
        kept[:, :inputs] = (~gone)[:, own].repeat_interleave(block, dim=0)[: len(now)]
        now = adjusted(layer, now * kept, kept)
    rows[:, layer.alive] = now
    return rows


def allocate(losses: Sequence[Losses], removals: int) -> list[NDArray[np.intp]]:
    """Return how many of each row's losses go, where the least `removals` of all rows do.

    Losses of a row are made monotone first, since a weight cannot go before its predecessors.

    Example:
        >>> [found.tolist() for found in allocate([np.array([[1.0, 5.0], [2.0, 0.5]])], 3)]
        [[1, 2]]
    """
    monotone = [np.maximum.accumulate(loss, axis=1) for loss in losses]
    flat = np.concatenate([loss.ravel() for loss in monotone])
    goes = np.zeros(flat.size, bool)
    goes[np.argsort(flat, kind="stable")[:removals]] = True
    parts = np.split(goes, np.cumsum([loss.size for loss in monotone])[:-1])
    return [part.reshape(loss.shape).sum(axis=1) for part, loss in zip(parts, monotone, strict=True)]


def kept_after(order: Order, removed: NDArray[np.intp], width: int) -> Tensor:
    """Return (row blocks, width) bool: what stays when each row loses the first of its order."""
    kept = torch.ones(len(order), width, dtype=torch.bool)
    for mask, columns, count in zip(kept, order, removed, strict=True):
        mask[torch.from_numpy(columns[:count])] = False
    return kept


def error_bound(errors: Sequence[float], norms: Sequence[float]) -> float:
    """Return a bound on the root of the mean, over examples, of |output' - output|^2 of a chain of layers.

    The sum over layers k of sqrt(error_k) times the product of the norms of the layers after k (theorem 3.2),
    where activations and pools between them lengthen no difference.

    Args:
        errors: of each layer on the original's inputs: the mean over examples of |(W' - W) x|^2.
        norms: of each pruned layer without its bias; see `lipschitz`.

    Example:
        >>> error_bound([4.0, 9.0], [100.0, 0.5])
        4.0
    """
    total, factor = 0.0, 1.0
    for error, norm in zip(reversed(errors), reversed(norms), strict=True):
        total += factor * float(np.sqrt(error))
        factor *= norm
    return total


def lipschitz(node: Node, weight: Tensor, kind: Literal["spectral", "frobenius"] = "spectral") -> float:
    """Return by how much a layer can lengthen a difference of its inputs, all positions together.

    A norm of its matrix; times the root of how many windows of a convolution share an input.
    """
    matrix = weight.detach().double().flatten(1)
    norm = float(torch.linalg.matrix_norm(matrix, 2 if kind == "spectral" else "fro"))
    stride = node.inputs.get("stride")
    if not isinstance(stride, tuple):
        return norm
    windows = [-(-size // int(step)) for size, step in zip(weight.shape[2:], stride, strict=True)]  # type: ignore[call-overload]
    return norm * float(np.sqrt(np.prod(windows)))


def apply(
    network: GraphNetwork, scope: Sequence[str], stats: Stats, config: LobsConfig
) -> Iterator[Change | Refused]:
    """Set weights of the layers in `scope` to zero, in place, move the others, and account for each layer.

    Args:
        network: traced.
        scope: layers by name.
        stats: moments of what they read; see `collect_moments`.
        config: how many, and which.

    Raises:
        ConfigError: `scope` names a layer that has no weights here, a layer's moments are missing, or a layer
            is too large for losses to be compared over the network.
        DataError: weights or moments are NaN or infinite.

    Cost: for each layer as `removal_order`, `by_paper` or `in_steps` say.
    """
    nodes = {}
    for node in weighted(network, scope, NAME):
        if node.groups > 1:
            yield Refused(layer=node.layer, method=NAME, reason=GROUPED)
        else:
            nodes[node.layer] = node
    if config.scope == "network":
        yield from _over_network(network, nodes, stats, config)
        return
    for node in nodes.values():
        layer = _problem(network, node, stats, config)
        taps = network.tensor(node.weight)[0, 0].numel()
        yield _put(network, node, config, layer, _solved(layer, config, taps))


@dataclass(frozen=True)
class Solution:
    """New rows of a layer, what exact mode says they cost, and what there is to know."""

    rows: Tensor
    predicted: float | None = None
    note: str = ""


def blocks_of(inputs: int, taps: int, together: int) -> Tensor:
    """Return, for each column (input channel, tap) of a layer, the block of input channels that it is of.

    Example:
        >>> blocks_of(6, 1, 4).tolist(), blocks_of(2, 2, 4).tolist()
        ([0, 0, 0, 0, 1, 1], [0, 1, 0, 1])
    """
    channel, tap = torch.arange(inputs * taps) // taps, torch.arange(inputs * taps) % taps
    return channel // together * taps + tap


def _solved(layer: Problem, config: LobsConfig, taps: int) -> Solution:
    """Do what the mode says; a layer that is too large for exact mode goes stepwise, and says so."""
    gflop = layer.gflop * -(-len(layer.weight) // config.block)
    if config.mode == "paper":
        return Solution(by_paper(layer, config.sparsity, config.block))
    if config.mode == "exact" and (gflop <= config.exact_gflop or config.of_each):
        order, losses = removal_order(layer, config.block, config.of_each)
        removals = losses.size if config.of_each else round(config.sparsity * len(losses) * layer.inputs)
        return _exactly(layer, config, order, losses, allocate([losses], removals)[0])
    of_set = blocks_of(layer.inputs // taps, taps, config.inputs)
    rows = in_steps(layer, config.sparsity, config.block, config.rounds, of_set)
    note = f"stepwise: exact mode would take {gflop:,.0f} GFLOP" if config.mode == "exact" else ""
    return Solution(rows, note=note)


def _exactly(
    layer: Problem, config: LobsConfig, order: Order, losses: Losses, removed: NDArray[np.intp]
) -> Solution:
    rows = refit(layer, kept_after(order, removed, layer.weight.shape[1]), config.block)
    predicted = sum(float(loss[:count].sum()) for loss, count in zip(losses, removed, strict=True))
    return Solution(rows, predicted)


def _over_network(
    network: GraphNetwork, nodes: dict[str, Node], stats: Stats, config: LobsConfig
) -> Iterator[Change]:
    """Merge the losses of all layers, each over the squares of its outputs."""
    orders, losses, energies, total = [], [], [], 0
    for node in nodes.values():
        layer = _problem(network, node, stats, config)
        blocks = -(-len(layer.weight) // config.block)
        if layer.gflop * blocks > config.exact_gflop:
            raise ConfigError(
                f"lobs: {node.layer}: losses compare over the network in exact mode alone, which takes "
                f"{layer.gflop * blocks:,.0f} GFLOP here; at most {config.exact_gflop:,.0f} are allowed. "
                "Raise exact_gflop, leave the layer out, or use scope: layer."
            )
        order, loss = removal_order(layer, config.block)
        orders.append(order)
        losses.append(loss)
        energies.append(layer.energy())
        total += blocks * layer.inputs
    relative = [loss / energy for loss, energy in zip(losses, energies, strict=True)]
    removed = allocate(relative, round(config.sparsity * total)) if nodes else []
    for node, order, loss, counted in zip(nodes.values(), orders, losses, removed, strict=True):
        layer = _problem(network, node, stats, config)
        yield _put(network, node, config, layer, _exactly(layer, config, order, loss, counted))


def _problem(network: GraphNetwork, node: Node, stats: Stats, config: LobsConfig) -> Problem:
    if node.layer not in stats.moments:
        raise ConfigError(
            f"lobs: the second moment of what {node.layer!r} reads is missing. Collect it with "
            "wieldy.stats.moments.collect_moments, or use wieldy.compress.surgeon.operate."
        )
    found = [network.tensor(name).detach().double().numpy() for name in node.stored()]
    for name, array in zip(node.stored(), found, strict=True):
        if not np.isfinite(array).all():
            raise DataError(f"lobs: {name} holds NaN or infinity. Check the weights.")
    weight = found[0].reshape(len(found[0]), -1)
    bias = found[1] if len(found) > 1 else None
    return problem(weight, bias, stats.moments[node.layer], config.damping)


def _put(network: GraphNetwork, node: Node, config: LobsConfig, layer: Problem, found: Solution) -> Change:
    names = list(node.stored())
    weight = network.tensor(names[0])
    before = counts(weight)
    with torch.no_grad():
        weight.copy_(found.rows[:, : layer.inputs].reshape(weight.shape))
        if len(names) > 1:
            network.tensor(names[1]).copy_(found.rows[:, layer.inputs])
    figures = {"damping": layer.damping, "error": layer.error(found.rows), "outputs": layer.energy()}
    if found.predicted is not None:
        figures["predicted"] = found.predicted
    return Change(
        layer=node.layer, method=NAME, before=before, after=counts(weight), seed=config.seed,
        figures=figures, note=found.note,
    )  # fmt: skip
