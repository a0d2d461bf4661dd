"""Pivoting: planted blocks are found, folding changes nothing, learnt blocks beat drawn ones and are fast.

Source: Sredojevic et al., arXiv 1712.01084 (its aims; searches and training are derived in graph/pivoting.py
and methods/prune/pivot.py). The control of drawn blocks is that of Supic et al., MPDCompress, arXiv
1805.12085. Accuracy is that of LeNet-300-100 on the 3,000 embedded test pictures, after eight more epochs for
all alike. Speed is that of ResNet-50's layers (in quick mode two blocks of its third stage) with random
weights of which the smallest became zero, so that their pattern is even; benchmarks/engine.py has patterns as
uneven as those of trained networks.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wieldy.claims.subjects import claiming, pictures, trained
from wieldy.core import rng
from wieldy.core.data import each
from wieldy.core.progress import Progress
from wieldy.core.records import Claim
from wieldy.formats import BY_BLOCK
from wieldy.graph.network import GraphNetwork
from wieldy.graph.pivoting import (
    Blocks,
    Scores,
    Sets,
    even_sizes,
    find_blocks,
    greedy_blocks,
    kept_by_blocks,
    neighbours,
    refine_blocks,
)
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook
from wieldy.methods.prune import zeros
from wieldy.methods.prune.pivot import ROWS, SHAPES, Pivot, PivotConfig
from wieldy.package.save import save
from wieldy.runtime.measure import Subject
from wieldy.runtime.measure import measure as time_pair
from wieldy.runtime.tier import available_tiers
from wieldy.runtime.timing import PROCESSES
from wieldy.stats.collect import Stats
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.train.mask import Mask
from wieldy.zoo.networks.lenet import Lenet300
from wieldy.zoo.networks.residual import residual28

SEEDS = (0, 1, 2)
SOURCE = "Sredojevic et al., arXiv 1712.01084; derived in methods/prune/pivot.py"
SIZE, COUNTS, NOISES = 128, (4, 8, 16), (0.0, 0.3, 0.6)
SPARSITY, BLOCKS, EPOCHS, RATE = 0.9, 8, 8, 0.02
EVERY = ("fc1", "fc2", "fc3")
CLAIMED, TIERS = "avx512", ("avx512", "avx2")  # on the others the format is timed and reported

Find = Callable[..., Blocks]
Refine = Callable[[Scores, Blocks, int], Iterator[tuple[Blocks, float]]]
Make = Callable[[PivotConfig, Sequence[str] | None], Pivot]
claim = claiming("pivot", SOURCE)


def measure(
    quick: bool,
    progress: Progress,
    *,
    find: Find = find_blocks,
    refine: Refine = refine_blocks,
    make: Make = Pivot,
    speed: bool = True,
) -> list[Claim]:
    """Return what is claimed of searches, of folding, of learning and of speed.

    Args:
        find, refine: the search for diagonal blocks, and its turns.
        make: the hook that is to beat its controls.
        speed: whether to time the formats too.
    """
    seeds = SEEDS[:1] if quick else SEEDS
    found = [of_planted(seeds, find), of_turns(seeds, refine), of_folding(make)]
    found += [*of_blocks(seeds, progress, make), *of_sets(seeds, progress, make)]
    return [*found, *of_speed(quick, progress)] if speed else found


def of_planted(seeds: Sequence[int], find: Find = find_blocks) -> Claim:
    """Return the kept share of what was planted, in the worst of nine cases for each seed."""
    shares = []
    for scores, blocks, random in cases(seeds):
        found = find(scores, int(blocks.rows.max()) + 1, search="assignment", starts=8, random=random)
        shares.append(kept_by_blocks(scores, found) / kept_by_blocks(scores, blocks))
    return claim(
        what=f"kept over planted sum, worst of {SIZE} x {SIZE} in 4, 8 and 16 blocks, noise 0 to 0.6",
        measured=min(shares), relation=">=", threshold=1 - 1e-9,
    )  # fmt: skip


def of_turns(seeds: Sequence[int], refine: Refine = refine_blocks) -> Claim:
    """Return the least that a turn of refinement adds to the kept sum, over the same cases."""
    rises: list[float] = []
    for scores, planted_blocks, random in cases(seeds):
        count = int(planted_blocks.rows.max()) + 1
        turns = refine(scores, greedy_blocks(scores, count, random), count)
        sums = np.array([kept_by_blocks(scores, blocks) for blocks, _ in turns])
        rises += (np.diff(sums) / sums[0]).tolist()
    return claim(
        what="least change of the kept sum in a turn of refinement, relative",
        measured=min(rises), relation=">=", threshold=0.0,
    )  # fmt: skip


def cases(seeds: Sequence[int]) -> Iterator[tuple[Scores, Blocks, np.random.Generator]]:
    """Yield nine planted templates for each seed, with what starts are to be drawn from."""
    for seed in seeds:
        for count in COUNTS:
            for noise in NOISES:
                yield *planted(seed, count, noise), rng.generator(seed, "claims", "pivot", "search")


def planted(seed: int, count: int, noise: float) -> tuple[Scores, Blocks]:
    """Return |normal numbers in permuted diagonal blocks, and `noise` times others everywhere|."""
    random = rng.generator(seed, "claims", "pivot", count, str(noise))
    labels = np.repeat(np.arange(count), even_sizes(SIZE, count))
    blocks = Blocks(random.permutation(labels), random.permutation(labels))
    inside, everywhere = random.normal(size=(2, SIZE, SIZE))
    return np.abs(inside * blocks.mask() + noise * everywhere), blocks


class Masked(Pivot):
    """Channels stay where they are."""

    def fold(self, network: GraphNetwork) -> None:
        """Leave them."""


def of_folding(make: Make) -> Claim:
    """Return the largest relative error of folded against masked: convolutions, norms and residual adds."""
    network = trace(residual28(), torch.zeros(1, 1, 28, 28))
    images, _ = next(iter(pictures().test.batches(16)))
    x = torch.from_numpy(each(images)[0])
    errors = []
    for config in (PivotConfig(starts=2), PivotConfig(template="diagonal", smallest=8, starts=2)):
        outputs = []
        for kind in (make, Masked):
            small = copy.deepcopy(network)
            hook = kind(config, None)
            hook.attach(small)
            hook.finish(small)
            with torch.no_grad():
                outputs.append(small(x))
        errors.append(float((outputs[0] - outputs[1]).abs().max() / outputs[1].abs().max()))
    return claim(
        what="largest relative error, folded against masked, of the embedded residual network",
        measured=max(errors), relation="<=", threshold=1e-5,
    )  # fmt: skip


class Drawn(Pivot):
    """Blocks of rows and columns that are drawn once; on the way, two of them are one."""

    @staticmethod
    def find_blocks(scores: Scores, count: int, **_: Any) -> Blocks:
        """Deal out rows and columns at random, by their number alone."""
        random = rng.generator(0, "claims", "pivot", "drawn", *scores.shape)
        return Blocks(*(random.permutation(np.arange(size) * count // size) for size in scores.shape))


class InPlace(Pivot):
    """Blocks and sets of rows and columns as they stand."""

    @staticmethod
    def find_blocks(scores: Scores, count: int, **_: Any) -> Blocks:
        """Deal out neighbours."""
        return Blocks(*(np.arange(size) * count // size for size in scores.shape))

    @staticmethod
    def find_sets(scores: Sequence[Scores], kept: Sequence[int], height: int, **_: Any) -> Sets:  # noqa: ARG004
        """Deal out neighbours."""
        return neighbours(len(scores[0]), height)


class Sorted(Pivot):
    """Rows and columns of like magnitude together, whatever they read."""

    @staticmethod
    def find_blocks(scores: Scores, count: int, **_: Any) -> Blocks:
        """Deal out rows and columns from the largest sum on."""
        return Blocks(*(_ranks(scores.sum(axis=axis)) * count // scores.shape[1 - axis] for axis in (1, 0)))

    @staticmethod
    def find_sets(scores: Sequence[Scores], kept: Sequence[int], height: int, **_: Any) -> Sets:  # noqa: ARG004
        """Deal out rows from the largest sum on."""
        return _ranks(np.sum([of.sum(axis=1) for of in scores], axis=0)) // height


def _ranks(values: NDArray[np.float64]) -> Sets:
    """Return how many values are larger than each."""
    return np.argsort(np.argsort(-values, kind="stable"))


def of_blocks(seeds: Sequence[int], progress: Progress, make: Make = Pivot) -> list[Claim]:
    """Return how many points learnt diagonal blocks are ahead of their controls, in the worst seed."""
    config = PivotConfig(template="diagonal", blocks=BLOCKS, smallest=1, starts=4)
    controls = {"drawn ones": Drawn, "neighbours": InPlace, "ones sorted by magnitude": Sorted}
    _, ahead = compared(seeds, progress, lambda kind: kind(config, EVERY[:2]), make, controls)
    return [
        claim(
            what=f"points that {BLOCKS} learnt diagonal blocks are ahead of {name}, worst seed",
            measured=min(found), relation=">", threshold=0.0,
        )
        for name, found in ahead.items()
    ]  # fmt: skip


def of_sets(seeds: Sequence[int], progress: Progress, make: Make = Pivot) -> list[Claim]:
    """Return how many points learnt sets are ahead of neighbours, and say how they stand to two others.

    Claimed where a block holds several outputs. With one, all that is learnt is which inputs share a block,
    and what that gains is no more than seeds differ: it is said.
    """
    without = [points(Mask(EVERY, zeros.ZerosConfig(sparsity=SPARSITY)), seed) for seed in seeds]
    found = {form: of_form(form, without, seeds, progress, make) for form in SHAPES}
    return [claim for form, claim in found.items() if SHAPES[form][ROWS] > 1]


def of_form(
    form: str, without: Sequence[float], seeds: Sequence[int], progress: Progress, make: Make
) -> Claim:
    """Return what is measured of one form of blocks; `without`: the points of zeros that have no pattern."""
    config = PivotConfig.model_validate({"template": form, "sparsity": SPARSITY})
    controls = {"neighbours": InPlace, "sets sorted by magnitude": Sorted}
    learnt, ahead = compared(seeds, progress, lambda kind: kind(config, EVERY), make, controls)
    lost = _listed([most - of for most, of in zip(without, learnt, strict=True)])
    progress.say(f"{form} at {SPARSITY:.0%} zeros: against zeros without a pattern it loses {lost}")
    for name, found in ahead.items():
        progress.say(f"{form} at {SPARSITY:.0%} zeros: against {name} it gains {_listed(found)}")
    return claim(
        what=f"points that learnt sets of {form} are ahead of neighbours, {SPARSITY:.0%} zeros, worst",
        measured=min(ahead["neighbours"]), relation=">", threshold=0.0,
    )  # fmt: skip


def compared(
    seeds: Sequence[int],
    progress: Progress,
    ready: Callable[[Make], Pivot],
    make: Make,
    controls: Mapping[str, Make],
) -> tuple[list[float], dict[str, list[float]]]:
    """Return, for each seed, the points of what `make` makes, and how many it is ahead of each control."""
    learnt: list[float] = []
    ahead: dict[str, list[float]] = {name: [] for name in controls}
    with progress.task("learnt blocks and their controls", len(seeds)) as task:
        for seed in seeds:
            learnt.append(points(ready(make), seed))
            for name, control in controls.items():
                ahead[name].append(learnt[-1] - points(ready(control), seed))
            task.advance(1, f"seed {seed}: {learnt[-1]:.2f}")
    return learnt, ahead


def _listed(found: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in found) + " points"


def points(hook: Hook, seed: int) -> float:
    """Return the accuracy on the test set, in points, of LeNet-300-100 that was trained on with a hook."""
    config = FitConfig(epochs=EPOCHS, learning_rate=RATE, seed=seed)
    data = pictures()
    return 100 * evaluate(fit(trained(Lenet300, seed), data, hook, config=config), data.test, data)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut: He et al., CVPR 2016, figure 5."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, 4 * inner, 1, bias=False), nn.BatchNorm2d(4 * inner),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if inputs != 4 * inner:
            wide = nn.Conv2d(inputs, 4 * inner, 1, stride, bias=False)
            self.shortcut = nn.Sequential(wide, nn.BatchNorm2d(4 * inner))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, 4 * inner, h / stride, w / stride)."""
        return torch.relu(self.before(x) + self.shortcut(x))


def resnet50() -> tuple[nn.Module, Tensor]:
    """Return ResNet-50 with random weights, and an input of zeros."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    width = 64
    for inner, depth in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for number in range(depth):
            layers.append(Bottleneck(width, inner, 1 if number or inner == 64 else 2))
            width = 4 * inner
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1000)]
    return nn.Sequential(*layers), torch.zeros(1, 3, 224, 224)


def third_stage() -> tuple[nn.Module, Tensor]:
    """Return two blocks of its third stage, behind a layer of few channels, and an input of zeros."""
    blocks = [Bottleneck(1024, 256, 1) for _ in range(2)]
    return nn.Sequential(nn.Conv2d(8, 1024, 1), *blocks), torch.zeros(1, 8, 14, 14)


def of_speed(quick: bool, progress: Progress) -> Iterator[Claim]:
    """Yield milliseconds of csr over those of block_8x1, on each tier of which something is claimed."""
    make = third_stage if quick else resnet50
    processes = 1 if quick else PROCESSES
    with tempfile.TemporaryDirectory() as folder:
        paths = [stored(make, block, Path(folder)) for block in (1, 8)]
        for tier in TIERS:
            if tier not in available_tiers():
                progress.say(f"{tier}: this CPU lacks it; csr and block_8x1 were not timed there")
                continue
            ratio = time_pair(*map(Subject, paths), threads=2, tier=tier, batch=1, processes=processes).ratio
            progress.say(f"{tier}: csr takes {1 / ratio.value:.2f} times what block_8x1 takes")
            if tier == CLAIMED:
                yield claim(
                    what=f"ms of csr over ms of block_8x1 at {SPARSITY:.0%} zeros, {make.__name__}, {tier}",
                    measured=1 / ratio.value, relation=">", threshold=1.0,
                )  # fmt: skip


def stored(make: Callable[[], tuple[nn.Module, Tensor]], block: int, folder: Path) -> Path:
    """Save a network whose smallest weights, in blocks of so many output channels, are zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = make()
    network = trace(model.eval(), x)
    layers, _ = zeros.sparse_layers(network)
    config = zeros.ZerosConfig(sparsity=SPARSITY, block=block)
    list(zeros.apply(network, layers, Stats(), config))
    formats = zeros.stored_formats(network, config)
    return save(network, folder / f"{BY_BLOCK[block]}.wieldy", formats=formats)
