"""Programs over planes, written node by node and computed along the way in float64, without a trace."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from wieldy.graph.operators import operator
from wieldy.graph.ops import OPS
from wieldy.graph.program import Argument, Node, Program, Ref, Spec, Stored
from wieldy.graph.soundness import check_program
from wieldy.kernels import native
from wieldy.runtime.engine import compile_model
from wieldy.runtime.lower import lower
from wieldy.runtime.lower_zeros import Zeros

Pair = tuple[int, int]
VARIANTS = native.variants()
needs_kernels = pytest.mark.skipif(not VARIANTS, reason="the compiled kernels are missing")


def zeros_with(blocks: dict[str, int], variant: str, threads: int = 1) -> Zeros:
    """Return how zeros run: the one place in these tests that builds it."""
    return Zeros(blocks, variant, threads)


def regions_of(program: Program, arrays: dict[str, NDArray[np.float32]], zeros: Zeros) -> int:
    """Return how many regions a lowered program has."""
    return sum(op.get_type_name() == "Region" for op in lower(program, arrays, 1, zeros).get_ops())


def in_openvino(
    program: Program,
    arrays: dict[str, NDArray[np.float32]],
    inputs: list[NDArray[np.float32]],
    zeros: Zeros | None,
) -> list[Tensor]:
    """Return the outputs of a lowered program."""
    model = lower(program, arrays, len(inputs[0]), zeros)
    found = compile_model(model, threads=zeros.threads if zeros else 1)(inputs)
    return [torch.from_numpy(np.array(found[index])) for index in range(len(program.outputs))]


class Planes:
    """A program in the making. Every method adds a node and returns its name.

    Attributes:
        values: what each node computes of the inputs, in float64.
        blocks: of the convolutions with zeros, how many output channels share a pattern.
    """

    def __init__(self, batch: int = 2, seed: int = 0) -> None:
        self.batch = batch
        self.draw = np.random.default_rng(seed)
        self.inputs: dict[str, NDArray[np.float32]] = {}
        self.nodes: list[Node] = []
        self.tensors: dict[str, NDArray[np.float32]] = {}
        self.blocks: dict[str, int] = {}
        self.values: dict[str, Tensor] = {}

    def input(self, channels: int, height: int, width: int) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = self.draw.standard_normal((self.batch, channels, height, width), np.float32)
        self.values[name] = torch.from_numpy(self.inputs[name]).double()
        return name

    def node(self, name: str, op: str, /, **given: Argument) -> str:
        """Add any node; its arguments by ATen's names."""
        name = f"{name}{len(self.nodes)}"
        inputs = {key: given[key] for key, _ in OPS[op]}
        arguments = {key: self._value(inputs[key]) for key, kind in OPS[op] if kind != "none"}
        self.values[name] = operator(op)(**arguments)
        self.nodes.append(Node(name, op, inputs, "", (None, *self.values[name].shape[1:])))
        return name

    def _value(self, argument: Argument) -> object:
        if isinstance(argument, Ref):
            return self.values[argument.name]
        if isinstance(argument, Stored):
            return torch.from_numpy(self.tensors[argument.name]).double()
        return [self._value(item) for item in argument] if isinstance(argument, tuple) else argument

    def _store(self, name: str, array: NDArray[np.floating]) -> Stored:
        self.tensors[f"{len(self.nodes)}.{name}"] = array.astype(np.float32)
        return Stored(f"{len(self.nodes)}.{name}")

    def size(self, name: str) -> tuple[int, int, int]:
        """Return channels, height and width of a value."""
        return tuple(self.values[name].shape[1:])

    def conv(
        self, source: str, channels: int, kernel: Pair = (3, 3), *, stride: Pair = (1, 1),
        padding: Pair = (0, 0), dilation: Pair = (1, 1), groups: int = 1, bias: bool = True,
        kept: float = 0.4, block: int | None = 1,
    ) -> str:  # fmt: skip
        """Add a convolution; one whose `block` is None is not among those with zeros."""
        fan_in = self.size(source)[0] // groups
        weight = self.draw.standard_normal((channels, fan_in, *kernel)) / np.sqrt(fan_in * np.prod(kernel))
        if block:
            mask = self.draw.random((-(-channels // block), fan_in, *kernel)) < kept
            weight *= np.repeat(mask, block, axis=0)[:channels]
        stored = self._store("weight", weight)
        if block:
            self.blocks[stored.name] = block
        return self.node(
            "conv", "aten.conv2d.default", input=Ref(source), weight=stored,
            bias=self._store("bias", self.draw.standard_normal(channels)) if bias else None,
            stride=stride, padding=padding, dilation=dilation, groups=groups,
        )  # fmt: skip

    def norm(self, source: str, *, affine: bool = True) -> str:
        count = self.size(source)[0]
        given = {
            name: self._store(name, self.draw.standard_normal(count)) for name in ("bias", "running_mean")
        }
        given |= {
            name: self._store(name, self.draw.uniform(0.5, 1.5, count)) for name in ("weight", "running_var")
        }
        given |= {} if affine else {"weight": None, "bias": None}
        return self.node(
            "norm", "aten.batch_norm.default", input=Ref(source), **given,
            training=False, momentum=0.1, eps=1e-5, cudnn_enabled=False,
        )  # fmt: skip

    def relu(self, source: str) -> str:
        return self.node("relu", "aten.relu.default", self=Ref(source))

    def relu6(self, source: str) -> str:
        return self.node("relu6_", "aten.relu6.default", self=Ref(source))

    def hardtanh(self, source: str, low: float = -0.5, high: float = 0.75) -> str:
        return self.node("hardtanh", "aten.hardtanh.default", self=Ref(source), min_val=low, max_val=high)

    def sigmoid(self, source: str) -> str:
        return self.node("sigmoid", "aten.sigmoid.default", self=Ref(source))

    def dropout(self, source: str) -> str:
        return self.node("dropout", "aten.dropout.default", input=Ref(source), p=0.5, train=False)

    def add(self, first: str, second: str) -> str:
        return self.node("add", "aten.add.Tensor", self=Ref(first), other=Ref(second), alpha=1)

    def max_pool(self, source: str, kernel: Pair, stride: Pair, padding: Pair, *, ceil: bool = False) -> str:
        return self.node(
            "pool", "aten.max_pool2d.default", self=Ref(source), kernel_size=kernel, stride=stride,
            padding=padding, dilation=(1, 1), ceil_mode=ceil,
        )  # fmt: skip

    def avg_pool(self, source: str, kernel: Pair, stride: Pair, padding: Pair, *, counts: bool = True) -> str:
        return self.node(
            "pool", "aten.avg_pool2d.default", self=Ref(source), kernel_size=kernel, stride=stride,
            padding=padding, ceil_mode=False, count_include_pad=counts, divisor_override=None,
        )  # fmt: skip

    def mean(self, source: str) -> str:
        return self.node("mean", "aten.mean.dim", self=Ref(source), dim=(2, 3), keepdim=True, dtype=None)

    def adaptive(self, source: str) -> str:
        return self.node("adaptive", "aten.adaptive_avg_pool2d.default", self=Ref(source), output_size=(1, 1))

    def unread(self) -> list[str]:
        """Return the values that no node reads."""
        read = {name for node in self.nodes for name in node.refs()}
        return [node.name for node in self.nodes if node.name not in read]

    def program(self, *outputs: str) -> Program:
        """Return the program that yields `outputs`, or what nobody reads."""
        specs = {name: Spec(array.shape) for name, array in self.tensors.items()}
        inputs = {name: Spec((None, *array.shape[1:])) for name, array in self.inputs.items()}
        program = Program(inputs, tuple(self.nodes), outputs or tuple(self.unread()), specs)
        check_program(program)
        return program

    def errors(self, program: Program, zeros: Zeros | None) -> dict[str, float]:
        """Return, by output, max|ours - float64| of the lowered program over max|float64|.

        Where an output is all but cancelled out, over a hundredth of the largest value of the network.
        """
        found = in_openvino(program, self.tensors, list(self.inputs.values()), zeros)
        least = max(float(value.abs().max()) for value in self.values.values()) / 100
        pairs = zip(program.outputs, found, strict=True)
        return {name: error(ours, self.values[name], least) for name, ours in pairs}


def error(found: Tensor, wanted: Tensor, least: float = 1e-30) -> float:
    """Return max|found - wanted| / max|wanted|, or over `least` where that is more."""
    assert found.shape == wanted.shape
    difference = float((found.double() - wanted.double()).abs().max())
    return difference / max(float(wanted.abs().max()), least)
