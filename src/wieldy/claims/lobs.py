"""L-OBS: exact losses, an order that beats cheaper ones, bounds that hold, accuracy without training.

Source: Dong, Chen, Pan, NIPS 2017 (arXiv 1705.07565), on LeNet-300-100 and a LeNet-5-like network, trained
here on the pictures that come with the package. Errors of layers are in float64, on the training pictures.

Against magnitude the paper's order is compared over all layers: of LeNet-5's first convolution alone, which
has 25 inputs, it errs 1.05 or 0.96 times as much, as the training falls out.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wieldy.claims.subjects import claiming, pictures, trained
from wieldy.core.data import each
from wieldy.core.progress import Progress
from wieldy.core.records import Change, Claim, Refused
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import WEIGHTED
from wieldy.graph.program import Node
from wieldy.methods.prune import lobs
from wieldy.methods.prune.lobs import LobsConfig, error_bound, kept_after, lipschitz
from wieldy.methods.prune.zeros import ZerosConfig
from wieldy.methods.prune.zeros import apply as by_magnitude
from wieldy.methods.surgery import Problem, problem, refit, removal_order
from wieldy.stats.collect import Stats
from wieldy.stats.modes import evaluating
from wieldy.stats.moments import collect_moments, patches
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.train.mask import Mask
from wieldy.zoo.networks.lenet import Lenet5, Lenet300

SOURCE = "Dong, Chen, Pan, NIPS 2017"
claim = claiming("lobs", SOURCE)
SEEDS = (0, 1, 2)
BATCH = 500
ERROR_EXAMPLES = 500  # whose rows errors are measured on, one by one
SPARSITY = 0.7  # at which orders are compared
LOST = {0.8: 0.5, 0.9: 1.5}  # points at most, without training, at shares of zeros
SHARES = tuple(LOST)  # the last one alone in quick mode
LARGE = ("fc1",)  # of LeNet-5: three quarters of all the work, left out in quick mode
Norm = Literal["spectral", "frobenius"]
NORMS: tuple[Norm, ...] = ("spectral", "frobenius")
Kind = Callable[[], nn.Module]
Apply = Callable[[GraphNetwork, Sequence[str], Stats, LobsConfig], Iterator[Change | Refused]]


def measure(quick: bool, progress: Progress, apply: Apply = lobs.apply) -> list[Claim]:
    """Return the claims; in quick mode without LeNet-5's largest layer, one seed and 90 % zeros alone."""
    seeds = SEEDS[:1] if quick else SEEDS
    with progress.task("optimal brain surgery", 3 + 2 * len(seeds)) as task:
        found = [recursion()]
        task.advance(1, "the recursion")
        for kind in (Lenet5, Lenet300):
            found += layers(kind, apply, LARGE if quick and kind is Lenet5 else ())
            task.advance(1, kind.__name__)
        rows = []
        for seed in seeds:
            rows.append(accuracies(seed, apply, SHARES[1:] if quick else SHARES))
            task.advance(2, f"points lost: {', '.join(f'{k} {v:.2f}' for k, v in rows[-1].items())}")
    return [*found, *accuracy_claims(rows)]


def recursion() -> Claim:
    """The paper's recursion over inputs ends at the inverse of the damped second moment."""
    rows = np.random.default_rng(0).normal(size=(400, 30))
    inverse = 1e6 * np.eye(30)
    for row in rows:
        ahead = inverse @ row
        inverse -= np.outer(ahead, ahead) / (len(rows) + row @ ahead)
    ridge = np.linalg.inv(rows.T @ rows / len(rows) + 1e-6 * np.eye(30))
    away = float(np.abs(inverse - ridge).max() / np.abs(ridge).max())
    return claim("recursion over inputs against the ridge inverse, relative", away, "<=", 1e-8)


@dataclass(frozen=True)
class Layer:
    """A layer's problem with the rows that it is measured on."""

    node: Node
    problem: Problem
    rows: Tensor  # (n, d), with the 1 of the bias

    def error(self, weight: Tensor) -> float:
        """Return E of new rows from the inputs themselves, and what damping adds to it."""
        moved = weight - self.problem.weight
        apart = float((self.rows @ moved.T).square().sum() / (2 * len(self.rows)))
        return apart + self.problem.damping * float(moved[:, self.problem.alive].square().sum()) / 2


def examples() -> NDArray[np.float32]:
    """Return the pictures that errors are measured on."""
    x, _ = next(iter(pictures().train.batches(ERROR_EXAMPLES)))
    return np.asarray(each(x)[0], np.float32)


@cache
def subjects(kind: Kind) -> tuple[Stats, tuple[Layer, ...]]:
    """Return the moments of a network on some pictures, and its layers on the same."""
    network = trained(kind)
    names = network.program.weighted_layers()
    x = examples()
    stats = Stats(moments=collect_moments(network, [(x,)], names))
    nodes = [node for node in network.program.nodes if node.layer in names and node.op in WEIGHTED]
    inputs = list(network.program.inputs)
    with evaluating(network), torch.no_grad():
        seen = network.watch([ref for node in nodes if (ref := next(node.refs())) not in inputs])
        network(torch.from_numpy(x))
        values = dict(zip(inputs, [torch.from_numpy(x)], strict=True)) | dict(seen)
        network.watch(())
    found = []
    for node in nodes:
        weight, bias = (network.tensor(name).detach() for name in node.stored())
        rows = patches(node, weight, values[next(node.refs())]).double()
        rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
        flat = weight.double().flatten(1).numpy()
        layer = problem(flat, bias.double().numpy(), stats.moments[node.layer], LobsConfig().damping)
        found.append(Layer(node, layer, rows))
    return stats, tuple(found)


def pruned(kind: Kind, layer: Layer, config: LobsConfig, apply: Apply) -> tuple[Tensor, Change]:
    """Return a layer's rows after pruning, in float64 as far as the network's float32 holds them."""
    stats, _ = subjects(kind)
    network = copy.deepcopy(trained(kind)).double()
    (record,) = apply(network, [layer.node.layer], stats, config)
    assert isinstance(record, Change)
    weight, bias = (network.tensor(name).detach() for name in layer.node.stored())
    return torch.cat([weight.flatten(1), bias[:, None]], 1), record


def layers(kind: Kind, apply: Apply, left_out: Sequence[str] = ()) -> list[Claim]:
    """What holds of every layer: predicted is measured, the orders stand as they should, the bounds hold."""
    away, chains, exacts = [], [], []
    for layer in subjects(kind)[1]:
        if layer.node.layer in left_out:
            exacts.append(layer.problem.weight)
            continue
        exact, record = pruned(kind, layer, LobsConfig(sparsity=SPARSITY), apply)
        error, outputs = layer.error(exact), layer.problem.energy()
        away.append(abs(error - record.figures.get("predicted", 0.0)) / error)
        paper, _ = pruned(kind, layer, LobsConfig(sparsity=SPARSITY, mode="paper"), apply)
        kept = paper != 0
        kept[:, -1] = True
        rows = [exact, refit(layer.problem, kept), paper, _by_magnitude(layer.problem)]
        chains.append([layer.error(row) / outputs for row in rows])
        exacts.append(exact)
    what = f"{kind.__name__}: sum of losses against the measured error, worst layer, relative"
    return [
        claim(what, max(away), "<=", 1e-6),
        *orders(kind, np.array(chains)),
        *(bound(kind, norm, exacts) for norm in NORMS),
    ]


def orders(kind: Kind, errors: NDArray[np.float64]) -> list[Claim]:
    """Compare (layers, orders) relative errors: neighbours by the mean over layers and by the worst layer."""
    names = ("exact", "least squares on the paper's mask", "paper", "magnitude")
    found = []
    for k in range(3):
        what = f"{kind.__name__}: error at {SPARSITY:.0%} zeros, {names[k]} over {names[k + 1]}"
        means = errors.mean(axis=0)
        worst = float((errors[:, k] / errors[:, k + 1]).max())
        found.append(claim(f"{what}, all layers", float(means[k] / means[k + 1]), "<", 1.0))
        if names[k] != "paper":
            found.append(claim(f"{what}, worst layer", worst, "<", 1.0))
    return found


def _by_magnitude(layer: Problem) -> Tensor:
    weights = layer.weight[:, : layer.inputs]
    kept = torch.ones(weights.numel(), dtype=weights.dtype)
    kept[weights.abs().flatten().argsort()[: round(SPARSITY * weights.numel())]] = 0
    return torch.cat([weights * kept.reshape(weights.shape), layer.weight[:, layer.inputs :]], 1)


def bound(kind: Kind, norm: Norm, rows: Sequence[Tensor]) -> Claim:
    """How far the output really moves, over what theorem 3.2 allows with one norm."""
    network, held = trained(kind), subjects(kind)[1]
    small = copy.deepcopy(network)
    errors, norms = [], []
    for layer, new in zip(held, rows, strict=True):
        moved = new - layer.problem.weight
        errors.append(float((layer.rows @ moved.T).square().sum()) / ERROR_EXAMPLES)
        put(small, layer.node, new)
        norms.append(lipschitz(layer.node, small.tensor(next(layer.node.stored())), norm))
    x = torch.from_numpy(examples())
    with evaluating(network), evaluating(small), torch.no_grad():
        apart = float((small(x) - network(x)).double().square().sum(1).mean().sqrt())
    return claim(
        f"{kind.__name__}: how far the output moves at {SPARSITY:.0%} zeros over the bound with {norm} norms",
        apart / error_bound(errors, norms), "<=", 1.0,
    )  # fmt: skip


def put(network: GraphNetwork, node: Node, rows: Tensor) -> None:
    """Give a layer new rows, the bias in the last column."""
    with torch.no_grad():
        for name, new in zip(node.stored(), (rows[:, :-1], rows[:, -1]), strict=True):
            network.tensor(name).copy_(new.reshape(network.tensor(name).shape))


def accuracies(seed: int, apply: Apply, shares: Sequence[float]) -> dict[str, float]:
    """Return the points that LeNet-300-100 loses on the test pictures at some shares of zeros, 90 % last."""
    network, data = trained(Lenet300, seed), pictures()
    names = network.program.weighted_layers()
    batches = [each(x) for x, _ in data.train.batches(BATCH)]
    stats = Stats(moments=collect_moments(network, batches, names))
    whole = evaluate(network, data.test, data)

    def lost(small: GraphNetwork) -> float:
        return 100 * (whole - evaluate(small, data.test, data))

    found: dict[str, float] = {}
    for share in shares:
        small = copy.deepcopy(network)
        list(apply(small, names, stats, LobsConfig(sparsity=share, scope="network")))
        found[f"merged {share:.0%}"] = lost(small)
        plain = copy.deepcopy(network)
        list(by_magnitude(plain, names, Stats(), ZerosConfig(sparsity=share)))
        found[f"magnitude {share:.0%}"] = lost(plain)
    found["equal rows 90%"] = lost(with_equal_rows(network, names, stats, 0.9))
    settled = fit(small, data, Mask(tuple(names)), config=FitConfig(epochs=3, learning_rate=0.01, seed=seed))
    return found | {"trained 90%": lost(settled)}


def with_equal_rows(network: GraphNetwork, names: Sequence[str], stats: Stats, share: float) -> GraphNetwork:
    """Return the network after exact surgery in which every row of a layer loses as many weights."""
    small = copy.deepcopy(network)
    for node in (node for node in network.program.nodes if node.layer in names and node.op in WEIGHTED):
        held = [network.tensor(name).detach().double().numpy() for name in node.stored()]
        layer = problem(held[0], held[1], stats.moments[node.layer], LobsConfig().damping)
        order, _ = removal_order(layer, 1)
        removed = np.full(len(order), round(share * layer.inputs))
        rows = refit(layer, kept_after(order, removed, layer.weight.shape[1]))
        put(small, node, rows)
    return small


def accuracy_claims(rows: Sequence[dict[str, float]]) -> list[Claim]:
    """Return what must hold of the worst seed, and of the means where two ways are compared."""
    worst = {key: max(row[key] for row in rows) for key in rows[0]}
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    found = []
    for share, most in LOST.items():
        if (key := f"merged {share:.0%}") in worst:
            what = f"LeNet-300-100, {100 * share:.0f} % zeros, no training: points lost"
            found.append(claim(what, worst[key], "<=", most))
    return [
        *found,
        claim("LeNet-300-100, 90 % zeros, three epochs: points lost", worst["trained 90%"], "<=", 0.5),
        claim(
            "90 % zeros: points that merged losses lose, minus equal zeros in each row",
            mean["merged 90%"] - mean["equal rows 90%"], "<", 0.0,
        ),
        claim(
            "90 % zeros: points that it loses, minus magnitude's", mean["merged 90%"] - mean["magnitude 90%"],
            "<", 0.0,
        ),
    ]  # fmt: skip
