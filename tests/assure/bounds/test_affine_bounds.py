"""Affine operators: what is known of each is what torch does; its box is the exact one but for rounding."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wieldy.assure.bounds.affine import Affine
from wieldy.assure.bounds.enclosure import enclose
from wieldy.assure.bounds.rounding import UNIT, Box
from wieldy.assure.bounds.steps import steps_of
from wieldy.claims.bounds import beyond, fractions
from wieldy.core.errors import UnsupportedOpError
from wieldy.graph.trace import trace


class Call(nn.Module):
    """A function of the input and of a stored tensor."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], stored: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("stored", torch.rand(stored) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.stored)


def norm(layer: nn.Module) -> nn.Module:
    nn.init.normal_(layer.running_mean)
    nn.init.uniform_(layer.running_var, 0.1, 2.0)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


PICTURE, ROWS, VECTOR = (4, 5, 6), (4, 7), (6,)
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 3), VECTOR),
    "linear of rows": (lambda: nn.Linear(7, 3, bias=False), ROWS),
    "conv2d": (lambda: nn.Conv2d(4, 3, 3), PICTURE),
    "strided": (lambda: nn.Conv2d(4, 3, (3, 2), stride=(2, 3), padding=(1, 0)), PICTURE),
    "dilated": (lambda: nn.Conv2d(4, 2, 2, dilation=(2, 3), padding=2, bias=False), PICTURE),
    "grouped": (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=2), PICTURE),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, stride=2, groups=4), PICTURE),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1, stride=2), ROWS),
    "norm2d": (lambda: norm(nn.BatchNorm2d(4)), PICTURE),
    "norm1d": (lambda: norm(nn.BatchNorm1d(6)), VECTOR),
    "bare norm": (lambda: nn.BatchNorm2d(4, affine=False), PICTURE),
    "plus stored": (lambda: Call(lambda x, w: x + w, (4, 1, 1)), PICTURE),
    "stored minus": (lambda: Call(lambda x, w: torch.sub(w, x, alpha=3), (6,)), PICTURE),
    "minus a number": (lambda: Call(lambda x, w: 1.3 - x), VECTOR),
    "times stored": (lambda: Call(lambda x, w: x * w, (1, 4, 1, 1)), PICTURE),
    "over stored": (lambda: Call(lambda x, w: x / w, (4, 1, 1)), PICTURE),
    "spread by stored": (lambda: Call(lambda x, w: x[:, :1] * w, (4, 1, 1)), PICTURE),
    "sum": (lambda: Call(lambda x, w: torch.add(x, x * 0.5, alpha=-2)), PICTURE),
    "spread": (lambda: Call(lambda x, w: x - x[:, :1]), PICTURE),
    "cat": (lambda: Call(lambda x, w: torch.cat([x[:, 1:], x * 2, x], 1)), PICTURE),
    "mean": (lambda: Call(lambda x, w: x.mean((2, 3))), PICTURE),
    "added up": (lambda: Call(lambda x, w: x.sum(1, keepdim=True)), PICTURE),
    "pooled": (lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True), PICTURE),
    "padding not counted": (lambda: nn.AvgPool2d(2, 1, 1, count_include_pad=False), PICTURE),
    "pooled to a size": (lambda: nn.AdaptiveAvgPool2d((2, 4)), PICTURE),
    "pooled rows": (lambda: nn.AvgPool1d(3, 2), ROWS),
    "views": (lambda: Call(lambda x, w: x.permute(0, 2, 3, 1)[:, 1:, ::2, 3].flatten(1)), PICTURE),
    "dropout": (lambda: nn.Dropout(0.5), PICTURE),
}  # fmt: skip


def case(name: str) -> tuple[nn.Module, tuple[int, ...], dict[str, Affine]]:
    """Return a module in float64, the shape of an example, and its steps."""
    make, shape = CASES[name]
    torch.manual_seed(0)
    model = make().eval()
    network = trace(model, torch.zeros(1, *shape))
    steps = steps_of(network.program, network.arrays()).steps
    return copy.deepcopy(model).double(), shape, dict(steps)


def values_of(steps: dict[str, Affine], x: Tensor) -> dict[str, Tensor]:
    values = {next(iter(steps.values())).sources[0]: x}
    for name, step in steps.items():
        found = step.apply(*(values[source] for source in step.sources))
        values[name] = found if step.shift is None else found + step.shift
    return values


@pytest.mark.parametrize("name", CASES)
def test_steps_compute_what_the_module_does(name: str) -> None:
    model, shape, steps = case(name)
    x = torch.randn(3, *shape, dtype=torch.float64)
    torch.testing.assert_close(list(values_of(steps, x).values())[-1], model(x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_coefficients_are_pulled_by_the_transpose(name: str) -> None:
    _, shape, steps = case(name)
    values = values_of(steps, torch.randn(3, *shape, dtype=torch.float64))
    for value, step in steps.items():
        inputs = [values[source] for source in step.sources]
        rows = torch.randn_like(values[value])
        pulled = step.pull(rows)
        assert [part.shape for part in pulled] == [source.shape for source in inputs]
        there = (rows * step.apply(*inputs)).sum()
        back = sum((part * source).sum() for part, source in zip(pulled, inputs, strict=True))
        torch.testing.assert_close(there, back, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_sizes_are_those_of_the_matrix_and_terms_no_fewer_than_it_adds_up(name: str) -> None:
    _, shape, steps = case(name)
    values = values_of(steps, torch.randn(1, *shape, dtype=torch.float64))
    for step in steps.values():
        if len(step.sources) > 1:
            continue
        (source,) = (values[name] for name in step.sources)
        basis = torch.eye(source.numel(), dtype=torch.float64).reshape(-1, *source.shape[1:])
        matrix = step.apply(basis).flatten(1)
        sizes = step.sizes(source.abs()).flatten()
        torch.testing.assert_close(sizes, source.abs().flatten() @ matrix.abs(), rtol=1e-12, atol=1e-12)
        used = matrix != 0
        if step.terms:
            assert step.terms >= max(used.sum(0).max(), used.sum(1).max())
        else:
            assert (matrix.sum(0) == 1).all()
        assert step.mixes or used.sum(0).max() == 1


@pytest.mark.parametrize("name", ["linear", "linear of rows", "strided", "dilated", "grouped", "conv1d"])
def test_the_box_of_one_affine_layer_is_the_exact_one_but_for_rounding(name: str) -> None:
    model, shape, steps = case(name)
    (step,) = steps.values()
    centre = torch.randn(1, *shape, dtype=torch.float64)
    box = Box(centre - 0.3 * torch.rand_like(centre), centre + 0.3 * torch.rand_like(centre))
    basis = torch.eye(centre.numel(), dtype=torch.float64).reshape(-1, *shape)
    matrix = step.apply(basis).flatten(1).T.numpy()  # each entry one weight, or zero: exact
    shift = model(torch.zeros_like(centre)).detach().flatten().numpy()
    low, high = (fractions(end.flatten().numpy()) for end in (box.low, box.high))
    rows, offset = fractions(matrix), fractions(shift)
    positive, negative = np.where(rows > 0, rows, 0), np.where(rows < 0, rows, 0)
    exact = positive @ low + negative @ high + offset, positive @ high + negative @ low + offset
    image = step.image(box)
    found = image.low.flatten().numpy(), image.high.flatten().numpy()
    assert beyond(found, exact) == 0
    reach = step.reach(box.largest).flatten().numpy()
    for ours, theirs in zip(found, exact, strict=True):
        distance = np.abs(fractions(ours) - theirs).astype(np.float64)
        assert (distance <= 8 * step.terms * UNIT * reach).all()


def test_what_is_handed_on_is_handed_on_bit_by_bit() -> None:
    _, shape, steps = case("views")
    low = torch.randn(2, *shape, dtype=torch.float64)
    box = Box(low, low + torch.rand_like(low))
    ends = [values_of(steps, end) for end in (box.low, box.high)]
    for name, step in steps.items():
        box = step.image(box)
        assert torch.equal(box.low, ends[0][name])
        assert torch.equal(box.high, ends[1][name])


@pytest.mark.parametrize(
    ("last", "low", "high"),
    [(3e38, 1.0, 2.0), (10.0, 1.0, 1.0), (1.0, 10.0, 10.0)],
    ids=["ends", "a centre", "a sum"],
)
def test_numbers_beyond_float64_are_bounded_by_nothing(last: float, low: float, high: float) -> None:
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(9)))
    for layer in model:
        layer.weight.data.fill_(3e38)
    model[-1].weight.data.fill_(last)
    network = trace(model, torch.zeros(1, 1))
    box = Box(*(torch.full((1, 1), end, dtype=torch.float64) for end in (low, high)))
    for step in steps_of(network.program, network.arrays()).steps.values():
        box = step.image(box)
    assert box.low.item() == -np.inf
    assert box.high.item() == np.inf
    steps = steps_of(network.program, network.arrays())
    found = enclose(steps, np.full((1, 1), low), np.full((1, 1), high), method="crown")
    assert [end.item() for end in found] == [-np.inf, np.inf]


def test_a_norm_of_a_large_mean_keeps_room_for_what_cancels() -> None:
    layer = norm(nn.BatchNorm1d(1))
    layer.running_mean.fill_(1e6)
    layer.running_var.fill_(1e-4)
    network = trace(layer.eval(), torch.zeros(2, 1))
    (step,) = steps_of(network.program, network.arrays()).steps.values()
    x = torch.full((1, 1), 1e6 + 0.5, dtype=torch.float64)
    image = step.image(Box(x, x))
    found = copy.deepcopy(layer).double()(x)
    assert image.low <= found <= image.high
    assert (image.high - image.low).item() < 1e-5


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, w: torch.sigmoid(x), "sigmoid"),
        (lambda x, w: x * x, "mul by what depends on the input"),
        (lambda x, w: w / (x + 9), "div by what depends on the input"),
        (lambda x, w: F.softmax(x, 1), "softmax"),
    ],
)
def test_what_has_no_bounds_is_refused_by_name(function: Callable[..., Tensor], words: str) -> None:
    network = trace(Call(function), torch.zeros(1, *PICTURE))
    with pytest.raises(UnsupportedOpError, match=words):
        steps_of(network.program, network.arrays())


def test_whole_numbers_as_inputs_are_refused() -> None:
    network = trace(nn.Embedding(5, 3), torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(UnsupportedOpError, match="int64"):
        steps_of(network.program, network.arrays())
