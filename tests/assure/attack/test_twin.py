"""A twin computes what the saved file does, and its gradient is one: by torch, and by finite differences."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from wieldy.assure.attack.twin import BATCH, Seen, Twin, seen_of, twin_of
from wieldy.assure.pixels import Pixels
from wieldy.compress.load import torch_outputs
from wieldy.compress.quantize import quantize
from wieldy.compress.storage import smallest_formats
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Program
from wieldy.methods.prune.zeros import ZerosConfig, apply
from wieldy.package.read import read
from wieldy.package.save import save
from wieldy.stats.collect import Stats

HALVES = Pixels(np.float32([0.5]), np.float32([0.5]), "")  # of the digits, from -1 to 1


def digits() -> tuple[Tensor, Tensor]:
    test = tiny.digits().test
    return torch.from_numpy(HALVES.from_inputs(test.inputs)), torch.from_numpy(test.targets)


def packaged(kind: str) -> GraphNetwork:
    network = tiny.trained()
    if kind == "zeros":
        list(apply(network, ("conv2", "conv3"), Stats(), ZerosConfig(sparsity=0.8)))
        network.formats = smallest_formats(network)
        assert network.formats
    return quantize(network, tiny.digits())[0] if kind == "int8" else network


@pytest.mark.parametrize("kind", ["fp32", "zeros", "int8"])
def test_a_twin_answers_as_its_package_does_in_torch(kind: str, tmp_path: Path) -> None:
    path = save(packaged(kind), tmp_path / "net.wieldy")
    twin, (x, y) = twin_of(read(path), HALVES), digits()
    wanted = torch.from_numpy(np.asarray(torch_outputs(path)(tiny.digits().test.inputs)))
    found = twin(x)
    if kind == "int8":  # a number near the middle of two levels may go to either
        assert (found - wanted).abs().median() < 1e-5 * wanted.abs().max()
    else:
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    seen, signs = twin.slope(x, y)
    assert (seen.guess == wanted.argmax(dim=1)).float().mean() >= 0.995
    assert (signs != 0).float().mean() > 0.9  # gradients reach the pixels, through roundings too
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert all(parameter.grad is None for parameter in twin.parameters())


def test_signs_are_those_of_finite_differences() -> None:
    twin, (x, y) = Twin(tiny.trained().double(), HALVES).double(), digits()
    x, y, h = x[:6].double().clamp(0.1, 0.9), y[:6], 1e-5
    twin.network.program = _in_double(twin.network.program)
    _, signs = twin.slope(x, y)
    slopes = torch.zeros_like(x)
    for row in range(8):
        for column in range(8):
            step = torch.zeros_like(x)
            step[:, 0, row, column] = h
            up, down = (twin.seen(x + sign * step, y).odds for sign in (1, -1))
            slopes[:, 0, row, column] = (up - down) / (2 * h)
    steep = slopes.abs() > 1e-3 * slopes.abs().max()
    assert steep.float().mean() > 0.5
    assert torch.equal(signs[steep], slopes.sign()[steep])


def _in_double(program: Program) -> Program:
    inputs = {name: replace(spec, dtype="float64") for name, spec in program.inputs.items()}
    return replace(program, inputs=inputs)


@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1])
def test_pictures_are_looked_at_one_by_one_whatever_the_batch(count: int) -> None:
    twin, (x, y) = Twin(tiny.trained(), HALVES), digits()
    seen, signs = twin.slope(x[:count], y[:count])
    last, last_signs = twin.slope(x[count - 1 : count], y[count - 1 : count])
    assert len(seen.odds) == len(signs) == count
    torch.testing.assert_close(seen.odds[-1:], last.odds, atol=1e-4, rtol=1e-4)
    assert (signs[-1:] == last_signs).float().mean() > 0.95  # what is nearly 0 may round to either side
    torch.testing.assert_close(twin.seen(x[:count], y[:count]).odds, seen.odds, atol=1e-6, rtol=1e-6)


def test_neither_the_pictures_nor_the_mode_of_gradients_are_altered() -> None:
    twin, (x, y) = Twin(tiny.trained(), HALVES), digits()
    before = x.clone()
    with torch.no_grad():
        twin.slope(x[:3], y[:3])
        assert not torch.is_grad_enabled()
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_what_no_gradient_reaches_is_left_where_it_is() -> None:
    class Blind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 3)

    class Choosing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1)[:, :3] > 0.5).float()

    class Steep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            flat = x.flatten(1)
            return torch.cat([flat[:, 1:3], (flat[:, :1] - flat[:, :1].detach()).sqrt() * 0.0], dim=1)

    x, y = digits()
    for network in (Blind(), Choosing()):
        assert not Twin(network, HALVES).slope(x[:4], y[:4] % 3)[1].any()
    signs = Twin(Steep(), HALVES).slope(x[:4], torch.zeros(4, dtype=torch.int64))[1].flatten(1)
    assert not signs[:, 0].any()  # infinity times 0
    assert not signs.isnan().any()
    assert (signs[:, 1] == -1).all()


def test_log_odds_are_those_of_softmax_and_order_points_as_cross_entropy_does() -> None:
    logits, labels = torch.randn(50, 6, generator=torch.manual_seed(0)).double() * 5, torch.arange(50) % 6
    seen = seen_of(logits, labels)
    chance = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(seen.odds, torch.log((1 - chance) / chance))
    loss = nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(torch.log1p(seen.odds.exp()), loss)
    assert torch.equal(seen.odds.argsort(), loss.argsort())


def test_a_wrong_answer_is_stronger_than_a_right_one_and_then_the_loss_counts() -> None:
    def one(odds: float, wrong: bool) -> Seen:
        return Seen(torch.tensor([odds]), torch.tensor([wrong]), torch.tensor([0]))

    ascending = [one(-1, False), one(2, False), one(-0.5, True), one(0.5, True)]
    for i, weaker in enumerate(ascending):
        for k, stronger in enumerate(ascending):
            assert bool(stronger.better(weaker)) == (k > i)


def test_a_twin_is_another_network_than_the_users() -> None:
    network = tiny.trained()
    before = tiny.state(copy.deepcopy(network))
    twin, (x, y) = Twin(network, HALVES), digits()
    twin.slope(x[:5], y[:5])
    assert tiny.state(network) == before
