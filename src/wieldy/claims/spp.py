"""Pruning by chance: groups are drawn as said, keep their bits, and come back when they prove important.

Source: Wang, Zhang, Wang, Hu, BMVC 2018. The control in all comparisons removes groups for good, at the same
updates: the least by their L1 norms of the moment.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.claims.subjects import claiming, pictures, trained
from wieldy.core import rng
from wieldy.core.progress import Progress
from wieldy.core.records import Claim, Verdict
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook, Step
from wieldy.methods.prune.spp import (
    Chances,
    Spp,
    SppConfig,
    changes,
    positions,
    quota_of,
    settled,
    updates_needed,
)
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.zoo.networks.lenet import Lenet5, Lenet300

SOURCE = "Wang et al., BMVC 2018"
_claim = claiming("spp", SOURCE)
BRIEF = "derived in methods/prune/spp.py"
SEEDS = (0, 1, 2)
FRESH = (3, 4, 5)  # for accuracy: the network and the share were chosen on the others
Make = Callable[[SppConfig, tuple[str, ...] | None], Spp]


class Deterministic(Spp):
    """The control: at each update the least groups go for good, as many as chance would remove on average."""

    def moved(self, chances: Chances, sizes: Tensor) -> Chances:
        """Return the chances after the removal of the smallest groups that are left."""
        left = chances.pruned < 1
        quota = quota_of(len(sizes), self.config.ratio)
        each = math.ceil(quota / updates_needed(len(sizes), self.config))
        least = torch.zeros_like(left)
        least[left] = positions(sizes[left]) < each
        return settled(replace(chances, ranks=sizes), left, least)


def measure(quick: bool, progress: Progress, make: Make = Spp) -> list[Claim]:
    """Return the claims; `make` builds what is measured, so that a fake can be shown to fail."""
    with progress.task("pruning by chance", 5) as task:
        claims = [*identities(), *quotas(quick, make)]
        task.advance(1, "identities and counts")
        claims += draws(make)
        task.advance(1, "draws")
        claims += recovery(3 if quick else 10, make)
        task.advance(1, "recovery")
        claims += planted(make)
        task.advance(1, "planted columns")
        claims += [] if quick else accuracy(make)
        task.advance(1, "accuracy")
    return claims


def identities() -> list[Claim]:
    """Measure the curve by which probabilities move, and what re-ranking those that are left saves."""
    worst = 0.0
    for quota in (1, 3, 50, 700):
        for rise, bend in ((0.05, 0.25), (0.2, 0.1), (1.0, 0.9)):
            turn = -math.log(bend) / (math.log(2 / bend) / quota)
            aside = torch.linspace(0, 1, 21, dtype=torch.float64) * min(turn, quota - turn)
            wanted = torch.tensor([rise, bend * rise, 0.0], dtype=torch.float64)
            places = torch.tensor([0.0, turn, quota], dtype=torch.float64)
            errors = changes(places, quota, rise, bend) - wanted
            both = changes(turn - aside, quota, rise, bend) + changes(turn + aside, quota, rise, bend)
            worst = max(worst, float(errors.abs().max()), float((both - 2 * bend * rise).abs().max()))
    share = updates_needed(100, SppConfig(ratio=0.5)) / updates_of_a_fixed_curve(100, SppConfig(ratio=0.5))
    return [
        _claim(
            "change is A at rank 0, uA at N, 0 at the quota, and symmetric: worst error", worst, "<=", 1e-12
        ),
        _claim(
            "updates with ranks among those left over updates with a fixed curve",
            share,
            "<",
            0.2,
            source=BRIEF,
        ),
    ]


def updates_of_a_fixed_curve(groups: int, config: SppConfig) -> int:
    """Return after how many updates the share is gone where removed groups keep their ranks."""
    quota, count = quota_of(groups, config.ratio), 0
    step = changes(torch.arange(groups), quota, config.rise, config.bend)
    pruned = torch.zeros(groups, dtype=torch.float64)
    while int((pruned >= 1).sum()) < quota:
        pruned, count = torch.where(pruned >= 1, pruned, (pruned + step).clamp(0, 1)), count + 1
    return count


def quotas(quick: bool, make: Make) -> list[Claim]:
    """Count, in the weights, the groups that each layer lost, whether training was long enough or not."""
    network, wrong = trained(Lenet300), 0
    for seed in SEEDS[: 1 if quick else 3]:
        for structure, ratio, interval in (
            ("columns", 0.5, None), ("filters", 0.7, None), ("columns", 0.3, 9), ("filters", 0.35, 60),
        ):  # fmt: skip
            config = SppConfig(structure=structure, ratio=ratio, interval=interval, seed=seed)
            small = fit(
                network, pictures(), make(config, None), config=FitConfig(epochs=2, learning_rate=0.02)
            )
            for layer in ("fc2", "fc3") if structure == "columns" else ("fc1", "fc2"):
                weight = small.tensor(f"{layer}.weight")
                zero = (weight == 0).all(dim=0 if structure == "columns" else 1)
                wrong += int(zero.sum()) != math.ceil(ratio * len(zero) - 1e-9)
    return [_claim("layers that lost other than ceil(R N) groups, counted", wrong, "==", 0.0)]


def draws(make: Make) -> list[Claim]:
    """Watch one layer while it trains: how often each group is kept, whole or not, and what comes back."""
    watch = Watch(make(SppConfig(ratio=0.5, interval=25), ("2",)), "2")
    network, batch = classifier(0)
    train(network, batch, watch, steps=2000)
    sigmas = watch.sigmas()
    worst = float(sigmas.max()) if len(sigmas) else 0.0
    return [
        _claim(
            "groups of 24 long enough in doubt to be judged: at least all that go", len(sigmas), ">=", 12.0
        ),
        _claim("keep frequency against 1 - p: sigmas, worst of them", worst, "<=", 4.0),
        _claim("groups that were left out in part", watch.partial, "==", 0.0),
        _claim("share of weights left out whose bits a step leaves alone", watch.unchanged(), "==", 1.0),
    ]


class Watch(Hook):
    """Stands around Spp and notes what it does to one layer's columns, from the weights alone."""

    def __init__(self, inner: Spp, layer: str) -> None:
        self.inner, self.layer = inner, layer
        self.partial = self.same = self.out = 0
        self.surplus = self.variance = torch.zeros(())

    def attach(self, network: nn.Module) -> None:
        """Start counting."""
        self.inner.attach(network)
        self.surplus = self.variance = torch.zeros_like(self.inner.chances[self.layer].pruned)

    def before_forward(self, network: nn.Module) -> None:
        """Compare the weights that a batch sees with those before."""
        assert isinstance(network, GraphNetwork)
        weight = network.tensor(f"{self.layer}.weight")
        self.before = weight.detach().clone()
        pruned = self.inner.chances[self.layer].pruned
        self.inner.before_forward(network)
        zero = weight == 0
        self.left_out = zero.all(0) & (self.before != 0).any(0)
        self.partial += int((zero.any(0) & ~zero.all(0)).sum())
        open_ = (pruned < 1).double()
        self.surplus = self.surplus + open_ * ((~zero.all(0)).double() - (1 - pruned))
        self.variance = self.variance + pruned * (1 - pruned)

    def after_backward(self, step: Step) -> None:
        """Pass on."""
        self.inner.after_backward(step)

    def after_step(self, step: Step) -> None:
        """Compare the bits of what was left out with those before the step."""
        assert isinstance(step.network, GraphNetwork)
        self.inner.after_step(step)
        back = self.left_out & (self.inner.chances[self.layer].pruned < 1)
        now = step.network.tensor(f"{self.layer}.weight").detach()
        self.same += int((now.view(torch.int32) == self.before.view(torch.int32))[:, back].sum())
        self.out += len(now) * int(back.sum())

    def sigmas(self) -> Tensor:
        """Return the deviations of the groups that were in doubt often enough to be judged."""
        judged = self.variance >= 25
        return self.surplus[judged].abs() / self.variance[judged].sqrt()

    def unchanged(self) -> float:
        """Return the share of left-out weights that came back as they were; 0 where none came back."""
        return self.same / self.out if self.out else 0.0


def classifier(seed: int, useless: int | None = None) -> tuple[GraphNetwork, tuple[Tensor, Tensor]]:
    """Return a small network and a task for it, drawn from the seed; one input may be zero throughout."""
    draw = torch.Generator().manual_seed(rng.derive(seed, "claims", "spp"))
    x = torch.randn(512, 12, generator=draw)
    if useless is not None:
        x[:, useless] = 0
    teacher = torch.randn(12, 4, generator=draw)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 4))
    return trace(model.eval(), x[:1]), (x, (torch.tanh(x) @ teacher).argmax(1))


def train(
    network: GraphNetwork, batch: tuple[Tensor, Tensor], hook: Hook, *, steps: int,
    until: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Train in place with Nesterov momentum and weight decay, all examples at once, until told to stop."""
    x, y = batch
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    hook.attach(network)
    for index in range(steps):
        hook.before_forward(network)
        outputs = network(x)
        optimizer.zero_grad()
        F.cross_entropy(outputs, y).backward()  # type: ignore[no-untyped-call]
        step = Step(network, x, outputs, y, index, steps, 0.05)
        hook.after_backward(step)
        optimizer.step()
        hook.after_step(step)
        if until():
            return
    hook.finish(network)


class Suppress(Hook):
    """Shrinks one important column of a layer until its p is about a half, then gives it back.

    Stands after the hook that prunes.

    Attributes:
        recovered: whether its p was 0 again while groups were still to go, and it is there at the end.
    """

    def __init__(self, inner: Spp, layer: str, place: int) -> None:
        self.inner, self.layer, self.place = inner, layer, place
        self.recovered = False

    def attach(self, network: nn.Module) -> None:
        """Choose the column: the one at this place from the largest norm down."""
        weight = self._weight(network)
        self.column = int(weight.abs().sum(0).argsort(descending=True)[self.place])
        self.held: Tensor | None = weight[:, self.column].clone()
        self.returned = False

    def after_step(self, step: Step) -> None:
        """Hold the column down, or look at whether it is trusted again."""
        chances = self.inner.chances[self.layer]
        weight, pruned = self._weight(step.network), float(chances.pruned[self.column])
        if self.held is not None:
            weight[:, self.column] = self.held * (0.01 if pruned < 0.5 else 1.0)
            self.held = self.held if pruned < 0.5 else None
        else:
            self.returned |= pruned == 0 and chances.to_go > 0

    def finish(self, network: nn.Module) -> None:
        """Look whether it survived."""
        self.recovered = self.returned and bool((self._weight(network)[:, self.column] != 0).any())

    def _weight(self, network: nn.Module) -> Tensor:
        assert isinstance(network, GraphNetwork)
        return network.tensor(f"{self.layer}.weight").detach()


def recovery(seeds: int, make: Make) -> list[Claim]:
    """Suppress important columns of LeNet-300-100 for a while, with the method and with the control."""
    network, shares = trained(Lenet300), []
    for build in (make, Deterministic):
        found = []
        for seed in range(seeds):
            hook = build(SppConfig(ratio=0.5, seed=seed), ("fc2",))
            suppress = Suppress(hook, "fc2", place=seed)
            config = FitConfig(epochs=8, learning_rate=0.02, seed=seed)
            fit(network, pictures(), hook, suppress, config=config)
            found.append(suppress.recovered)
        shares.append(sum(found) / len(found))
    return [
        _claim("share of suppressed important columns whose p returns to 0", shares[0], "==", 1.0),
        _claim("the same with deterministic removal", shares[1], "==", 0.0),
    ]


def planted(make: Make) -> list[Claim]:
    """Zero one input of a small network, train it, prune it, and see which column goes first."""
    first = []
    for seed in range(40):
        useless = seed % 12
        network, batch = classifier(seed, useless)
        train(network, batch, Hook(), steps=200)
        hook = make(SppConfig(ratio=0.5, interval=5, seed=seed), ("0",))

        def gone(hook: Spp = hook) -> Tensor:
            return (hook.chances["0"].pruned == 1).nonzero().flatten()

        train(network, batch, hook, steps=400, until=lambda gone=gone: len(gone()) > 0)  # type: ignore[misc]
        first.append(gone().tolist() == [useless])
    return [_claim("planted useless column goes first: share of 40 seeds", sum(first) / 40, ">=", 0.95)]


FILTERS_LOSE = "not so for filters here, likely because one that is left out takes its whole channel along"
COMPARED: tuple[tuple[Literal["columns", "filters"], Verdict, str], ...] = (
    ("columns", "proved", ""),
    ("filters", "refuted", FILTERS_LOSE),
)


def accuracy(make: Make) -> list[Claim]:
    """Compare with the control on LeNet-5 at a fifth of the groups: points of accuracy, mean of the seeds."""
    claims = []
    for structure, expected, reason in COMPARED:
        data, network = pictures(), trained(Lenet5)
        gains = []
        for seed in FRESH:
            config = SppConfig(structure=structure, ratio=0.8, seed=seed)
            scores = []
            for build in (make, Deterministic):
                how = FitConfig(learning_rate=0.02, seed=seed)
                scores.append(evaluate(fit(network, data, build(config, None), config=how), data.test, data))
            gains.append(100 * (scores[0] - scores[1]))
        what = f"points above deterministic removal, 80 % of {structure}, mean of {len(FRESH)} seeds"
        claims.append(_claim(what, sum(gains) / len(gains), ">", 0.0, expected=expected, reason=reason))
    return claims
