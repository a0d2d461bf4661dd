"""Bounds that hold: nothing that was tried leaves them, and where an exact answer is known they are at it.

Sources: Gowal et al. 2018 (arXiv 1810.12715); Zhang et al., NeurIPS 2018 (arXiv 1811.00866). The networks are
drawn here: dense ones, some with shortcuts, and convolutions with norms, poolings, groups, clamps, shortcuts
and branches, each with a box around a random input. What is tried runs in float64 in torch's own modules,
which the bounds know nothing of, and is compared without any slack.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.assure.bounds.enclosure import Method, enclose
from wieldy.assure.bounds.relaxed import Bend, Lines, Relax, relax
from wieldy.assure.bounds.rounding import UNIT, Box
from wieldy.assure.bounds.steps import Steps, steps_of
from wieldy.claims.subjects import claiming
from wieldy.core import rng
from wieldy.core.progress import Progress
from wieldy.core.records import Claim
from wieldy.graph.trace import trace
from wieldy.train.threads import torch_threads

SOURCE = "arXiv 1810.12715; arXiv 1811.00866"
_claim = claiming("bounds", SOURCE)
DERIVED = "derived in assure/bounds/rounding.py"
NETWORKS, SAMPLES = 50, 20_000  # a million in all
QUICK_NETWORKS, QUICK_SAMPLES = 12, 4_000
STARTS, STEPS = 4, 12  # of PGD, for each output and either way
DEPTHS = (1, 2, 3, 5, 8, 12)  # of affine networks
WATCHED, WATCHED_SAMPLES = range(12), 1000  # networks on which wrong signs are looked for
ULPS = 8.0  # times the number of terms: how far an exact answer may be from its bound
Floats = NDArray[np.float64]


class Dense(nn.Module):
    """Linear layers with ReLUs between them; with shortcuts, each hidden layer adds to what it reads."""

    def __init__(self, widths: tuple[int, ...], *, shortcuts: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.shortcuts = shortcuts

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, first width) to (n, last width)."""
        for number, layer in enumerate(self.layers):
            before, x = x, F.relu(layer(x)) if number < len(self.layers) - 1 else layer(x)
            x = x + before if self.shortcuts and x.shape == before.shape else x
        return x


class Pictures(nn.Module):
    """Two convolutions, the second in groups beside a branch, with what each kind of them has after it."""

    def __init__(self, kind: int) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2, bias=False)
        self.third = nn.Conv2d(4, 3, 2, stride=2)
        self.last = nn.Linear(12 if kind < 2 else 63, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 2, 6, 6) to (n, 4)."""
        x = F.relu(self.norm(self.first(x)))
        if self.kind == 0:
            x = F.relu(self.second(x) + x)
            return self.last(F.max_pool2d(F.relu(self.third(x)), 2, 1).flatten(1))  # type: ignore[no-any-return]
        if self.kind == 1:
            x = F.relu6(3 * self.second(F.max_pool2d(x, 3, 1, 1)))
            return self.last(F.avg_pool2d(self.third(x), 2, 1).flatten(1))  # type: ignore[no-any-return]
        x = torch.cat([F.hardtanh(self.second(x)), x - 0.5], 1)
        x = torch.cat([self.third(x[:, :4]), self.third(x[:, 4:])], 1)
        return self.last(torch.cat([x.flatten(1), F.relu(x.mean(1)).flatten(1)], 1))  # type: ignore[no-any-return]


class Bends(nn.Module):
    """Clamps beside what they are given, so that the two are large together or cancel out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 2) to (n, 4)."""
        x = self.first(x)
        return self.last(torch.cat([x, F.relu(x), F.hardtanh(2 * x), F.relu6(8 * x)], 1))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Case:
    """A network, its steps, and a box of inputs."""

    model: nn.Module  # in float64
    steps: Steps
    low: Floats
    high: Floats

    def bounds(self, method: Method = "both", lines: Relax = relax) -> tuple[Floats, Floats]:
        """Return bounds on the outputs, (outputs,)."""
        low, high = enclose(self.steps, self.low, self.high, method=method, lines=lines)
        return low[0], high[0]


@cache
def drawn(number: int) -> Case:
    """Return a random network and a box, by number."""
    kinds: tuple[tuple[Callable[[], nn.Module], tuple[int, ...]], ...] = (
        (Bends, (2,)),
        (lambda: Dense((4, 10, 8, 3), shortcuts=False), (4,)),
        (lambda: Dense((5, 8, 8, 8, 8, 3), shortcuts=True), (5,)),
        *((partial(Pictures, kind), (2, 6, 6)) for kind in range(3)),
    )
    make, shape = kinds[number % len(kinds)]
    return case_of(weighted(make, number), shape, number, widest=2.0 if make is Bends else 0.3)


def weighted(make: Callable[[], nn.Module], number: int) -> nn.Module:
    """Return a network with weights that keep numbers about as large as they are, drawn by number."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive(0, "claims", "bounds", number))
        model = make()
        for module in model.modules():
            for name, tensor in module.named_parameters(recurse=False):
                nn.init.normal_(tensor, std=0.3 if name == "bias" else 1.2 / tensor[0].numel() ** 0.5)
            for name, running in module.named_buffers(recurse=False):
                if name.startswith("running"):
                    nn.init.uniform_(running, 0.5, 1.5)
    return model.eval()


def case_of(model: nn.Module, shape: tuple[int, ...], number: int, widest: float = 0.3) -> Case:
    """Return a network with a box around a random input: radii up to a thirtieth of `widest`, or to that."""
    draw = rng.generator(0, "claims", "bounds", "box", number)
    centre, widest = draw.normal(size=(1, *shape)), widest * 30 ** draw.uniform(-1, 0)
    radius = draw.uniform(0, widest, centre.shape)
    network = trace(model, torch.zeros(1, *shape))
    steps = steps_of(network.program, network.arrays())
    return Case(copy.deepcopy(model).double(), steps, centre - radius, centre + radius)


def measure(quick: bool, progress: Progress, lines: Relax = relax) -> list[Claim]:
    """Return the claims; `lines` relaxes what bends, so that a fake can be shown to fail."""
    networks, samples = (QUICK_NETWORKS, QUICK_SAMPLES) if quick else (NETWORKS, SAMPLES)
    with torch_threads(1), progress.task("bounds", networks + 2) as task:
        cases = []
        for number in range(networks):
            cases.append(tried(drawn(number), samples, number, lines))
            task.advance(1, f"network {number + 1}")
        claims = [*soundness(cases), *widths(cases)]
        claims += exactness(lines)
        task.advance(1, "exact answers")
        claims.append(wrong_signs())
        task.advance(1, "wrong signs")
    return claims


@dataclass(frozen=True)
class Tried:
    """What one network's bounds were worth.

    Attributes:
        samples: how many were tried.
        outside: how many values of samples lie outside the bounds.
        attacked: how many values that PGD found lie outside.
        width: mean width of the bounds, by method.
        apart: ends that are not those of the intersection.
    """

    samples: int
    outside: int
    attacked: int
    width: dict[str, float]
    apart: int


def tried(case: Case, samples: int, seed: int, lines: Relax = relax) -> Tried:
    """Bound a network, and try to leave the bounds."""
    (low, high), *others = (case.bounds(method, lines) for method in ("both", "ibp", "crown"))
    (first_low, first_high), (second_low, second_high) = others
    ends = (low != np.maximum(first_low, second_low)) | (high != np.minimum(first_high, second_high))
    found = {name: float((b - a).mean()) for name, (a, b) in zip(("ibp", "crown"), others, strict=True)}
    return Tried(
        samples=samples,
        outside=sum(outside(values, low, high) for values in sampled(case, samples, seed)),
        attacked=sum(outside(values, low, high) for values in attacked(case, seed)),
        width=found | {"both": float((high - low).mean())},
        apart=int(ends.sum()),
    )


def outside(values: Floats, low: Floats, high: Floats) -> int:
    """Count (n, outputs) values beyond their bounds."""
    return int(((values < low) | (values > high) | np.isnan(values)).sum())


@torch.no_grad()
def sampled(case: Case, samples: int, seed: int) -> Iterator[Floats]:
    """Yield outputs at inputs of the box: anywhere, in corners, and with some entries at their ends."""
    draw = rng.generator(seed, "claims", "bounds", "samples")
    for size in np.diff(np.linspace(0, samples, -(-samples // 2000) + 1).astype(int)):
        share = draw.uniform(size=(size, *case.low.shape[1:]))
        at_end = draw.uniform(size=size).reshape(-1, *(1,) * (share.ndim - 1)) * 3 - 1  # a third: none, all
        share = np.where(draw.uniform(size=share.shape) < at_end, share.round(), share)
        yield _outputs(case, np.clip(case.low + share * (case.high - case.low), case.low, case.high))


def attacked(case: Case, seed: int) -> Iterator[Floats]:
    """Yield the outputs along PGD (Madry et al. 2018) towards both ends of every output."""
    draw = rng.generator(seed, "claims", "bounds", "starts")
    low, high = torch.from_numpy(case.low), torch.from_numpy(case.high)
    outputs = _outputs(case, case.low).shape[1]
    goals = torch.eye(outputs, dtype=torch.float64).repeat(2 * STARTS, 1)
    goals[: STARTS * outputs] *= -1
    x = low + torch.from_numpy(draw.uniform(size=(len(goals), *low.shape[1:]))) * (high - low)
    for step in range(STEPS):
        x = x.clamp(low, high).requires_grad_()
        found = case.model(x)
        yield found.detach().numpy()
        (slope,) = torch.autograd.grad((goals * found).sum(), x)
        x = x.detach() + (1 - step / STEPS) * (high - low) * slope.sign()
    yield _outputs(case, x.clamp(low, high).numpy())


@torch.no_grad()
def _outputs(case: Case, inputs: Floats) -> Floats:
    found: Floats = case.model(torch.from_numpy(inputs)).numpy()
    return found


def soundness(found: list[Tried]) -> list[Claim]:
    """State what was tried, and what left the bounds."""
    samples = sum(case.samples for case in found)
    counted = {
        f"values outside the bounds of {len(found)} networks, of {samples:,} samples": "outside",
        "values outside the bounds, along PGD on every output": "attacked",
        "ends that are not those of the intersection": "apart",
    }
    return [
        _claim(what, sum(getattr(case, name) for case in found), "==", 0.0) for what, name in counted.items()
    ]


def widths(found: list[Tried]) -> list[Claim]:
    """Compare the widths of both kinds of bounds."""
    ratios = [case.width["crown"] / case.width["ibp"] for case in found]
    means = {name: np.mean([case.width[name] for case in found]) for name in ("ibp", "crown")}
    return [
        _claim("mean width by CROWN over mean width by intervals", means["crown"] / means["ibp"], "<", 1.0),
        _claim("the same on the network where CROWN gains least", max(ratios), "<", 1.0),
    ]


def exactness(lines: Relax = relax) -> list[Claim]:
    """Compare bounds with answers computed in fractions: affine networks, and ReLU networks of one input."""
    one = [distances(affine_case(number, (number % 5 + 1, 4)), "ibp", lines) for number in range(10)]
    deep = [distances(affine_case(depth, (5,) * depth + (3,)), "crown", lines) for depth in DEPTHS]
    bent = [bent_case(number) for number in range(20)]
    inside = sum(beyond(case.bounds("both", lines), extremes(case)) for case in bent)
    what = f"exact extremes of {len(bent)} ReLU networks of one input, beyond the bounds"
    return [
        *_distance_claims("intervals on one affine layer", one),
        *_distance_claims(f"CROWN on affine networks of up to {max(DEPTHS)} layers", deep),
        _claim(what, inside, "==", 0.0),
    ]


@cache
def affine_case(seed: int, widths: tuple[int, ...]) -> Case:
    """Return linear layers with nothing between them, and a box."""
    layers = (nn.Linear(before, after) for before, after in pairwise(widths))
    return case_of(weighted(lambda: nn.Sequential(*layers), seed), widths[:1], seed)


@cache
def bent_case(seed: int) -> Case:
    """Return a ReLU network of one input, and an interval."""
    return case_of(weighted(lambda: Dense((1, 6, 6, 2), shortcuts=False), seed), (1,), seed)


def distances(case: Case, method: Method, lines: Relax = relax) -> tuple[int, float]:
    """Return how many exact ends of an affine network lie beyond its bounds, and how far from them they are.

    The distance is the largest, over n u (|A| |x| + |b|), where n adds up inputs and outputs of all layers, A
    and b are multiplied out in magnitudes, and x is the largest in the box.
    """
    low, high = fractions(case.low[0]), fractions(case.high[0])
    reach, terms = np.maximum(abs(case.low), abs(case.high))[0], 0
    matrix, shift = fractions(np.eye(len(low))), low * 0
    for weight, bias in layers_of(case.model):
        matrix, shift = fractions(weight) @ matrix, fractions(weight) @ shift + fractions(bias)
        reach, terms = np.abs(weight) @ reach + np.abs(bias), terms + sum(weight.shape)
    positive, negative = np.where(matrix > 0, matrix, 0), np.where(matrix < 0, matrix, 0)
    exact = positive @ low + negative @ high + shift, positive @ high + negative @ low + shift
    found = case.bounds(method, lines)
    gaps = [sign * (end - fractions(of)) for sign, end, of in zip((1, -1), exact, found, strict=True)]
    farthest = max(float((gap.astype(np.float64) / (terms * UNIT * reach)).max()) for gap in gaps)
    return beyond(found, exact), farthest


def extremes(case: Case) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the exact smallest and largest outputs of a dense ReLU network of one input, in fractions.

    It is linear between the points where a unit passes through zero, so an output is smallest at one of those
    or at an end.
    """
    points = fractions(np.concatenate([case.low, case.high])[:, 0])
    values = points[:, None]
    *hidden, last = layers_of(case.model)
    for weight, bias in hidden:
        values = values @ fractions(weight).T + fractions(bias)
        points, values = _with_crossings(points, values)
        values = np.where(values > 0, values, 0)
    values = values @ fractions(last[0]).T + fractions(last[1])
    return values.min(axis=0), values.max(axis=0)


def _with_crossings(points: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Add the points between (n,) neighbours where one of (n, units) values is zero."""
    shares = [
        sorted({a / (a - b) for a, b in zip(first, second, strict=True) if a * b < 0})
        for first, second in pairwise(values)
    ]
    more_points, more_values = [], []
    for index, inner in enumerate(shares):
        for share in (Fraction(0), *inner):
            more_points.append(points[index] + share * (points[index + 1] - points[index]))
            more_values.append(values[index] + share * (values[index + 1] - values[index]))
    return np.array([*more_points, points[-1]]), np.array([*more_values, values[-1]])


def beyond(found: tuple[Floats, Floats], exact: tuple[NDArray[Any], NDArray[Any]]) -> int:
    """Count exact ends beyond the bounds."""
    low, high = (fractions(end) for end in found)
    return int((exact[0] < low).sum() + (exact[1] > high).sum())


def fractions(array: Floats) -> NDArray[Any]:
    """Return the same numbers, to compute with exactly."""
    return np.asarray(np.vectorize(Fraction, otypes=[object])(array))


def layers_of(model: nn.Module) -> list[tuple[Floats, Floats]]:
    """Return the weights and biases of the linear layers, in order."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers]


def _distance_claims(what: str, found: list[tuple[int, float]]) -> list[Claim]:
    far = f"farthest from exact, over n u (|A| |x| + |b|): {what}"
    return [
        _claim(f"exact ends beyond the bounds: {what}", sum(count for count, _ in found), "==", 0.0),
        _claim(far, max(distance for _, distance in found), "<=", ULPS, source=DERIVED),
    ]


def wrong_signs() -> Claim:
    """Turn one sign of the relaxation at a time, and count those that samples or PGD find out."""
    caught = 0
    for wrong in WRONG.values():
        found = (tried(drawn(number), WATCHED_SAMPLES, number, wrong) for number in WATCHED)
        caught += any(case.outside + case.attacked for case in found)
    what = f"wrong signs in a relaxation that are found out, of {len(WRONG)}"
    return _claim(what, caught, "==", len(WRONG))


def _with(**signs: str) -> Relax:
    """Return a relaxation that is right but for fields that are taken from others, or their negatives."""

    def wrong(bend: Bend, box: Box) -> Lines:
        lines = relax(bend, box)
        return replace(
            lines,
            **{
                name: -getattr(lines, of[1:]) if of.startswith("-") else getattr(lines, of)
                for name, of in signs.items()
            },
        )

    return wrong


WRONG: dict[str, Relax] = {
    "lower slope": _with(low_slope="-low_slope"),
    "lower height": _with(low_shift="-low_shift"),
    "upper slope": _with(high_slope="-high_slope"),
    "upper height": _with(high_shift="-high_shift"),
    "upper and lower": _with(
        low_slope="high_slope", low_shift="high_shift", high_slope="low_slope", high_shift="low_shift"
    ),
}
