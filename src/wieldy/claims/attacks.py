"""Attacks as strong as they should be: stronger ones win, gradients beat noise, twins answer as files do.

The embedded network, in float32 and in eight bits, is attacked on its test pictures, each on its own twin;
the saved file says in the runtime what has fallen. That a stronger attack and a larger radius leave less is
made, since one starts from the other. So PGD is also held against FGSM, and one radius against another, on
the twin with nothing handed on. What hidden gradients look like: Athalye et al. 2018.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wieldy.assure.attack.gradient import Ball, Found, fgsm, pgd
from wieldy.assure.attack.search import LIMIT, Effort, Outcome, Subject, attacked
from wieldy.assure.attack.twin import Twin, twin_of
from wieldy.assure.pair import in_batches
from wieldy.assure.pixels import Pixels
from wieldy.assure.statistics import paired_mean
from wieldy.claims.subjects import claiming, pictures
from wieldy.compress.quantize import quantize
from wieldy.core import lock, rng
from wieldy.core.data import Data
from wieldy.core.first import first_inputs
from wieldy.core.progress import Progress
from wieldy.core.records import Claim, Interval
from wieldy.graph.trace import trace
from wieldy.package.read import Package, read
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package

SOURCE = "Madry et al., ICLR 2018; Croce, Hein, ICML 2020; Athalye, Carlini, Wagner, ICML 2018, section 3.1"
_claim = claiming("attacks", SOURCE)
Make = Callable[[Package, Pixels], Twin]
Mask = NDArray[np.bool_]
AGREEMENT, LEFT = 0.999, 0.05


@dataclass(frozen=True)
class Scale:
    """How much is attacked.

    Attributes:
        pictures: test pictures on which twin and saved file are compared.
        attacked: how many of these are attacked by all attacks.
        alone: how many of these are attacked by one attack, from nothing.
        effort: how long attacks go on.
        radii: ascending, at least two.
        deep: at how many of these, the largest ones, pictures are attacked by all attacks.
    """

    pictures: int
    attacked: int
    alone: int
    effort: Effort
    radii: tuple[float, ...] = (2 / 255, 4 / 255)
    deep: int = 2


FULL = Scale(pictures=3000, attacked=3000, alone=400, effort=Effort(pgd=5, apgd=10))
QUICK = Scale(pictures=1000, attacked=120, alone=60, effort=Effort(), deep=1)


def measure(quick: bool, progress: Progress, make: Make = twin_of) -> list[Claim]:
    """Return the claims; `make` makes the twins, so that a fake can be shown to fail."""
    from wieldy.zoo.networks.residual import residual28

    data, scale = pictures(), QUICK if quick else FULL
    network, found = trace(residual28(), torch.zeros(1, 1, 28, 28)), []
    kinds = {"float32": network, "eight bits": quantize(network, data)[0]}
    with progress.task("attacks", len(kinds)) as task, tempfile.TemporaryDirectory() as folder:
        for name, kind in kinds.items():
            path = save(kind, Path(folder) / "net.wieldy")
            with lock.working():
                found += on_network(name, path, data, scale, make)
            task.advance(1, name)
    return found


def on_network(name: str, path: Path, data: Data, scale: Scale, make: Make = twin_of) -> list[Claim]:
    """Attack a saved network on the first test pictures."""
    mean, std = (np.asarray(side, np.float32) for side in data.normalisation)
    of = Pixels(mean, std, "")
    subject = Subject(
        make(read(path), of), in_batches(open_package(path)), of, *_first(data, of, scale.pictures)
    )
    few, radii = _part(subject, scale.attacked), scale.radii[-scale.deep :]
    outcome = attacked(few, radii, scale.effort, seed=0)
    differ, judged = _apart(subject)
    return [
        _claim(
            f"{name}: share of {judged + outcome.judged:,} answers that twin and file have in common",
            1 - (differ + outcome.judged - outcome.equal) / (judged + outcome.judged), ">=", AGREEMENT,
        ),
        *_in_order(name, outcome, radii),
        *_unhidden(name, outcome, radii[-1]),
        *_alone(name, _part(subject, scale.alone), scale),
    ]  # fmt: skip


def _in_order(name: str, outcome: Outcome, radii: tuple[float, ...]) -> list[Claim]:
    """Robust accuracy over the test set, in the saved file."""
    found = []
    for stronger, weaker in (("pgd", "fgsm"), ("apgd", "pgd")):
        gaps = [_points(outcome.attacked[stronger, at], outcome.attacked[weaker, at]).high for at in radii]
        what = f"{name}: robust accuracy, {stronger} minus {weaker}, points, upper end, worst radius"
        found.append(_claim(what, max(gaps), "<=", 0))
    return found


def _unhidden(name: str, outcome: Outcome, radius: float) -> list[Claim]:
    gap = _points(outcome.noise, outcome.attacked["fgsm", radius])
    return [
        _claim(f"{name}: accuracy under noise minus under FGSM, points, lower end", gap.low, ">", 0),
        _claim(f"{name}: share that stands at radius {LIMIT:g}", outcome.limit.mean(), "<=", LEFT),
    ]


def _alone(name: str, subject: Subject, scale: Scale) -> list[Claim]:
    """One attack at a time, on the twin, with nothing handed on."""
    small, large = (Ball(subject.pixels, subject.labels, radius) for radius in scale.radii[-2:])
    one = ~fgsm(subject.twin, large).seen.wrong.numpy()
    many, fewer = (_by_pgd(subject, ball, scale.effort.pgd) for ball in (large, small))
    return [
        _claim(
            f"{name}: PGD from random points alone minus FGSM alone, points, upper end",
            _points(many, one).high, "<", 0,
        ),
        _claim(
            f"{name}: PGD alone at {_in_255ths(large)} minus at {_in_255ths(small)}, points, upper end",
            _points(many, fewer).high, "<", 0,
        ),
    ]  # fmt: skip


def _by_pgd(subject: Subject, ball: Ball, steps: int) -> Mask:
    """Return where the twin is right after one path of PGD from random points."""
    drawn = rng.generator(0, "claims", "attacks").uniform(-1, 1, ball.pixels.shape).astype(np.float32)
    start = ball.nearest(ball.pixels + ball.epsilon * torch.from_numpy(drawn))
    known = Found(start, subject.twin.seen(start, ball.labels))
    right: Mask = ~pgd(subject.twin, ball, known, steps=steps).seen.wrong.numpy()
    return right


def _first(data: Data, of: Pixels, count: int) -> tuple[Tensor, Tensor]:
    (inputs,) = first_inputs(data.test, count, count)
    labels = next(labels for _, labels in data.test.batches(count))
    return torch.from_numpy(of.from_inputs(np.asarray(inputs))), torch.from_numpy(np.asarray(labels))


def _part(subject: Subject, count: int) -> Subject:
    return Subject(subject.twin, subject.run, subject.of, subject.pixels[:count], subject.labels[:count])


def _apart(subject: Subject) -> tuple[int, int]:
    """Return on how many pictures twin and saved file differ, and how many there are."""
    answers = subject.twin.seen(subject.pixels, subject.labels).guess.numpy()
    logits = np.asarray(subject.run(subject.of.to_inputs(subject.pixels.numpy())))
    return int((logits.argmax(axis=1) != answers).sum()), len(answers)


def _points(one: Mask, other: Mask) -> Interval:
    return paired_mean(100 * (one.astype(np.float64) - other.astype(np.float64)))


def _in_255ths(ball: Ball) -> str:
    return f"{255 * ball.epsilon:g}/255"
