"""Weights of a layer at zero and the others moved so that its outputs change least: the algebra.

With W (rows, d), and H = E[x x^T] of what the layer reads, a change of W costs tr((W' - W) H (W' - W)^T) / 2:
half the mean square by which its outputs move. Sources are named in prune/lobs.py, which decides what goes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wieldy.core.errors import DataError
from wieldy.stats.moments import SecondMoment

WORKSPACE_BYTES = 256 * 2**20  # for the inverses of the rows that are worked on at once
LATE = 32  # rank-one changes that are made together: a product that is bound by arithmetic, not by memory
TOLERANCE, CG_STEPS = 1e-3, 100  # of conjugate gradients: relative residual, and most steps
Order = NDArray[np.intp]  # (row blocks, removals): columns in the order in which they go
Losses = NDArray[np.float64]  # (row blocks, removals): what each of them costs


@dataclass(frozen=True)
class Problem:
    """One layer: its rows and the damped H of the inputs that are not always zero.

    Attributes:
        weight: (rows, d) float64, the bias in the last column where there is one.
        matrix: (alive, alive) float64, damped.
        alive: (alive,) columns of `weight`, ascending; the bias is one of them.
        inputs: how many columns are weights; the bias stays.
        damping: what was added to the diagonal.
    """

    weight: Tensor
    matrix: Tensor
    alive: Tensor
    inputs: int
    damping: float

    @property
    def dead(self) -> Tensor:
        """The inputs that are always zero, ascending; the bias, which reads a 1, is none of them."""
        dead = torch.ones(self.weight.shape[1], dtype=torch.bool)
        dead[self.alive] = False
        return dead.nonzero()[:, 0]

    @property
    def gflop(self) -> float:
        """What one row block costs in exact mode: a rank-one change of a shrinking matrix for each weight."""
        return 2 / 3 * len(self.alive) ** 3 / 1e9

    def error(self, weight: Tensor) -> float:
        """Return E of a new weight on the damped H; its dead columns do not matter."""
        moved = (weight - self.weight)[:, self.alive]
        return float((moved @ self.matrix * moved).sum() / 2)

    def energy(self) -> float:
        """Return half the mean square of the layer's outputs, summed over rows."""
        kept = self.weight[:, self.alive]
        return float((kept @ self.matrix * kept).sum() / 2)


def problem(
    weight: NDArray[np.float64], bias: NDArray[np.float64] | None, moment: SecondMoment, damping: float
) -> Problem:
    """Set up a layer: append the bias, leave out dead inputs, damp until H is positive definite.

    Args:
        weight: (rows, inputs).
        bias: (rows,) or None.
        moment: of the layer's inputs.
        damping: times the mean diagonal.

    Raises:
        DataError: the moment is NaN or infinite, or zero throughout.
    """
    second, mean = moment.mean, moment.first
    rows = np.asarray(weight, np.float64)
    if bias is not None:
        second = np.block([[second, mean[:, None]], [mean[None], np.ones((1, 1))]])
        rows = np.concatenate([rows, bias[:, None]], axis=1)
    alive = np.flatnonzero(np.diag(second) > 0)
    if not np.isfinite(second).all() or not len(alive):
        raise DataError("lobs: second moments must be finite and not all zero. Check the calibration data.")
    matrix, added = damped(torch.from_numpy(second[np.ix_(alive, alive)]), damping)
    return Problem(torch.from_numpy(rows), matrix, torch.from_numpy(alive), weight.shape[1], added)


def damped(matrix: Tensor, damping: float) -> tuple[Tensor, float]:
    """Return `matrix` with damping * mean(diagonal) added to the diagonal, and how much that was.

    Ten times as much, as often as it takes, where the sum is not positive definite.

    Example:
        >>> damped(torch.eye(2, dtype=torch.float64), 0.5)[1]
        0.5
    """
    mean = float(matrix.diagonal().mean())
    added = damping * mean
    while True:
        found = matrix + added * torch.eye(len(matrix), dtype=matrix.dtype)
        if int(torch.linalg.cholesky_ex(found).info) == 0:
            return found, added
        added = max(10 * added, 1e-12 * mean)


def in_blocks(rows: Tensor, block: int) -> Tensor:
    """View (rows, d) as (row blocks, block, d); a last block that is not full has rows of zeros."""
    missing = -len(rows) % block
    padded = torch.cat([rows, rows.new_zeros(missing, rows.shape[1])])
    return padded.reshape(-1, block, rows.shape[1])


def set_losses(rows: Tensor, inverse: Tensor, sets: Tensor) -> Tensor:
    """Return what each set of columns costs that goes at once: w_S [(H^-1)_SS]^-1 w_S^T / 2.

    The least error with w_S at zero and all others moved; of one column it is w^2 / (2 [H^-1]_qq).

    Args:
        rows: (row blocks, block, columns) float64; the losses of a block's rows are added.
        inverse: (columns, columns).
        sets: (sets, most) columns of each; -1 fills up those that have fewer.

    Returns:
        (row blocks, sets).

    Example:
        >>> inverse = torch.eye(3, dtype=torch.float64)
        >>> rows = torch.tensor([[[1.0, 2.0, 4.0]]], dtype=torch.float64)
        >>> set_losses(rows, inverse, torch.tensor([[0, 1], [2, -1]])).tolist()
        [[2.5, 8.0]]
    """
    inside, held = sets >= 0, sets.clamp(min=0)
    both = inside[:, :, None] & inside[:, None, :]
    alone = torch.eye(sets.shape[1], dtype=inverse.dtype)
    square = torch.where(both, inverse[held[:, :, None], held[:, None, :]], alone)
    weights = rows[:, :, held] * inside
    return torch.einsum("brsi,sij,brsj->bs", weights, torch.linalg.inv(square), weights) / 2


def members(of_set: Tensor) -> Tensor:
    """Return (sets, most) columns of each set, ascending, filled up with -1.

    Args:
        of_set: (columns,) the set that each is of; sets are numbered from 0 without a gap.

    Example:
        >>> members(torch.tensor([0, 1, 0])).tolist()
        [[0, 2], [1, -1]]
    """
    order = of_set.argsort(stable=True)
    sizes = torch.bincount(of_set)
    found = torch.full((len(sizes), int(sizes.max())), -1)
    found[torch.arange(found.shape[1]) < sizes[:, None]] = order
    return found


def refit(layer: Problem, kept: Tensor, block: int = 1) -> Tensor:
    """Return the rows with zeros outside `kept` that have the least E, by one solve for each block of rows.

    Args:
        layer: the problem.
        kept: (row blocks, d) bool.
        block: rows that share a pattern.

    Cost: kept^3 / 3 for each block of rows.
    """
    rows = in_blocks(layer.weight, block)
    found = torch.zeros_like(rows)
    places = torch.full((layer.weight.shape[1],), -1, dtype=torch.int64)
    places[layer.alive] = torch.arange(len(layer.alive))
    for index, mask in enumerate(kept):
        stays = mask & (places >= 0)
        inside = places[stays]
        wanted = layer.matrix[inside] @ rows[index][:, layer.alive].T
        factor = torch.linalg.cholesky(layer.matrix[inside][:, inside])
        found[index][:, stays] = torch.cholesky_solve(wanted, factor).T
        silent = mask & (places < 0)  # inputs that are always zero: what they are multiplied by stays
        found[index][:, silent] = rows[index][:, silent]
    return found.reshape(-1, rows.shape[2])[: len(layer.weight)]


def removal_order(layer: Problem, block: int, of_each: tuple[int, int] | None = None) -> tuple[Order, Losses]:
    """Return in which order the columns of each block of rows go, and what each costs, exactly.

    Args:
        layer: the problem.
        block: rows that share a pattern.
        of_each: (n, m) where n of m inputs in a row stay; then no more go.

    Returns:
        (row blocks, removals) columns and losses; dead inputs come first and cost nothing.

    Cost: 2/3 alive^3 for each block of rows, and the memory of one matrix for each of some of them.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(layer.matrix))
    rows = in_blocks(layer.weight, block)
    dead = layer.dead.numpy()
    at_once = max(1, WORKSPACE_BYTES // (8 * len(inverse) ** 2))
    parts = [Elimination(layer, rows[start : start + at_once], inverse, of_each).run()
             for start in range(0, len(rows), at_once)]  # fmt: skip
    orders, losses = (np.concatenate(found) for found in zip(*parts, strict=True))
    free = np.broadcast_to(dead, (len(rows), len(dead)))
    return np.concatenate([free, orders], 1), np.concatenate([np.zeros(free.shape), losses], 1)


class Elimination:
    """Removes columns one by one from some blocks of rows, each with an inverse of its own.

    After the removal of q, H^-1 of what is left is H^-1 - u u^T with u = H^-1[:, q] / sqrt([H^-1]_qq). The
    rank-one changes are put off and made many at a time; what is gone is cut out now and then.
    """

    def __init__(
        self, layer: Problem, rows: Tensor, inverse: Tensor, of_each: tuple[int, int] | None
    ) -> None:
        count, width = len(rows), len(inverse)
        self.rows = rows[:, :, layer.alive].clone()  # (n, block, width)
        self.inverse = inverse.expand(count, width, width).clone()
        self.diagonal = self.inverse.diagonal(dim1=1, dim2=2).clone()
        self.inputs = layer.inputs
        self.names = layer.alive.expand(count, width).clone()
        self.gone = (self.names >= layer.inputs).clone()  # the bias stays
        self.late = self.rows.new_zeros(count, LATE, width)
        self.waiting = 0
        self.each = torch.arange(count)
        self.quota: Tensor | None = None
        self.removals = int((~self.gone[0]).sum())
        if of_each is not None:
            self._set_quota(layer, of_each)

    def _set_quota(self, layer: Problem, of_each: tuple[int, int]) -> None:
        """Note how many of each m inputs may still go; dead ones are gone already."""
        stays, size = of_each
        self.size = size
        widths = torch.bincount(torch.arange(layer.inputs) // size)  # the last set may be smaller
        quota = widths.clamp(max=size - stays)
        quota -= torch.bincount(layer.dead // size, minlength=len(quota))
        left = quota.clamp(min=0)
        self.removals = int(left.sum())
        self.quota = left.expand(len(self.rows), -1).clone()

    def run(self) -> tuple[Order, Losses]:
        """Return (n, removals) columns and losses."""
        order = np.zeros((len(self.rows), self.removals), np.intp)
        losses = np.zeros(order.shape)
        for step in range(self.removals):
            if self.waiting == LATE or 4 * step % self.removals == 0:
                self._catch_up()
            scores = self.rows.square().sum(1) / self.diagonal
            loss, place = scores.masked_fill(self._barred(), torch.inf).min(dim=1)
            losses[:, step] = loss / 2
            order[:, step] = self.names[self.each, place]
            self._remove(place)
        return order, losses

    def _barred(self) -> Tensor:
        if self.quota is None:
            return self.gone
        full = self.quota == 0
        sets = (self.names // self.size).clamp(max=full.shape[1] - 1)
        return self.gone | full.gather(1, sets)

    def _remove(self, place: Tensor) -> None:
        late = self.late[:, : self.waiting]
        shares = late[self.each, :, place]
        column = self.inverse[self.each, place] - torch.bmm(shares[:, None], late)[:, 0]
        pivot = self.diagonal[self.each, place]
        moves = self.rows[self.each, :, place] / pivot[:, None]
        self.rows -= moves[:, :, None] * column[:, None]
        change = column / pivot.sqrt()[:, None]
        self.diagonal -= change.square()
        self.late[:, self.waiting] = change
        self.waiting += 1
        self.gone[self.each, place] = True
        if self.quota is not None:
            sets = self.names[self.each, place] // self.size
            self.quota[self.each, sets] -= 1

    def _catch_up(self) -> None:
        """Make the changes that wait, and cut out what is gone."""
        late = self.late[:, : self.waiting]
        self.inverse.baddbmm_(late.transpose(1, 2), late, alpha=-1)
        self.waiting = 0
        stays = self._stays()
        if stays.shape[1] > 7 / 8 * self.gone.shape[1]:
            return
        rows = stays[:, :, None].expand(-1, -1, self.inverse.shape[2])
        across = stays[:, None].expand(-1, stays.shape[1], -1)
        self.inverse = self.inverse.gather(1, rows).gather(2, across)
        self.rows = self.rows.gather(2, stays[:, None].expand(-1, self.rows.shape[1], -1))
        self.diagonal, self.names, self.gone = (
            held.gather(1, stays) for held in (self.diagonal, self.names, self.gone)
        )
        self.late = self.late[:, :, : stays.shape[1]].clone()

    def _stays(self) -> Tensor:
        """Return (n, left) places of what is left: as many in every row."""
        removed = self.gone & (self.names < self.inputs)
        left = removed.shape[1] - int(removed[0].sum())
        return removed.to(torch.int8).argsort(dim=1, stable=True)[:, :left]


def adjusted(layer: Problem, rows: Tensor, kept: Tensor) -> Tensor:
    """Return rows of least E with zeros where `kept` is 0, by conjugate gradients for all of them at once.

    Args:
        layer: the problem.
        rows: (rows, alive) to begin with.
        kept: (rows, alive), 1 or 0.
    """
    wanted = layer.weight[:, layer.alive] @ layer.matrix
    scale = 1 / layer.matrix.diagonal()
    least = (TOLERANCE * torch.linalg.vector_norm(wanted * kept, dim=1)).clamp(min=1e-300)
    residual = (wanted - rows @ layer.matrix) * kept
    direction = residual * scale
    dot = (residual * direction).sum(1)
    for _ in range(CG_STEPS):
        if bool((torch.linalg.vector_norm(residual, dim=1) <= least).all()):
            break
        ahead = direction @ layer.matrix
        length = dot / (direction * ahead).sum(1).clamp(min=1e-300)
        rows = rows + length[:, None] * direction
        residual = residual - length[:, None] * ahead * kept
        before, dot = dot, (residual.square() * scale).sum(1)
        direction = residual * scale + (dot / before.clamp(min=1e-300))[:, None] * direction
    return rows
