"""FGSM, PGD and APGD against closed forms, laws, and a second APGD that follows the paper line by line."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.assure.attack.gradient import Ball, Found, apgd, checkpoints, fgsm, pgd
from wieldy.assure.attack.twin import Seen, Twin
from wieldy.assure.pixels import Pixels

AS_THEY_ARE = Pixels(np.zeros(1, np.float32), np.ones(1, np.float32), "")
ULP = 2**-23  # of float32 at 1: x + epsilon is rounded


def small(seed: int = 0, scale: float = 1.0, classes: int = 4) -> nn.Module:
    """A network of tanh, smooth enough that no gradient sits on an edge, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, classes))
        nn.init.normal_(net[1].weight, std=0.8)
        nn.init.normal_(net[3].weight, std=scale)
    return net.double()


def pictures(n: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> tuple[Tensor, Tensor]:
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.uniform(low, high, (n, 1, 4, 4))), torch.from_numpy(draw.integers(0, 4, n))


def around(twin: Twin, ball: Ball) -> Found:
    return Found(ball.pixels, twin.seen(ball.pixels, ball.labels))


@pytest.mark.parametrize("epsilon", [0.01, 0.3])
def test_fgsm_is_the_step_along_the_sign_of_the_gradient_of_cross_entropy(epsilon: float) -> None:
    net, (x, y) = small(), pictures(60)
    z = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(net(z), y, reduction="sum"), z)
    wanted = (x + epsilon * slope.sign()).clamp(0, 1)
    found = fgsm(Twin(net, AS_THEY_ARE), Ball(x, y, epsilon))
    assert torch.equal(found.pixels, wanted)
    assert (wanted != x + epsilon * slope.sign()).any()  # the edges of [0, 1] did matter


def test_a_sure_network_does_not_hide_its_gradient() -> None:
    net, (x, _) = small(scale=400.0).float(), pictures(40)
    x, y = x.float(), net(x.float()).argmax(dim=1)
    z = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(net(z), y, reduction="sum"), z)
    hidden = (slope == 0).flatten(1).all(dim=1)
    assert hidden.float().mean() > 0.5  # cross entropy in float32 leaves nothing to climb
    twin, ball = Twin(net, AS_THEY_ARE), Ball(x, y, 0.01)
    assert (fgsm(twin, ball).seen.odds > around(twin, ball).seen.odds)[hidden].all()


def all_attacks(twin: Twin, ball: Ball, seed: int) -> dict[str, Found]:
    start = around(twin, ball)
    draw = torch.from_numpy(np.random.default_rng(seed).uniform(-2, 2, ball.pixels.shape)).to(
        ball.pixels.dtype
    )
    one = fgsm(twin, ball)
    many = pgd(twin, ball, one, [ball.pixels + draw], steps=4)
    return {
        "fgsm": one,
        "pgd": many,
        "apgd": apgd(twin, ball, many, steps=9),
        "apgd alone": apgd(twin, ball, start, steps=9),
    }


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1.5), scale=st.sampled_from([0.01, 1.0, 100.0]))
def test_attacks_stay_in_the_ball_and_among_pictures_and_say_the_truth(
    seed: int, epsilon: float, scale: float
) -> None:
    twin = Twin(small(seed, scale).float(), AS_THEY_ARE)
    x, y = pictures(7, seed)
    ball = Ball(x.float(), y, epsilon)
    for name, found in all_attacks(twin, ball, seed).items():
        assert found.pixels.min() >= 0, name
        assert found.pixels.max() <= 1, name
        assert (found.pixels - ball.pixels).abs().max() <= epsilon + ULP, name
        there = twin.seen(found.pixels, y)
        assert torch.equal(there.guess, found.seen.guess), name
        torch.testing.assert_close(there.odds, found.seen.odds, atol=1e-4 * scale, rtol=1e-4)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.001, 0.5))
def test_each_attack_is_at_least_as_strong_as_what_it_starts_from(seed: int, epsilon: float) -> None:
    twin, (x, y) = Twin(small(seed), AS_THEY_ARE), pictures(9, seed)
    ball = Ball(x, y, epsilon)
    found = all_attacks(twin, ball, seed)
    weakest = around(twin, ball)
    for weaker, stronger in (
        (weakest, found["apgd alone"]), (found["fgsm"], found["pgd"]), (found["pgd"], found["apgd"]),
    ):  # fmt: skip
        assert not (weaker.seen.wrong & ~stronger.seen.wrong).any()
        assert not weaker.seen.better(stronger.seen).any()


def test_of_two_points_the_one_that_misleads_is_the_stronger_whatever_their_losses() -> None:
    # z = (1, 0.9, 0.9): right, with m = log(2 e^0.9) - 1 = 0.593; z = (1, 1.1, -9): wrong, with m = 0.1
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]))
    twin, label = Twin(net, AS_THEY_ARE), torch.tensor([0])
    right, wrong = (torch.tensor(row).reshape(1, 1, 1, 3) for row in ([1.0, 0.9, 0.9], [1.0, 1.1, -9.0]))
    of_right, of_wrong = twin.seen(right, label), twin.seen(wrong, label)
    assert of_right.odds.item() == pytest.approx(math.log(2 * math.exp(0.9)) - 1)
    assert of_wrong.odds.item() == pytest.approx(math.log(math.exp(1.1) + math.exp(-9.0)) - 1)
    best = Found(right.clone(), of_right)
    best.offer(torch.tensor([0]), wrong, of_wrong)
    assert torch.equal(best.pixels, wrong)
    best.offer(torch.tensor([0]), right, twin.seen(right, label))
    assert torch.equal(best.pixels, wrong)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "apgd"])
@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.25])
def test_an_affine_network_is_attacked_to_its_optimum(attack: str, epsilon: float) -> None:
    """Of two classes, z_1 - z_0 = w x + b: the worst point for label 0 is x + epsilon sign(w)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    x, y = pictures(200, 3, low=0.25, high=0.75)
    y = y % 2
    w = (net[1].weight[1] - net[1].weight[0]).detach().reshape(1, 1, 4, 4)
    sign = torch.where(y == 0, 1.0, -1.0).double()
    wanted = x + epsilon * sign[:, None, None, None] * w.sign()
    margin = (net(x) * torch.tensor([1.0, -1.0]).double()).sum(1).detach() * sign
    twin, ball = Twin(net, AS_THEY_ARE), Ball(x, y, epsilon)
    found = {
        "fgsm": lambda: fgsm(twin, ball),
        "pgd": lambda: pgd(twin, ball, around(twin, ball), steps=5),
        "apgd": lambda: apgd(twin, ball, around(twin, ball), steps=5),
    }[attack]()
    standing = margin - epsilon * w.abs().sum() > 0  # in closed form
    assert torch.equal(~found.seen.wrong, standing)
    assert 0 < int((margin > 0).sum()) > int(standing.sum())
    torch.testing.assert_close(found.pixels[standing], wanted[standing], atol=1e-12, rtol=0)


def test_checkpoints_by_hand() -> None:
    # p = 0.22; + 0.19 = 0.41; + 0.16 = 0.57; + 0.13 = 0.70; + 0.10 = 0.80; + 0.07 = 0.87; + 0.06 = 0.93; 0.99
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    # times 20: 4.4, 8.2, 11.4, 14.0, 16.0, 17.4, 18.6, 19.8, rounded up: 14 stays 14
    assert checkpoints(20) == (5, 9, 12, 14, 16, 18, 19, 20)
    # times 10: 2.2, 4.1, 5.7, 7.0, 8.0, 8.7, 9.3, 9.9, each once
    assert checkpoints(10) == (3, 5, 6, 7, 8, 9, 10)


@given(steps=st.integers(1, 500))
def test_checkpoints_ascend_and_end_with_the_steps(steps: int) -> None:
    found = checkpoints(steps)
    assert list(found) == sorted(set(found))
    assert 1 <= found[0] <= found[-1] <= steps
    assert found[0] == math.ceil(0.22 * steps - 1e-9)


def by_the_paper(
    net: nn.Module, x0: Tensor, label: Tensor, epsilon: float, steps: int, log: list[int]
) -> Tensor:
    """Algorithm 1 of Croce and Hein for one picture, with every value of every step kept in a list."""

    def f(x: Tensor) -> tuple[float, Tensor]:
        z = x.clone().requires_grad_()
        loss = F.cross_entropy(net(z), label)
        return loss.item(), torch.autograd.grad(loss, z)[0].sign()

    def project(x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, x0 - epsilon), x0 + epsilon).clamp(0, 1)

    p = [0.0, 0.22]
    while p[-1] <= 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    w = [math.ceil(round(share * steps, 9)) for share in p if share <= 1]
    xs, losses, etas, tops = [x0], [f(x0)[0]], [2 * epsilon], [f(x0)[0]]
    rose, x_max = [], x0
    for k in range(steps):
        x, before, eta = xs[k], xs[k - 1] if k else xs[0], etas[k]
        z = project(x + eta * f(x)[1])
        new = project(x + 0.75 * (z - x) + 0.25 * (x - before)) if k else z
        loss = f(new)[0]
        rose.append(loss > losses[k])
        if loss > tops[k]:
            x_max = new
        tops.append(max(tops[k], loss))
        if k + 1 in w:
            j = w.index(k + 1)
            first = sum(rose[w[j - 1] : w[j]]) < 0.75 * (w[j] - w[j - 1])
            second = etas[w[j - 1]] == etas[w[j] - 1] and tops[w[j - 1]] == tops[w[j]]
            if first or second:
                log.append(k + 1)
                eta, new, loss = eta / 2, x_max, tops[k + 1]
        xs, losses, etas = [*xs, new], [*losses, loss], [*etas, eta]
    return x_max


class Sine(nn.Module):
    """Hills and valleys, at four times the weights: steps rise for a while and win nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(4 * x)


class Unending(Twin):
    """Nothing counts as wrong, so that no path ends early."""

    def slope(self, pixels: Tensor, labels: Tensor) -> tuple[Seen, Tensor]:
        seen, signs = super().slope(pixels, labels)
        return Seen(seen.odds, torch.zeros_like(seen.wrong), seen.guess), signs


@pytest.mark.parametrize(
    ("seed", "scale", "bend", "epsilon", "steps"),
    [
        *((5, 3.0, nn.Tanh, 0.05, steps) for steps in (1, 4, 30)),
        (3, 1.0, Sine, 0.1, 60),  # on one of these pictures condition 2 holds where condition 1 does not
    ],
)
def test_apgd_goes_where_the_papers_algorithm_goes(
    seed: int, scale: float, bend: type[nn.Module], epsilon: float, steps: int
) -> None:
    net, log = small(seed, scale), []
    net[2] = bend()
    x, _ = pictures(12, seed)
    y = net(x).argmax(dim=1)
    twin, ball = Unending(net, AS_THEY_ARE), Ball(x, y, epsilon)
    found = apgd(twin, ball, around(twin, ball), steps=steps)
    for k in range(len(x)):
        wanted = by_the_paper(net, x[k : k + 1], y[k : k + 1], epsilon, steps, log)
        torch.testing.assert_close(found.pixels[k : k + 1], wanted, atol=1e-12, rtol=0)
    assert steps < 30 or len(log) > 2 * len(x)  # steps were halved on the way, more than once


def test_paths_are_left_where_the_twin_is_clearly_wrong_and_not_before() -> None:
    net, (x, _) = small(7, scale=3.0), pictures(50, 7)
    y, seen = net(x).argmax(dim=1), []

    class Counted(Twin):
        def slope(self, pixels: Tensor, labels: Tensor) -> tuple[Seen, Tensor]:
            found = super().slope(pixels, labels)
            seen.append((len(pixels), int(found[0].clear.sum())))
            return found

    twin, ball = Counted(net, AS_THEY_ARE), Ball(x, y, 0.2)
    found = pgd(twin, ball, around(twin, ball), steps=8)
    assert all(before - fallen == after for (before, fallen), (after, _) in pairwise(seen))
    assert seen[-1][0] < 50
    seen.clear()
    again = apgd(twin, ball, found, steps=8)
    assert seen[0][0] == int((~found.seen.clear).sum())
    assert torch.equal(again.pixels[found.seen.clear], found.pixels[found.seen.clear])
