"""Norms, sums and clamps go into the convolution before them, and the network computes what it did."""

import copy
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planes import VARIANTS, Planes, Zeros, error, in_openvino, needs_kernels, zeros_with
from torch import Tensor, nn

from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Program, Stored
from wieldy.graph.trace import trace
from wieldy.runtime.fuse import Weights, can_run, fuse_region
from wieldy.runtime.regions import find_regions

ALLOWED = 1e-5
SIZE = (4, 7, 9)
BLOCKS = (1, 4, 8)


class Parts(nn.Module):
    """Layers of one width, of which a case uses what it needs."""

    def __init__(self, run: Callable[["Parts", Tensor], Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.wide = nn.Conv2d(4, 12, 3, padding=(1, 2), stride=(2, 1))
        self.grouped = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.deep = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.border = nn.Conv2d(4, 4, 1, padding=1, groups=4)  # looks like a norm but is larger
        self.single = nn.Conv2d(4, 1, 1)
        self.norm, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.plain = nn.BatchNorm2d(4, affine=False)
        self.drop = nn.Dropout2d(0.5)
        self.run = run

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.run(self, x)


def twice(x: Tensor) -> Tensor:
    return x + x


CASES: dict[str, tuple[int, Callable[[Parts, Tensor], Tensor | tuple[Tensor, ...]]]] = {  # how many remain
    "conv, norm, relu": (1, lambda m, x: m.norm(m.first(x)).relu()),
    "conv, norm, relu6": (1, lambda m, x: F.relu6(m.norm(m.first(x)))),
    "conv, norm, hardtanh": (1, lambda m, x: F.hardtanh(m.norm(m.first(x)), -0.3, 0.4)),
    "two norms": (1, lambda m, x: m.other(m.norm(m.first(x)))),
    "a norm without weights": (1, lambda m, x: m.plain(m.first(x))),
    "norm, sum, relu": (3, lambda m, x: (m.norm(m.second(m.first(x))) + m.first(x)).relu()),
    "the input is added": (1, lambda m, x: (m.norm(m.first(x)) + x).relu()),
    "norm after a sum": (2, lambda m, x: m.norm(m.first(x) + x)),
    "norm and relu after a sum": (2, lambda m, x: m.norm(m.first(x) + x).relu()),
    "relu before a sum": (2, lambda m, x: m.first(x).relu() + x),
    "relu before a norm": (2, lambda m, x: m.norm(m.first(x).relu())),
    "two clamps": (2, lambda m, x: F.hardtanh(m.first(x).relu(), -1, 0.5)),
    "a value plus itself": (2, lambda m, x: twice(m.first(x))),
    "a norm of a value plus itself": (3, lambda m, x: m.norm(twice(m.first(x)))),
    "the sum of two": (2, lambda m, x: (m.first(x) + m.second(x)).relu()),
    "the sum of two norms": (2, lambda m, x: (m.norm(m.first(x)) + m.other(m.second(x))).relu()),
    "the sum of three": (3, lambda m, x: m.first(x) + m.second(x) + x),
    "a conv that two read": (4, lambda m, x: m.second((y := m.first(x)).relu()) + m.norm(y)),
    "an output that is read inside": (2, lambda m, x: ((y := m.first(x)), m.norm(y).relu())),
    "an output that is read by a conv": (2, lambda m, x: ((y := m.norm(m.first(x))), m.second(y))),
    "dropout in the middle": (2, lambda m, x: m.second(m.drop(m.norm(m.first(x))).relu())),
    "dropout at the end": (1, lambda m, x: m.drop(m.drop(m.norm(m.first(x))))),
    "dropout beside its input": (1, lambda m, x: ((y := m.first(x)), m.drop(y))),
    "relu of the input": (1, lambda m, x: m.first(x.relu()) + x.relu()),
    "pooling first": (1, lambda m, x: m.first(F.max_pool2d(x, 2)).relu()),
    "pooling last": (2, lambda m, x: F.max_pool2d(m.first(x).relu(), 3, 2, 1)),
    "average pooling": (3, lambda m, x: m.second(F.avg_pool2d(m.first(x), 3, 2, 1))),
    "the global mean": (2, lambda m, x: m.norm(m.first(x)).mean((2, 3), keepdim=True)),
    "adaptive pooling": (3, lambda m, x: m.norm(F.adaptive_avg_pool2d(m.first(x), 1))),
    "grouped": (1, lambda m, x: m.grouped(x).relu()),
    "depthwise": (2, lambda m, x: m.second(F.relu6(m.norm(m.deep(x))))),
    "padding and stride by axis": (1, lambda m, x: m.wide(x).relu()),
    "depthwise of one with padding": (2, lambda m, x: m.border(m.first(x)).relu()),
    "one output channel": (2, lambda m, x: m.single(m.first(x)).relu()),
    "one after another": (3, lambda m, x: m.second(m.first(m.second(x).relu()).relu())),
}


@cache
def traced(name: str) -> tuple[GraphNetwork, Tensor, tuple[Tensor, ...]]:
    """Return a case's network with zeros and norms that do something, inputs, and what torch computes."""
    torch.manual_seed(0)
    model = Parts(CASES[name][1]).eval()
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.ndim == 4:
            tensor.data *= torch.rand_like(tensor) < 0.5
        elif tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    x = torch.randn(3, *SIZE)
    wanted = copy.deepcopy(model).double()(x.double())
    found = wanted if isinstance(wanted, tuple) else (wanted,)
    return trace(model, x), x, tuple(value.detach() for value in found)


def conv_weights(program: Program) -> list[str]:
    named = [node.inputs["weight"] for node in program.nodes if node.op == "aten.conv2d.default"]
    return list(dict.fromkeys(weight.name for weight in named if isinstance(weight, Stored)))


@needs_kernels
@pytest.mark.parametrize("name", CASES)
def test_a_network_computes_in_regions_what_it_does_in_torch(name: str) -> None:
    network, x, wanted = traced(name)
    forms: list[Zeros | None] = [None]
    for turn, variant in enumerate(VARIANTS, list(CASES).index(name)):
        blocks = dict.fromkeys(conv_weights(network.program), BLOCKS[turn % len(BLOCKS)])
        forms.append(zeros_with(blocks, variant))
    for zeros in forms:
        found = in_openvino(network.program, network.arrays(), [x.numpy()], zeros)
        worst = [error(ours, theirs) for ours, theirs in zip(found, wanted, strict=True)]
        assert max(worst) < ALLOWED, zeros


@pytest.mark.parametrize("name", CASES)
def test_what_can_go_into_a_convolution_does(name: str) -> None:
    network, _, _ = traced(name)
    program = network.program
    weights = Weights(network.arrays(), dict.fromkeys(conv_weights(program), 1))
    regions = find_regions(
        program, lambda node: can_run(node, program), lambda node: node.op == "aten.conv2d.default"
    )
    assert sum(len(fuse_region(program, region, weights).ops) for region in regions) == CASES[name][0]


@needs_kernels
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_of_one_example_reaches_the_next(variant: str) -> None:
    net = Planes(batch=3)
    x = net.input(6, 5, 5)
    out = net.add(net.relu(net.conv(x, 6, padding=(1, 1))), x)
    out = net.conv(net.conv(out, 6, (1, 1)), 6, stride=(2, 2), padding=(1, 1))
    program = net.program(out)
    zeros = zeros_with(net.blocks, variant)
    alone = in_openvino(program, net.tensors, [net.inputs[x][2:]], zeros)[0]
    net.inputs[x][:2] = np.nan
    beside = in_openvino(program, net.tensors, [net.inputs[x]], zeros)[0]
    assert torch.equal(beside[2:], alone)
    assert beside[:2].isnan().all()
