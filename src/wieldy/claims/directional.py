"""Directional pruning moves along the flat directions of the loss, so that groups die and the loss stays.

Source: the abstract of "Structured Directional Pruning via Perturbation Orthogonal Projection" (arXiv
2107.05328) and Chao et al., "Directional Pruning of Deep Neural Networks", NeurIPS 2020; what is measured
follows from the formulas in methods/prune/directional.py.

First on linear regression with more unknowns (200, in groups of five) than equations (60), in float64: there
the flat directions are known, and so is what the displacement has to be. Group lasso has the least penalty of
a grid by which at least as many groups are zero after as many steps; the lower of its losses there and at the
minimum counts. (At its minimum about a quarter of these groups are zero however small the penalty is, so none
gives exactly one in ten.)

Then on LeNet-300-100, trained on from one start with and without the method. How far the loss rises on a
curve that joins the two is measured on 2,000 pictures, which the network fits: there is a flat valley then.
How much of what parts them lies in the ten steepest directions is measured on all 8,000, where the loss stays
away from zero. In networks that fit their pictures these directions hold about what chance would give of
either displacement, ours or magnitude's: over nine such settings and three seeds the ratio of the two lay
between 0.15 and 3.1, so nothing is claimed there. The settings were chosen on the seeds 0 to 2, and are
measured on others.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wieldy.claims import subjects
from wieldy.claims.landscape import flat, rise, share_within, steepest_directions
from wieldy.claims.subjects import claiming
from wieldy.core import rng
from wieldy.core.data import Data, Split
from wieldy.core.progress import Progress
from wieldy.core.records import Claim
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import Hook
from wieldy.methods.prune.directional import (
    Directional,
    DirectionalConfig,
    bundles,
    levels,
    next_threshold,
    shrinkage,
)
from wieldy.train.fit import FitConfig, fit
from wieldy.zoo.networks.lenet import Lenet300

SEEDS = (3, 4, 5)
EQUATIONS, UNKNOWNS, GROUP = 60, 200, 5
STEPS = 8_000
SMALL = 1e-3  # the c by which thresholds stay far below the groups' sizes
POWERS = (0.51, 0.7)
SHARE = 0.1  # of groups, on the regression
PENALTIES = torch.logspace(-5, 0, 81, dtype=torch.float64)
FEW = 2000  # pictures that the network fits
TRAINING = FitConfig(epochs=60, batch_size=64, learning_rate=0.2, momentum=0.0, weight_decay=0.0)
FILTERS = DirectionalConfig(sparsity=0.5, reach=0.2)
LONGER = TRAINING.model_copy(update={"epochs": 30, "batch_size": 128})  # on all pictures
STEEPEST = 10
NOT_FAR = (
    "magnitude's own share is no more than about twice what chance would give; there is little to be below"
)
SOURCE = "arXiv 2107.05328, abstract; methods/prune/directional.py"
claim = claiming("directional", SOURCE)


@dataclass(frozen=True)
class Regression:
    """Half the mean square of `inputs @ w - outputs`, the weights to begin with, and the rate."""

    inputs: Tensor
    outputs: Tensor
    start: Tensor
    rate: float

    def gradient(self, weights: Tensor) -> Tensor:
        """Return the gradient at (..., unknowns)."""
        return (weights @ self.inputs.T - self.outputs) @ self.inputs / len(self.outputs)

    def loss(self, weights: Tensor) -> float:
        """Return the loss at (unknowns,)."""
        return float((self.inputs @ weights - self.outputs).square().mean() / 2)


Solve = Callable[[Regression, DirectionalConfig, Sequence[int]], list[tuple[Tensor, float]]]
Make = Callable[[DirectionalConfig], Hook]


def measure(
    quick: bool, progress: Progress, solve: Solve | None = None, make: Make = Directional
) -> list[Claim]:
    """Return the claims of the worst seed; `solve` and `make` are the mechanism on either problem."""
    seeds = SEEDS[:1] if quick else SEEDS
    with progress.task("directional pruning", 2 * len(seeds)) as task:
        found = []
        for seed in seeds:
            found.append(on_regression(seed, solve or dual_averaging))
            task.advance(1, f"regression, seed {seed}")
        nets = []
        for seed in seeds:
            nets.append(on_curve(seed, make) + in_curvature(seed, make, far=not quick))
            task.advance(1, f"network, seed {seed}")
    return [
        worst([claims[index] for claims in some]) for some in (found, nets) for index in range(len(some[0]))
    ]


def worst(claims: Sequence[Claim]) -> Claim:
    """Return the claim of the seed that comes off worst."""
    pick = max if claims[0].relation in ("<", "<=") else min
    return pick(claims, key=lambda claim: claim.measured)


def regression(seed: int) -> Regression:
    """Return a problem drawn from a seed, with half the rate at which steps would overshoot."""
    draw = torch.Generator().manual_seed(rng.derive(seed, "claims", "directional"))
    inputs = torch.randn(EQUATIONS, UNKNOWNS, generator=draw, dtype=torch.float64)
    truth, start = torch.randn(2, UNKNOWNS, generator=draw, dtype=torch.float64)
    steepest = float(torch.linalg.matrix_norm(inputs, 2)) ** 2 / EQUATIONS
    return Regression(inputs, inputs @ truth, start, 0.5 / steepest)


def in_groups(weights: Tensor) -> Tensor:
    """View (..., unknowns) as (..., groups, 5)."""
    return weights.reshape(*weights.shape[:-1], -1, GROUP)


def shrunk(weights: Tensor, level: Tensor, threshold: float) -> Tensor:
    """Return (unknowns,) with each group times what its level and the threshold make of it."""
    return (in_groups(weights) * shrinkage(level, threshold)[:, None]).reshape(-1)


def zero_groups(weights: Tensor) -> Tensor:
    """Return how many groups of (..., unknowns) are zero."""
    return (in_groups(weights) == 0).all(-1).sum(-1)


def dual_averaging(
    problem: Regression, config: DirectionalConfig, marks: Sequence[int]
) -> list[tuple[Tensor, float]]:
    """Return the weights and the threshold after each of `marks` steps, by the steps that the hook takes."""
    total, weights, threshold = problem.start.clone(), problem.start, 0.0
    sizes = torch.full((UNKNOWNS // GROUP,), float(GROUP), dtype=torch.float64)
    goal, last = round(config.sparsity * len(sizes)), round(config.reach * marks[-1])
    found = []
    for step in range(1, marks[-1] + 1):
        total = total - problem.rate * problem.gradient(weights)
        level = levels(in_groups(total).norm(dim=1), sizes)
        threshold = next_threshold(
            threshold, level, goal, config, rate=problem.rate, step=step, last=last
        )  # fmt: skip
        weights = shrunk(total, level, threshold)
        if step in marks:
            found.append((weights, threshold))
    return found


def descent(problem: Regression, marks: Sequence[int]) -> list[Tensor]:
    """Return the weights after each of `marks` steps of gradient descent alone."""
    weights, found = problem.start, []
    for step in range(1, marks[-1] + 1):
        weights = weights - problem.rate * problem.gradient(weights)
        if step in marks:
            found.append(weights)
    return found


def group_lasso(problem: Regression, penalties: Tensor, marks: Sequence[int]) -> list[Tensor]:
    """Return (penalties, unknowns) after each of `marks` proximal steps, of all penalties side by side."""
    weights, found = problem.start.expand(len(penalties), -1), []
    for step in range(1, marks[-1] + 1):
        weights = _proximal(problem, weights, penalties)
        if step in marks:
            found.append(weights)
    return found


def lasso_minimum(problem: Regression, penalty: float, tolerance: float = 1e-12) -> Tensor:
    """Return where the group lasso has its minimum: accelerated proximal steps, begun anew when they turn."""
    penalties = torch.tensor([penalty], dtype=torch.float64)
    weights = ahead = problem.start[None]
    momentum = 1.0
    for _ in range(200_000):
        new = _proximal(problem, ahead, penalties)
        if float(((ahead - new) * (new - weights)).sum()) > 0:
            momentum, ahead = 1.0, weights
            continue
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - weights)
        moved, weights, momentum = float((new - weights).norm()), new, following
        if moved <= tolerance:
            break
    return weights[0]


def _proximal(problem: Regression, weights: Tensor, penalties: Tensor) -> Tensor:
    stepped = in_groups(weights - problem.rate * problem.gradient(weights))
    norms = torch.linalg.vector_norm(stepped, dim=-1, keepdim=True).clamp(min=1e-300)
    least = (problem.rate * math.sqrt(GROUP) * penalties)[:, None, None]
    shrunken: Tensor = stepped * (1 - least / norms).clamp(min=0)
    return shrunken.reshape(weights.shape)


def on_regression(seed: int, solve: Solve) -> list[Claim]:
    """Return what holds of one regression."""
    problem = regression(seed)
    marks = (STEPS // 8, STEPS)
    plain = descent(problem, marks)
    claims = []
    for mu in POWERS:
        found = solve(problem, DirectionalConfig(sparsity=0.9, mu=mu, c=SMALL), marks)
        cosine, error = against_projection(problem, plain[-1], *found[-1])
        excess = [problem.loss(w) - problem.loss(s) for (w, _), s in zip(found, plain, strict=True)]
        wanted = 2 * (mu - 1)
        claims += [
            claim(f"cosine of displacement and -P0 u, mu {mu}", cosine, ">=", 0.999),
            claim(f"norm of displacement against t P0 u, relative error, mu {mu}", error, "<=", 0.1),
            claim(f"exponent of the excess loss over 2 (mu - 1), less 1, mu {mu}",
                  abs(exponent(excess) / wanted - 1), "<=", 0.1),
        ]  # fmt: skip
    fixed = group_lasso(problem, PENALTIES[PENALTIES >= 0.01][:1], marks)
    plateau = exponent([problem.loss(weights[0]) for weights in fixed])
    claims.append(claim("exponent of the loss with a fixed penalty", plateau, ">=", -0.1))
    return claims + at_equal_zeros(problem, plain[-1], solve)


def against_projection(
    problem: Regression, plain: Tensor, weights: Tensor, threshold: float
) -> tuple[float, float]:
    """Return the cosine of displacement and -P0 u, and the relative error of the displacement's length."""
    rows = torch.linalg.svd(problem.inputs, full_matrices=False).Vh
    parts = in_groups(plain)
    pull = (math.sqrt(GROUP) * parts / parts.norm(dim=1, keepdim=True)).reshape(-1)
    wanted = -threshold * (pull - rows.T @ (rows @ pull))
    moved = weights - plain
    length = float(moved.norm() * wanted.norm())
    if length == 0:
        return 0.0, 1.0
    return float(moved @ wanted) / length, abs(float(moved.norm() / wanted.norm()) - 1)


def exponent(losses: Sequence[float]) -> float:
    """Return by which power of time a loss goes, from two values eight times apart.

    Example:
        >>> exponent([8.0, 1.0])
        -1.0
    """
    first, last = (max(loss, 1e-300) for loss in losses)
    return math.log(last / first) / math.log(8)


def at_equal_zeros(problem: Regression, plain: Tensor, solve: Solve) -> list[Claim]:
    """Return our loss over those of group lasso and of magnitude, at as many zero groups."""
    ((weights, _),) = solve(problem, DirectionalConfig(sparsity=SHARE), (STEPS,))
    ours, zero = problem.loss(weights), int(zero_groups(weights))
    lassos = group_lasso(problem, PENALTIES, (STEPS,))[0]
    least = int((zero_groups(lassos) >= zero).int().argmax())
    at_minimum = problem.loss(lasso_minimum(problem, float(PENALTIES[least])))
    lasso = min(problem.loss(lassos[least]), at_minimum)
    magnitude = problem.loss(cut_groups(plain, zero))
    wanted = round(SHARE * UNKNOWNS / GROUP)
    return [
        claim(f"groups that are zero, of {UNKNOWNS // GROUP}", float(zero), ">=", float(wanted)),
        claim("training loss over group lasso's at as many zero groups", ours / lasso, "<=", 0.1),
        claim("training loss over magnitude's at as many zero groups", ours / magnitude, "<=", 0.01),
    ]


def cut_groups(weights: Tensor, count: int) -> Tensor:
    """Return the weights without the `count` groups of the least norm."""
    parts = in_groups(weights).clone()
    parts[parts.norm(dim=1).argsort()[:count]] = 0
    return parts.reshape(-1)


def trained_on(
    seed: int, make: Make, data: Data, training: FitConfig
) -> tuple[GraphNetwork, GraphNetwork, GraphNetwork]:
    """Return a network trained on with SGD alone, with the method, and with SGD and then cut by magnitude."""
    start = subjects.trained(Lenet300, seed)
    training = training.model_copy(update={"seed": seed})
    plain = fit(start, data, config=training)
    return plain, fit(start, data, make(FILTERS), config=training), cut_filters(plain, FILTERS.sparsity)


def on_curve(seed: int, make: Make) -> list[Claim]:
    """Return how far the loss rises on the way from SGD to the pruned network."""
    whole = subjects.pictures()
    train = first(whole.train, FEW)
    data = Data(train, first(whole.validate, FEW), first(whole.test, FEW))
    plain, pruned, cut = trained_on(seed, make, data, TRAINING)
    x, y = (torch.from_numpy(array) for array in train)
    risen, risen_by_cut = (rise(plain, end, x, y, seed) for end in (pruned, cut))
    more = float(zero_filters(pruned) - zero_filters(cut))
    return [
        claim("filters that are zero, less those wanted", more, ">=", 0.0),
        claim("rise of the training loss on a curve from SGD to pruned", risen, "<=", 0.05),
        claim("that rise over the one to SGD cut by magnitude", risen / risen_by_cut, "<=", 0.1),
    ]


def in_curvature(seed: int, make: Make, *, far: bool = True) -> list[Claim]:
    """Return how much of the displacement lies in the steepest directions, against magnitude's.

    Args:
        far: whether it is also asked to be five times less, which one seed alone may or may not show.
    """
    data = subjects.pictures()
    plain, pruned, cut = trained_on(seed, make, data, LONGER)
    x, y = (torch.from_numpy(array) for array in first(data.train, data.train.size))
    begin, steepest = flat(plain), steepest_directions(plain, x, y, STEEPEST, seed)
    ours, magnitude = (share_within(flat(end) - begin, steepest) for end in (pruned, cut))
    what = "share of the displacement in the ten steepest directions, over magnitude's"
    claims = [claim(what, ours / magnitude, "<", 1.0)]
    if far:
        what = f"{what}: five times less"
        claims.append(claim(what, ours / magnitude, "<=", 0.2, expected="refuted", reason=NOT_FAR))
    return claims


def first(split: Split, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the first pictures and labels of a split."""
    x, y = next(iter(split.batches(min(count, split.size))))
    return np.asarray(x), np.asarray(y)


def cut_filters(network: GraphNetwork, share: float) -> GraphNetwork:
    """Return a copy without the filters of the least norm, in the groups that the method has."""
    small = copy.deepcopy(network)
    for bundle in bundles(small, "filters", None)[0]:
        weights = {member.tensor: small.tensor(member.tensor).detach() for member in bundle.members}
        level = levels(bundle.norms(weights), bundle.sizes(weights))
        stays = (level > level.kthvalue(round(share * bundle.count)).values).float()
        for member in bundle.members:
            weights[member.tensor].copy_(member.scaled(weights[member.tensor], stays))
    return small


def zero_filters(network: GraphNetwork) -> int:
    """Return how many filters are zero."""
    layers = [network.tensor(f"{layer}.weight") for layer in ("fc1", "fc2")]
    return sum(int((weight == 0).all(1).sum()) for weight in layers)
