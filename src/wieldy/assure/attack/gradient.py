"""FGSM, PGD and APGD-CE: pictures within epsilon of given ones, by every pixel, that mislead a network.

PGD and APGD keep, by example, the strongest point that they come by: one on which the twin is wrong rather
than one on which it is right, and then the one with the largest loss. An example on which the twin is clearly
wrong is left alone.

Sources: FGSM, Goodfellow, Shlens, Szegedy, ICLR 2015, section 4; PGD, Madry, Makelov, Schmidt, Tsipras,
Vladu, ICLR 2018, section 2.1; APGD, Croce, Hein, ICML 2020, section 3 and algorithm 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from wieldy.assure.attack.twin import Seen, Twin

PACE = 2.5  # epsilons that all steps of PGD reach together (Madry et al., section 5)
MOMENTUM = 0.75  # alpha of APGD: the share of a step that is the gradient's
RISES = 0.75  # rho of APGD: the share of steps that must raise the loss
FIRST, SHORTER, LEAST = 22, 3, 6  # hundredths of APGD's steps: the first period, and how the others shrink


@dataclass(frozen=True)
class Ball:
    """All pictures that an attack may choose from: each pixel within epsilon of its own, and within [0, 1].

    Attributes:
        pixels: (n, channels, height, width) float32, the centres.
        labels: (n,) int64, the right answers.
        epsilon: the radius.
    """

    pixels: Tensor
    labels: Tensor
    epsilon: float

    def nearest(self, points: Tensor) -> Tensor:
        """Return, for each of n points, the nearest that the ball holds."""
        low = (self.pixels - self.epsilon).clamp(min=0)
        high = (self.pixels + self.epsilon).clamp(max=1)
        return points.maximum(low).minimum(high)

    def at(self, rows: Tensor) -> "Ball":
        """Return the ball around the pictures at `rows`: indices, or a mask."""
        return Ball(self.pixels[rows], self.labels[rows], self.epsilon)


@dataclass
class Found:
    """The strongest points so far.

    Attributes:
        pixels: (n, channels, height, width) float32.
        seen: what the twin says there.
    """

    pixels: Tensor
    seen: Seen

    def copy(self) -> "Found":
        """Return a copy that can be altered."""
        return Found(
            self.pixels.clone(),
            Seen(self.seen.odds.clone(), self.seen.wrong.clone(), self.seen.guess.clone()),
        )

    def at(self, rows: Tensor) -> "Found":
        """Return the points at `rows`: indices, or a mask."""
        return Found(self.pixels[rows], self.seen.at(rows))

    def offer(self, rows: Tensor, pixels: Tensor, seen: Seen) -> None:
        """Take those of other points, for the examples at the indices `rows`, that are stronger."""
        better = seen.better(self.seen.at(rows))
        self.pixels[rows[better]] = pixels[better]
        self.seen.put(rows[better], seen.at(better))


def fgsm(twin: Twin, ball: Ball) -> Found:
    """Return what one step along the signs of the gradient leads to: x + epsilon sign(dCE/dx), within [0, 1].

    Cost: one gradient and one forward pass.

    Source: Goodfellow et al. 2015, section 4.
    """
    _, signs = twin.slope(ball.pixels, ball.labels)
    return one_step(twin, ball, signs)


def one_step(twin: Twin, ball: Ball, signs: Tensor) -> Found:
    """Return what FGSM does where the signs of the gradient at the pictures are known."""
    pixels = ball.nearest(ball.pixels + ball.epsilon * signs)
    return Found(pixels, twin.seen(pixels, ball.labels))


def pgd(twin: Twin, ball: Ball, known: Found, starts: Iterable[Tensor] = (), *, steps: int) -> Found:
    """Return the strongest of `known` and the points on paths x <- P(x + 2.5 epsilon / steps sign(dCE/dx)).

    P is `ball.nearest`.

    Args:
        known: points of a weaker attack; one path starts from each.
        starts: (n, channels, height, width) points, such as random ones; one path more from each.

    Cost: `steps` gradients and one forward pass for each path that does not mislead the twin before.

    Source: Madry et al. 2018, sections 2.1 (paths), 3 (random starts) and 5 (size of the steps).
    """
    best = known.copy()
    for start in (known.pixels, *starts):
        _climb(twin, ball, best, ball.nearest(start), steps)
    return best


def _climb(twin: Twin, ball: Ball, best: Found, start: Tensor, steps: int) -> None:
    rows = (~best.seen.clear).nonzero()[:, 0]
    x = start[rows]
    for _ in range(steps):
        if not len(rows):
            return
        here = ball.at(rows)
        seen, signs = twin.slope(x, here.labels)
        best.offer(rows, x, seen)
        x, going = here.nearest(x + PACE * ball.epsilon / steps * signs), ~seen.clear
        rows, x = rows[going], x[going]
    if len(rows):
        best.offer(rows, x, twin.seen(x, ball.labels[rows]))


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return after which of so many steps APGD looks at its progress.

    w_j = ceil(p_j steps) with p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06), up to 1;
    counted in whole hundredths, so that no ceiling falls prey to rounding.

    Source: Croce and Hein 2020, section 3.1.

    Example:
        >>> checkpoints(100)
        (22, 41, 57, 70, 80, 87, 93, 99)
    """
    found, at, period = [], FIRST, FIRST
    while at <= 100:
        found.append(-(-at * steps // 100))
        period = max(period - SHORTER, LEAST)
        at += period
    return tuple(dict.fromkeys(found))


@dataclass
class _Walk:
    """Where APGD is with each example that still stands, in the paper's letters.

    Attributes:
        rows: which examples.
        x, older: x_k and x_(k-1).
        odds, signs: the loss at x, and the signs of its gradient.
        size: eta, of the steps.
        rises: how many steps since the last checkpoint raised the loss.
        halved: whether eta was halved at the last checkpoint.
        top, top_odds, top_signs: x_max, f_max, and the signs there.
        last_top: f_max at the last checkpoint.
    """

    rows: Tensor
    x: Tensor
    older: Tensor
    odds: Tensor
    signs: Tensor
    size: Tensor
    rises: Tensor
    halved: Tensor
    top: Tensor
    top_odds: Tensor
    top_signs: Tensor
    last_top: Tensor

    def keep(self, going: Tensor) -> "_Walk":
        """Go on with some of the examples."""
        return _Walk(*(value[going] for value in vars(self).values()))


def apgd(twin: Twin, ball: Ball, known: Found, *, steps: int) -> Found:
    """Return the strongest of `known` and the points on APGD's path from there, on the cross entropy.

    z = P(x_k + eta sign(dCE/dx)), x_(k+1) = P(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_(k-1))), eta = 2 epsilon
    at first. At a checkpoint eta is halved, and the path goes on from the point of largest loss, where

    1. fewer than 0.75 of the steps since the last one raised the loss, or
    2. eta was not halved at the last one, and the largest loss did not grow since.

    A checkpoint is looked at as soon as its steps are done: all that condition 1 counts is known by then.

    Args:
        known: points of a weaker attack; the path starts from these.

    Cost: `steps` + 1 gradients where the twin is not misled before.

    Source: Croce and Hein 2020, section 3.1 and algorithm 1, with CE for the loss.
    """
    best = known.copy()
    rows = (~best.seen.clear).nonzero()[:, 0]
    if not len(rows):
        return best
    walk = _started(twin, ball, best, rows)
    at, last = checkpoints(steps), 0
    for k in range(steps):
        walk = _stepped(twin, ball, best, walk, share=MOMENTUM if k else 1.0)
        if not len(walk.rows):
            break
        if k + 1 in at:
            _check(walk, k + 1 - last)
            last = k + 1
    return best


def _started(twin: Twin, ball: Ball, best: Found, rows: Tensor) -> _Walk:
    x = best.pixels[rows]
    seen, signs = twin.slope(x, ball.labels[rows])
    size = torch.full((len(rows), 1, 1, 1), 2 * ball.epsilon, dtype=x.dtype)
    none = torch.zeros(len(rows), dtype=torch.int64)
    return _Walk(rows, x, x, seen.odds, signs, size, none, none.bool(), x, seen.odds, signs, seen.odds)


def _stepped(twin: Twin, ball: Ball, best: Found, walk: _Walk, share: float) -> _Walk:
    """Take one step with every example; those on which the twin is clearly wrong then stop."""
    here, x = ball.at(walk.rows), walk.x
    ahead = here.nearest(x + walk.size * walk.signs)
    new = here.nearest(x + share * (ahead - x) + (1 - share) * (x - walk.older))
    seen, signs = twin.slope(new, here.labels)
    best.offer(walk.rows, new, seen)
    higher = seen.odds > walk.top_odds
    of_pixels = higher[:, None, None, None]
    walk = _Walk(
        walk.rows, new, x, seen.odds, signs, walk.size, walk.rises + (seen.odds > walk.odds), walk.halved,
        torch.where(of_pixels, new, walk.top), torch.where(higher, seen.odds, walk.top_odds),
        torch.where(of_pixels, signs, walk.top_signs), walk.last_top,
    )  # fmt: skip
    return walk.keep(~seen.clear)


def _check(walk: _Walk, period: int) -> None:
    """Halve the steps of those that make no progress, and send them back to their best points."""
    stuck = (walk.rises < RISES * period) | (~walk.halved & (walk.top_odds == walk.last_top))
    of_pixels = stuck[:, None, None, None]
    walk.size = torch.where(of_pixels, walk.size / 2, walk.size)
    walk.x = torch.where(of_pixels, walk.top, walk.x)
    walk.signs = torch.where(of_pixels, walk.top_signs, walk.signs)
    walk.odds = torch.where(stuck, walk.top_odds, walk.odds)
    walk.halved, walk.last_top, walk.rises = stuck, walk.top_odds, torch.zeros_like(walk.rises)
