"""Blocks of one magnitude: the nearest there are, reached by training, kept by it, and exact when packed.

Source: arXiv 2106.08301; derivations in methods/share/unify.py. All but the last layer of LeNet-300-100, and
the middle layers of LeNet-5, have blocks of 4 x 4, half of them pruned and nine tenths of the others unified.
Losses are cross entropies on the embedded training pictures, points are of accuracy on its test pictures, and
every figure is that of the worst network and seed.
"""

import copy
import itertools
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load as load_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.claims.subjects import claiming, pictures, trained
from wieldy.compress.load import load
from wieldy.core.progress import Progress
from wieldy.core.records import Claim
from wieldy.formats import BY_SHAPE
from wieldy.formats.unified import UNIFIED
from wieldy.graph.network import GraphNetwork
from wieldy.graph.tensors import tensors
from wieldy.methods.contract import Hook
from wieldy.methods.prune.zeros import weighted
from wieldy.methods.share.unify import (
    OneMagnitude,
    Unify,
    UnifyConfig,
    as_blocks,
    prune_costs,
    select,
    unify,
    unify_costs,
    with_blocks,
)
from wieldy.package.manifest import TENSORS
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.train.mask import Mask
from wieldy.zoo.networks.lenet import Lenet5, Lenet300

SOURCE = "arXiv 2106.08301"
_claim = claiming("unify", SOURCE)
DERIVED = "derived in methods/share/unify.py"
Kind = Callable[[], nn.Module]
Make = Callable[[UnifyConfig, Sequence[str]], Unify]
LAYERS: dict[Kind, tuple[str, ...]] = {Lenet300: ("fc1", "fc2"), Lenet5: ("conv2", "fc1")}
QUICK: tuple[tuple[Kind, int], ...] = ((Lenet300, 0),)
WHOLE: tuple[tuple[Kind, int], ...] = tuple(itertools.product((Lenet300, Lenet5), (0, 1, 2)))
LEADING, SETTLING = 6, 3  # epochs
EXAMPLES = 500
CONFIG = UnifyConfig()
AT_ONCE_LEARNS_MORE = (
    "what is led to its blocks learns little while it is pulled; projected at once, it learns by its blocks' "
    "numbers all the time"
)


@dataclass(frozen=True)
class Led:
    """One network on its way: trained, led to its blocks, projected, and trained on."""

    layers: tuple[str, ...]
    seed: int
    dense: GraphNetwork
    free: GraphNetwork
    projected: GraphNetwork
    settled: GraphNetwork
    residuals: tuple[float, ...]

    def weights(self, network: GraphNetwork) -> list[Tensor]:
        """Return the weights of the layers that have blocks."""
        return [network.tensor(node.weight).detach() for node in weighted(network, self.layers)]


def measure(
    quick: bool, progress: Progress, make: Make = Unify, nearest: Callable[[Tensor], Tensor] = unify
) -> list[Claim]:
    """Return the claims; `make` and `nearest` are the mechanism, so that a fake can be shown to fail."""
    claims, runs = projection(nearest), []
    subjects = QUICK if quick else WHOLE
    with progress.task("blocks of one magnitude", len(subjects) + 3) as task:
        for kind, seed in subjects:
            runs.append(led(kind, seed, make))
            task.advance(1, f"blocks in {' and '.join(LAYERS[kind])}, seed {seed}")
        claims += [*leading(runs), *keeping(runs)]
        task.advance(1, "at once")
        claims += [*at_once(runs, make), *equal_blocks(runs)]
        task.advance(1, "packed")
        return [*claims, *packed(runs)]


def projection(nearest: Callable[[Tensor], Tensor] = unify) -> list[Claim]:
    """Compare blocks of up to eight numbers with all signs and a fine grid of magnitudes."""
    draw = torch.Generator().manual_seed(0)
    excess, identity = -1.0, 0.0
    for size in range(2, 9):
        patterns = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=size)), dtype=torch.float64)
        blocks = torch.randn(20, size, generator=draw, dtype=torch.float64)
        blocks[::5, 0] = 0
        wholes = prune_costs(blocks)
        costs = (blocks - nearest(blocks)).square().sum(dim=1)
        for block, cost, whole in zip(blocks, costs, wholes, strict=True):
            grid = torch.linspace(0, float(block.abs().max()), 1001, dtype=torch.float64)
            products = patterns @ block  # |w - u s|^2 = |w|^2 - 2 u <s, w> + |B| u^2
            best = float((whole - 2 * grid[:, None] * products + size * grid[:, None].square()).min())
            excess = max(excess, (float(cost) - best) / float(whole))
        closed = unify_costs(blocks) + size * nearest(blocks)[:, 0].square()
        identity = max(identity, float(((closed - wholes) / wholes).abs().max()))
    what = "cost of the nearest block of one magnitude above the best of all signs and 1,001 magnitudes"
    return [
        _claim(f"{what}, of |w|^2, worst of 140", excess, "<=", 1e-12, source=DERIVED),
        _claim("|w|^2 = d + |B| u^2: worst relative error", identity, "<=", 1e-12, source=DERIVED),
    ]


class Keep(Hook):
    """Copies the network as training leaves it, before other hooks finish."""

    def finish(self, network: nn.Module) -> None:
        """Copy it."""
        assert isinstance(network, GraphNetwork)
        self.network = copy.deepcopy(network)


def led(kind: Kind, seed: int, make: Make = Unify) -> Led:
    """Lead a trained network to its blocks, and train on."""
    dense, layers, keep, hook = trained(kind, seed), LAYERS[kind], Keep(), make(CONFIG, LAYERS[kind])
    projected = _fit(dense, LEADING, seed, keep, hook)
    settled = _fit(projected, SETTLING, seed, hook.settling() or Mask(layers))
    return Led(layers, seed, dense, keep.network, projected, settled, tuple(hook.residuals))


def leading(runs: Sequence[Led]) -> list[Claim]:
    """Judge where training led, against projecting what was not led there."""
    apart = falls = 0.0
    against: tuple[list[float], list[float]] = ([], [])
    for run in runs:
        free, projected = (torch.cat([w.ravel() for w in run.weights(n)]) for n in (run.free, run.projected))
        apart = max(apart, float((free - projected).norm() / free.norm()))
        thirds = [float(np.mean(part)) for part in np.array_split(run.residuals[1:], 3)]
        falls = max(falls, thirds[1] / thirds[0], thirds[2] / thirds[1])
        rise = loss(run.projected) - loss(run.free)
        for start, found in zip((run.dense, _fit(run.dense, LEADING, run.seed)), against, strict=True):
            found.append(rise / (loss(cut(start, run.layers)) - loss(start)))
    what = "rise of the loss at the projection, led there over"
    return [
        _claim("|W - Z| over |W| at the end", apart, "<", 1e-2),
        _claim("mean of |W - Z| over |W|, a third of the updates over the third before", falls, "<", 1.0),
        _claim(f"{what} the trained network", max(against[0]), "<=", 1 / 3),
        _claim(f"{what} one that trained as long without being led", max(against[1]), "<=", 1 / 3),
    ]


def keeping(runs: Sequence[Led]) -> list[Claim]:
    """Judge what training on did to the blocks, from the bits of their magnitudes."""
    equal, moved = [], []
    for run in runs:
        for before, after in zip(run.weights(run.projected), run.weights(run.settled), strict=True):
            first, second = (as_blocks(weight, CONFIG.block) for weight in (before, after))
            wanted = int((select(first, CONFIG.pruned, CONFIG.unified) == UNIFIED).sum())
            tied = of_one_magnitude(second)
            equal.append(int(tied.sum()) / wanted)
            changed = (first != second).any(dim=1)[tied]
            moved.append(float(changed.double().mean()) if len(changed) else 0.0)
    return [
        _claim("blocks of bitwise equal magnitudes after training on, of those asked", min(equal), "==", 1.0),
        _claim("share of these whose number has learned", min(moved), ">", 0.9, source=DERIVED),
    ]


def at_once(runs: Sequence[Led], make: Make = Unify) -> list[Claim]:
    """Compare with blocks that were projected when training began, after as many epochs."""
    ratios = []
    for run in runs:
        hook = make(CONFIG.model_copy(update={"gradual": False}), run.layers)
        other = _fit(run.dense, LEADING, run.seed, hook)
        ratios.append(loss(run.settled) / loss(_fit(other, SETTLING, run.seed, hook.settling())))
    what = "loss when all is done, led to the blocks over projected at once, as many epochs"
    return [
        _claim(what, max(ratios), "<", 1.0, source=DERIVED, expected="refuted", reason=AT_ONCE_LEARNS_MORE)
    ]


def equal_blocks(runs: Sequence[Led]) -> list[Claim]:
    """Unify and prune the same blocks, nine tenths of all, of the trained network."""
    before, after = [], []
    for run in runs:
        united = copy.deepcopy(run.dense)
        pruned = copy.deepcopy(run.dense)
        with torch.no_grad():
            for one, other in zip(run.weights(united), run.weights(pruned), strict=True):
                blocks = as_blocks(one, CONFIG.block)
                chosen = (select(blocks, 0.0, CONFIG.unified) == UNIFIED)[:, None]
                one.copy_(with_blocks(one, torch.where(chosen, unify(blocks), blocks), CONFIG.block))
                other.copy_(with_blocks(other, torch.where(chosen, 0.0, blocks), CONFIG.block))
        before.append(points(united) - points(pruned))
        united = _fit(united, SETTLING, run.seed, OneMagnitude(CONFIG.block, run.layers))
        after.append(points(united) - points(_fit(pruned, SETTLING, run.seed, Mask(run.layers))))
    return [
        _claim("points, one magnitude over zeros in the same blocks", min(before), ">", 0.0),
        _claim("the same after training on", min(after), ">", 0.0),
    ]


def packed(runs: Sequence[Led]) -> list[Claim]:
    """Save what was found, count the bytes in the file, and compare outputs in both runtimes."""
    off, differing = 0, 0
    for run in runs:
        form, (x, _) = BY_SHAPE[CONFIG.block], next(iter(pictures().test.batches(EXAMPLES)))
        names = [node.weight for node in weighted(run.settled, run.layers)]
        with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
            path = save(run.settled, Path(folder) / "packed.wieldy", formats=dict.fromkeys(names, form))
            dense = save(run.settled, Path(folder) / "dense.wieldy", formats={})
            with zipfile.ZipFile(path) as archive:
                parts = load_tensors(archive.read(TENSORS))
            differing += int(np.not_equal(open_package(path)(x), open_package(dense)(x)).sum())
            with torch.no_grad():
                differing += int((load(path)(*tensors(x)) != run.settled(*tensors(x))).sum())
        for name, weight in zip(names, run.weights(run.settled), strict=True):
            stored = sum(part.nbytes for key, part in parts.items() if key.startswith(f"{name}."))
            off += abs(stored - byte_formula(weight))
    return [
        _claim("bytes in the file beside the formula's", off, "==", 0.0, source=DERIVED),
        _claim("outputs that differ when packed, in torch and in the runtime", differing, "==", 0.0),
    ]


def byte_formula(weight: Tensor) -> int:
    """Return the bytes that a weight takes: two bits a block, a float and signs, or floats."""
    blocks = as_blocks(weight, CONFIG.block)
    count, size = blocks.shape
    united = int(of_one_magnitude(blocks).sum())
    free = count - united - int((blocks == 0).all(dim=1).sum())
    rest = weight.numel() - count * size
    return -(-count // 4) + 4 * united + -(-united * size // 8) + 4 * (free * size + rest)


def of_one_magnitude(blocks: Tensor) -> Tensor:
    """Return which blocks have magnitudes of the same bits, and not of zero."""
    bits = blocks.abs().contiguous().view(torch.int32)
    return (bits == bits[:, :1]).all(dim=1) & (bits[:, 0] != 0)


def cut(network: GraphNetwork, layers: tuple[str, ...]) -> GraphNetwork:
    """Return a network projected as it is."""
    small = copy.deepcopy(network)
    hook = Unify(CONFIG, layers)
    hook.attach(small)
    hook.finish(small)
    return small


def points(network: GraphNetwork) -> float:
    """Return the accuracy on the test pictures, of 100."""
    return 100 * evaluate(network, pictures().test, pictures())


@torch.no_grad()
def loss(network: GraphNetwork) -> float:
    """Return the cross entropy on the training pictures."""
    split = pictures().train
    x, y = next(iter(split.batches(split.size)))
    return float(F.cross_entropy(network(*tensors(x)), tensors(y)[0]))


def _fit(network: GraphNetwork, epochs: int, seed: int, *hooks: Hook) -> GraphNetwork:
    config = FitConfig(epochs=epochs, learning_rate=0.02, seed=seed)
    return fit(network, pictures(), *hooks, config=config)
