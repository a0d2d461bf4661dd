"""All attacks on one network at growing radii: its twin is climbed, and the saved file says what has fallen.

What a weaker attack or a smaller radius has brought down stays down. What it has not, the stronger attack
starts from: robust accuracy rises with neither, in the saved file too. That order is made, so it shows
nothing. What shows hidden gradients is looked at by itself: noise of the same size, and a radius at which
every picture can turn grey (Athalye, Carlini, Wagner, ICML 2018, section 3.1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wieldy.assure.attack.gradient import Ball, Found, apgd, one_step, pgd
from wieldy.assure.attack.twin import BATCH, Twin
from wieldy.assure.pair import Mask, Run
from wieldy.assure.pixels import Pixels
from wieldy.core import rng

LIMIT = 0.5  # the radius at which every picture can turn grey
Climb = Callable[[Ball, Found, Tensor], Found]  # (ball, known, indices): of the examples that stand


@dataclass(frozen=True)
class Effort:
    """How long attacks go on.

    Attributes:
        pgd, apgd: steps of each path.
        restarts: paths of PGD from random points, beside the one from the weaker attack's.
    """

    pgd: int = 4
    apgd: int = 8
    restarts: int = 1


@dataclass(frozen=True)
class Subject:
    """A network under attack.

    Attributes:
        twin: of the saved file.
        run: the saved file in the runtime.
        of: how pixels become its inputs.
        pixels: (n, channels, height, width) float32 in [0, 1].
        labels: (n,) int64, the right answers.
    """

    twin: Twin
    run: Run
    of: Pixels
    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Outcome:
    """What became of a network, in the saved file; masks are (n,), true where it is right.

    Attributes:
        clean: on the pictures themselves.
        attacked: by attack (`fgsm`, `pgd`, `apgd`) and radius.
        noise: under random signs times the largest radius.
        limit: under PGD at radius 0.5.
        equal, judged: of all pictures on which twin and saved file were compared, those with equal answers.
    """

    clean: Mask
    attacked: dict[tuple[str, float], Mask]
    noise: Mask
    limit: Mask
    equal: int
    judged: int


def attacked(subject: Subject, epsilons: Sequence[float], effort: Effort, seed: int) -> Outcome:
    """Attack the pictures that a network is right on, and return on which it still is.

    Args:
        epsilons: radii, ascending.
        seed: of random starts and of noise; they do not depend on the network.

    Cost: one gradient for each example, and at each radius, where it stands, `effort.pgd` for each path and
    `effort.apgd` and one; a run in the runtime for each attack.
    """
    siege = _Siege(subject, effort, seed)
    clean = siege.clean()
    found: dict[tuple[str, float], Mask] = {}
    by_pgd = by_apgd = clean
    for epsilon in epsilons:
        ball = Ball(subject.pixels, subject.labels, epsilon)
        by_fgsm = siege.one_step(ball, clean)
        by_pgd = siege.many_steps(siege.pgd, ball, by_fgsm, by_pgd)
        by_apgd = siege.many_steps(siege.apgd, ball, by_pgd, by_apgd)
        stages = {"fgsm": by_fgsm, "pgd": by_pgd, "apgd": by_apgd}
        found |= {(name, epsilon): stage.standing.numpy() for name, stage in stages.items()}
    noise = siege.noise(Ball(subject.pixels, subject.labels, epsilons[-1]), clean)
    widest = Ball(subject.pixels, subject.labels, max(LIMIT, epsilons[-1]))
    limit = siege.many_steps(siege.pgd, widest, by_apgd, by_apgd)
    masks = (clean.standing.numpy(), found, noise.numpy(), limit.standing.numpy())
    return Outcome(*masks, siege.equal, siege.judged)


@dataclass(frozen=True)
class _Stage:
    """The strongest points of all examples so far, and on which of these the saved file is right."""

    found: Found
    standing: Tensor


class _Siege:
    """A network under attack, with the saved file as the judge."""

    def __init__(self, subject: Subject, effort: Effort, seed: int) -> None:
        self._of, self._effort, self._seed = subject, effort, seed
        self._uphill: Tensor | None = None
        self.equal = self.judged = 0

    def clean(self) -> _Stage:
        """Return the pictures as they are."""
        subject = self._of
        found = Found(subject.pixels, subject.twin.seen(subject.pixels, subject.labels))
        return _Stage(found, self._right(found, torch.arange(len(subject.labels))))

    def one_step(self, ball: Ball, clean: _Stage) -> _Stage:
        """Attack every picture that the saved file is right on by FGSM."""
        if self._uphill is None and clean.standing.any():  # the same at every radius
            rows = clean.standing
            _, self._uphill = self._of.twin.slope(ball.pixels[rows], ball.labels[rows])
        return self._after(clean.found, clean.standing, self._fgsm, ball)

    def many_steps(self, climb: Climb, ball: Ball, weaker: _Stage, earlier: _Stage) -> _Stage:
        """Go on where both a weaker attack and an earlier radius left the saved file right."""
        known = earlier.found.copy()
        known.offer(torch.arange(len(ball.labels)), weaker.found.pixels, weaker.found.seen)
        return self._after(known, weaker.standing & earlier.standing, climb, ball)

    def pgd(self, ball: Ball, known: Found, rows: Tensor) -> Found:
        """Climb by PGD, from what is known and from random points."""
        starts = []
        for restart in range(self._effort.restarts):
            drawn = self._drawn("start", restart)[rows]
            starts.append(ball.pixels + ball.epsilon * (2 * drawn - 1))
        return pgd(self._of.twin, ball, known, starts, steps=self._effort.pgd)

    def apgd(self, ball: Ball, known: Found, rows: Tensor) -> Found:  # noqa: ARG002
        """Climb by APGD from what is known."""
        return apgd(self._of.twin, ball, known, steps=self._effort.apgd)

    def noise(self, ball: Ball, clean: _Stage) -> Tensor:
        """Return where the saved file is right under random signs times the radius."""
        rows, standing = clean.standing.nonzero()[:, 0], clean.standing.clone()
        signs = (self._drawn("noise", 0)[rows] - 0.5).sign()
        here = ball.at(rows)
        standing[rows] = self._answers(here.nearest(here.pixels + ball.epsilon * signs)) == here.labels
        return standing

    def _fgsm(self, ball: Ball, known: Found, rows: Tensor) -> Found:  # noqa: ARG002
        assert self._uphill is not None
        return one_step(self._of.twin, ball, self._uphill)

    def _after(self, known: Found, standing: Tensor, climb: Climb, ball: Ball) -> _Stage:
        rows, found, standing = standing.nonzero()[:, 0], known.copy(), standing.clone()
        if len(rows):
            new = climb(ball.at(rows), known.at(rows), rows)
            found.pixels[rows] = new.pixels
            found.seen.put(rows, new.seen)
            standing[rows] = self._right(new, rows)
        return _Stage(found, standing)

    def _right(self, found: Found, rows: Tensor) -> Tensor:
        """Return whether the saved file is right on points of some examples, and note where it differs."""
        answers = self._answers(found.pixels)
        self.equal += int((answers == found.seen.guess).sum())
        self.judged += len(rows)
        return answers == self._of.labels[rows]

    def _answers(self, pixels: Tensor) -> Tensor:
        """Run the saved file on pictures, so many at a time that it is compiled for one number of them."""
        if not len(pixels):
            return torch.zeros(0, dtype=torch.int64)
        size = min(BATCH, len(self._of.labels))
        short = -len(pixels) % size
        inputs = self._of.of.to_inputs(pixels.numpy())
        inputs = np.concatenate([inputs, np.zeros((short, *inputs.shape[1:]), np.float32)])
        pieces = [np.asarray(self._of.run(piece)) for piece in np.split(inputs, len(inputs) // size)]
        return torch.from_numpy(np.concatenate(pieces).argmax(axis=1)[: len(pixels)])

    def _drawn(self, purpose: str, turn: int) -> Tensor:
        """Return as many numbers as there are pixels, from 0 to 1: the same ones whatever stands."""
        draw = rng.generator(self._seed, "attacks", purpose, turn)
        found: NDArray[np.float32] = draw.random(self._of.pixels.shape, np.float32)
        return torch.from_numpy(found)
