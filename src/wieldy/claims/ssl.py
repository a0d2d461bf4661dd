"""Group lasso: optimal where it is convex; what dies in training leaves, and takes its milliseconds along.

Source: Wen et al., "Learning Structured Sparsity in Deep Neural Networks", NIPS 2016. Optimality is that of
group-lasso regression in float64. Equality is measured on random weights, since it must hold for any. What
training makes of it: networks of the kind that the paper trained, on pictures of Fashion-MNIST.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.claims import subjects
from wieldy.claims.subjects import claiming
from wieldy.compress.compact import compact
from wieldy.core import lock
from wieldy.core.data import Data
from wieldy.core.progress import Progress
from wieldy.core.records import Change, Claim
from wieldy.graph.branches import branches
from wieldy.graph.bundles import Bundle, Member
from wieldy.graph.folded import Values
from wieldy.graph.kept import kept, kept_convolution
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Node
from wieldy.graph.structures import SUMMED, by_group
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook
from wieldy.methods.prune.ssl import Ssl, SslConfig, prox
from wieldy.package.save import save
from wieldy.runtime.measure import Subject
from wieldy.runtime.measure import measure as time_files
from wieldy.runtime.timing import time_pairs
from wieldy.train.fit import FitConfig, fit
from wieldy.train.threads import torch_threads
from wieldy.zoo.networks.lenet import Lenet5, Lenet300
from wieldy.zoo.networks.residual import Residual28

Make = Callable[[SslConfig], Hook]
Proximal = Callable[[Mapping[str, Tensor], Sequence[Bundle], float], Values]
Compact = Callable[[GraphNetwork], tuple[GraphNetwork, tuple[object, ...]]]

SOURCE = "Wen et al., NIPS 2016"
claim = claiming("ssl", SOURCE)
SEEDS = (0, 1, 2)
PENALTIES = (0.0, 0.2, 0.3, 0.4)
NOISE = 0.03  # of a ratio of two milliseconds, here
SHAPE = (256, 1152, 784)  # of a product: filters, columns, positions
SHARES = (0.75, 0.5, 0.35)  # of the rows, and of the columns, that are kept


def measure(
    quick: bool, progress: Progress, make: Make = Ssl, step: Proximal = prox, shrink: Compact = compact
) -> list[Claim]:
    """Return what is claimed of the proximal step, of compact networks, and of their milliseconds."""
    seeds = SEEDS[:1] if quick else SEEDS
    with progress.task("group lasso", 5) as task:
        claims = optimality(seeds, step)
        task.advance(1, "optimal where it is convex")
        claims += equality(seeds, shrink)
        task.advance(1, "compact computes as masked")
        claims += products()
        task.advance(1, "products of kept rows and columns")
        claims += depth(seeds, make, shrink)
        task.advance(1, "whole layers")
        claims += trade_off(seeds, partial(subjects.trained, Lenet300 if quick else Lenet5), make, shrink)
        task.advance(1, "penalties")
    return claims


@dataclass(frozen=True)
class Regression:
    """min |X w - y|^2 / 2n + penalty * the sum of group norms of w, groups of five."""

    design: Tensor  # (examples, weights) float64
    target: Tensor
    penalty: float

    @classmethod
    def seeded(cls, seed: int, groups: int = 16, examples: int = 120) -> "Regression":
        """Return one whose target follows from four groups and noise."""
        draw = torch.Generator().manual_seed(seed)
        design = torch.randn(examples, groups * 5, dtype=torch.float64, generator=draw)
        truth = torch.zeros(groups, 5, dtype=torch.float64)
        truth[:4] = torch.randn(4, 5, dtype=torch.float64, generator=draw)
        noise = torch.randn(examples, dtype=torch.float64, generator=draw)
        return cls(design, design @ truth.reshape(-1) + 0.5 * noise, 0.2)

    def gradient(self, weights: Tensor) -> Tensor:
        """Return the gradient of the squares, as (groups, 5)."""
        flat = self.design.T @ (self.design @ weights.reshape(-1) - self.target) / len(self.target)
        return flat.reshape(weights.shape)

    def solve(self, step: Proximal, rounds: int = 3000) -> Tensor:
        """Return (groups, 5) weights after so many proximal gradient steps."""
        count = self.design.shape[1] // 5
        rate = len(self.target) / float(torch.linalg.matrix_norm(self.design, 2)) ** 2
        groups = [Bundle(("w",), (Member("w", "filters", 1, torch.arange(count)),), count)]
        weights = torch.zeros(count, 5, dtype=torch.float64)
        for _ in range(rounds):
            weights = step({"w": weights - rate * self.gradient(weights)}, groups, rate * self.penalty)["w"]
        return weights

    def violations(self, weights: Tensor) -> tuple[float, float]:
        """Return |gradient + penalty w / |w||, worst of living groups; of dead |gradient| / penalty."""
        slope, size = self.gradient(weights), weights.norm(dim=1)
        lives = size > 0
        if bool(lives.all()) or not bool(lives.any()):
            return float("1e9"), float("1e9")
        active = slope[lives] + self.penalty * weights[lives] / size[lives, None]
        return float(active.norm(dim=1).max()), float(slope[~lives].norm(dim=1).max() / self.penalty)


def optimality(seeds: Sequence[int], step: Proximal) -> list[Claim]:
    """The conditions of Karush, Kuhn and Tucker, of the worst seed."""
    problems = [Regression.seeded(seed) for seed in seeds]
    found = [problem.violations(problem.solve(step)) for problem in problems]
    return [
        claim(
            "regression: |gradient + penalty w / |w|| of the worst living group",
            max(a for a, _ in found),
            "<=",
            1e-8,
        ),
        claim(
            "regression: |gradient| / penalty of the worst dead group", max(b for _, b in found), "<=", 1.0
        ),
    ]


class Varied(nn.Module):
    """Three convolutions with norms, of any stride, padding and groups, and a linear layer."""

    def __init__(self, stride: int, padding: int, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride, padding)
        self.norm1 = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, 1, padding, groups=groups, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.third = nn.Conv2d(8, 12, 3, stride, padding)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 3, 19, 19) to (n, 5)."""
        x = F.relu(self.norm1(self.first(x)))
        x = F.relu(self.norm2(self.second(x)))
        return self.fc(F.relu(self.third(x)).mean((2, 3)))  # type: ignore[no-any-return]


def subject(model: nn.Module, side: int, channels: int, seed: int) -> GraphNetwork:
    """Return a traced network whose norms have statistics of their own."""
    draw = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.num_features
            module.running_mean = 0.3 * torch.randn(size, generator=draw)
            module.running_var = 0.5 + torch.rand(size, generator=draw)
            with torch.no_grad():
                module.bias.copy_(0.5 * torch.randn(size, generator=draw))
    return trace(model.eval(), torch.zeros(1, channels, side, side))


def varied(seed: int) -> list[GraphNetwork]:
    """Return networks with random weights: strides, paddings and groups, and residual blocks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings = ((1, 0, 1), (2, 1, 1), (1, 1, 2), (2, 0, 4), (2, 2, 8))
        found = [subject(Varied(*setting), 19, 3, seed) for setting in settings]
        return [*found, subject(Residual28((8, 12, 16)), 28, 1, seed)]


@torch.no_grad()
def mask(network: GraphNetwork, structure: str, seed: int) -> None:
    """Zero two fifths of the structures of every layer but the last; of depth, every third block."""
    draw = torch.Generator().manual_seed(seed)
    if structure == "depth":
        for branch in branches(network.program)[::3]:
            network.tensor(f"{branch.layers[-1]}.weight").zero_()
        return
    for node in nodes_of(network)[:-1]:
        parts = by_group(network.tensor(node.weight).detach(), node.groups)
        shape = [1 if axis in SUMMED[structure] else size for axis, size in enumerate(parts.shape)]
        parts.mul_(torch.rand(shape, generator=draw) >= 0.4)


def nodes_of(network: GraphNetwork) -> list[Node]:
    """Return the nodes with weights that are multiplied."""
    layers = set(network.program.weighted_layers())
    return [node for node in network.program.nodes if node.layer in layers]


@torch.no_grad()
def difference(one: GraphNetwork, other: GraphNetwork, seed: int) -> float:
    """Return max|a - b| / max|b| of the outputs for random inputs."""
    (spec,) = one.program.inputs.values()
    size = [int(side or 0) for side in spec.shape[1:]]
    x = torch.randn(8, *size, generator=torch.Generator().manual_seed(seed))
    a, b = one(x), other(x)
    assert isinstance(a, Tensor)
    assert isinstance(b, Tensor)
    return float((a - b).abs().max() / b.abs().max())


def equality(seeds: Sequence[int], shrink: Compact) -> list[Claim]:
    """How far compact networks are from masked ones, the worst of all networks and seeds."""
    claims = []
    for structure in ("filters", "channels", "depth"):
        worst = 0.0
        for seed in seeds:
            for network in varied(seed)[-1:] if structure == "depth" else varied(seed):
                mask(network, structure, seed)
                small, _ = shrink(network)
                worst = max(worst, difference(small, network, seed))
        claims.append(claim(f"{structure}: compact against masked, relative error", worst, "<=", 1e-5))
    worst = max(of_columns(network, seed) for seed in seeds for network in varied(seed))
    return [
        *claims,
        claim("columns: product of kept rows and columns against masked convolution", worst, "<=", 1e-5),
    ]


def of_columns(network: GraphNetwork, seed: int) -> float:
    """Return the largest relative error of a network's convolutions as products of what is kept."""
    mask(network, "columns", seed)
    draw, worst = torch.Generator().manual_seed(seed), 0.0
    for node in nodes_of(network)[:-1]:
        weight = network.tensor(node.weight).detach()
        x = torch.randn(2, weight.shape[1] * node.groups, 13, 11, generator=draw)
        how = {name: node.inputs[name] for name in ("stride", "padding", "dilation", "groups")}
        wanted = F.conv2d(x, weight, **how)  # type: ignore[arg-type]
        found = kept_convolution(x, weight, **how)  # type: ignore[arg-type]
        worst = max(worst, float((found - wanted).abs().max() / wanted.abs().max()))
    return worst


def products() -> list[Claim]:
    """What a product takes of what is kept, and of the same zeros in rows of indices, over the whole."""
    dense, rows = [], []
    for share in SHARES:
        compact_ratio, csr_ratio = product_ratios(share)
        dense.append(compact_ratio)
        rows.append(csr_ratio)
    rise = max(after - before for before, after in pairwise([1.0, *dense]))
    zeros = 1 - SHARES[1] ** 2
    return [
        claim(
            f"product of kept rows and columns over the whole, milliseconds, {zeros:.0%} zeros",
            dense[1],
            "<",
            0.5,
        ),
        claim("largest change of that ratio from one size to the next smaller", rise, "<", 0.0),
        claim(f"CSR of the same zeros over the whole, milliseconds, {zeros:.0%} zeros", rows[1], ">", 1.0),
        claim(
            "CSR over the product of what is kept, least of all sizes",
            min(b / a for a, b in zip(dense, rows, strict=True)),
            ">",
            1.0,
        ),
    ]


def product_ratios(share: float, rounds: int = 12) -> tuple[float, float]:
    """Return milliseconds of the compact product, and of CSR, over those of the dense one, on one thread."""
    filters, columns, positions = SHAPE
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(filters, columns, generator=draw)
    weight[torch.randperm(filters, generator=draw)[round(share * filters) :]] = 0
    weight[:, torch.randperm(columns, generator=draw)[round(share * columns) :]] = 0
    x = torch.randn(columns, positions, generator=draw)
    ((live, read),) = kept(weight)
    small, sparse = weight[live][:, read].contiguous(), by_rows(weight)

    def of_kept() -> Tensor:
        out = x.new_zeros(filters, positions)
        out[live] = small @ x[read]
        return out

    with lock.measuring(), torch_threads(1):
        pairs = [
            time_pairs(partial(torch.matmul, weight, x), run, rounds)
            for run in (of_kept, partial(torch.matmul, sparse, x))
        ]
    one, other = (float(np.median(pair[:, 1] / pair[:, 0])) for pair in pairs)
    return one, other


def by_rows(weight: Tensor) -> Tensor:
    """Return a matrix in torch's CSR, without the warning that it is new."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return weight.to_sparse_csr()


def depth(seeds: Sequence[int], make: Make, shrink: Compact) -> list[Claim]:
    """What training with whole layers as groups leaves of narrow residual networks."""
    blocks, halves, errors = [], 0, []
    for seed in seeds:
        network = fit(
            narrow(seed), few(), make(SslConfig(structure="depth", penalty=0.5)), config=training(seed, 4)
        )
        small, _ = shrink(network)
        left = set(small.program.weighted_layers())
        found = branches(network.program)
        blocks.append(sum(not left & set(branch.layers) for branch in found))
        for branch in found:
            zero = [not network.tensor(f"{layer}.weight").any() for layer in branch.layers]
            halves += any(zero) != all(zero)
        errors.append(difference(small, network, seed))
    return [
        claim("depth: blocks that collapsed to their shortcut, fewest of all seeds", min(blocks), ">=", 1.0),
        claim("depth: blocks in which one convolution is zero and its partner is not", halves, "==", 0.0),
        claim("depth: collapsed against trained, relative error", max(errors), "<=", 1e-5),
    ]


def narrow(seed: int) -> GraphNetwork:
    """Return an untrained residual network of 4, 6 and 8 channels whose blocks begin near their shortcuts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Residual28((4, 6, 8))
    for name, module in model.named_modules():
        if name.endswith("bn2"):
            nn.init.constant_(module.weight, 0.1)
    return trace(model.eval(), torch.zeros(1, 1, 28, 28))


def few() -> Data:
    """Return the first pictures."""
    data = subjects.pictures()
    train, rest = next(iter(data.train.batches(2000))), next(iter(data.validate.batches(500)))
    return Data(train, rest, rest)


def training(seed: int, epochs: int) -> FitConfig:
    """Return how networks are trained with a penalty: no weight decay beside it."""
    return FitConfig(epochs=epochs, learning_rate=0.03, weight_decay=0, seed=seed)


def trade_off(
    seeds: Sequence[int], originals: Callable[[int], GraphNetwork], make: Make, shrink: Compact
) -> list[Claim]:
    """Groups that survive growing penalties, and the milliseconds of what is left."""
    rises, shares, ratios = [], [], []
    for seed in seeds:
        original = originals(seed)
        left, networks = [], []
        for penalty in PENALTIES:
            hook = make(SslConfig(penalty=penalty, seed=seed))
            network = fit(original, subjects.pictures(), hook, config=training(seed, 3))
            left.append(survivors(hook))
            networks.append(shrink(network)[0])
        rises.append(max(after - before for before, after in pairwise(left)))
        shares.append(left[-1] / left[0])
        if seed == seeds[0]:
            ratios = times(networks)
    change = max(after - before for before, after in pairwise(ratios))
    return [
        claim("filters: largest rise of surviving groups with the penalty", max(rises), "<=", 0.0),
        claim("filters: survivors of the largest penalty over all groups, worst seed", max(shares), "<", 0.7),
        claim("filters: milliseconds under the largest penalty over none", ratios[-1], "<", 1 - NOISE),
        claim("filters: largest rise of milliseconds with the penalty, over none", change, "<=", NOISE),
    ]


def survivors(hook: Hook) -> int:
    """Return how many groups are not zero."""
    changes = [record for record in hook.records() if isinstance(record, Change)]
    return sum(record.after["groups"] - record.after["zero_groups"] for record in changes)


def times(networks: Sequence[GraphNetwork]) -> list[float]:
    """Return the milliseconds of each network's file over those of the first; 1 for that itself."""
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        files = [
            Subject(save(network, Path(folder) / f"{index}.wieldy")) for index, network in enumerate(networks)
        ]
        found = [time_files(files[0], file, processes=2).ratio.value for file in files[1:]]
    return [1.0, *found]
