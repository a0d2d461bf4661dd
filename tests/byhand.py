"""A small network written out by hand, without torch: what packages and the runtime are tested on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.graph.program import Node, Program, Ref, Spec, Stored


@dataclass
class ByHand:
    """Something that `save` takes: a program and its tensors."""

    program: Program
    tensors: Mapping[str, NDArray[Any]]
    formats: Mapping[str, str] = field(default_factory=dict)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return self.tensors


def conv_net(channels: int = 4, classes: int = 3, side: int = 6, seed: int = 0) -> ByHand:
    """Convolution, relu, mean over positions, linear: (n, 1, side, side) to (n, classes)."""
    draw = np.random.default_rng(seed)
    tensors = {
        "conv.weight": draw.standard_normal((channels, 1, 3, 3), np.float32),
        "conv.bias": draw.standard_normal(channels, np.float32),
        "fc.weight": draw.standard_normal((classes, channels), np.float32),
    }
    conv = {
        "input": Ref("x"), "weight": Stored("conv.weight"), "bias": Stored("conv.bias"),
        "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1,
    }  # fmt: skip
    plane = (None, channels, side, side)
    nodes = (
        Node("conv", "aten.conv2d.default", conv, "conv", plane),
        Node("relu", "aten.relu.default", {"self": Ref("conv")}, "", plane),
        Node(
            "mean",
            "aten.mean.dim",
            {"self": Ref("relu"), "dim": (2, 3), "keepdim": False, "dtype": None},
            "",
            (None, channels),
        ),
        Node(
            "fc",
            "aten.linear.default",
            {"input": Ref("mean"), "weight": Stored("fc.weight"), "bias": None},
            "fc",
            (None, classes),
        ),
    )
    specs = {name: Spec(array.shape, array.dtype.name) for name, array in tensors.items()}
    return ByHand(Program({"x": Spec((None, 1, side, side))}, nodes, ("fc",), specs), tensors)


def conv_net_in_numpy(net: ByHand, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """What `conv_net` computes, spelled out in float64."""
    weight, bias, fc = (net.tensors[name].astype(np.float64) for name in net.tensors)
    side = x.shape[-1]
    padded = np.pad(x[:, 0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    plane = np.zeros((len(x), len(weight), side, side)) + bias[:, None, None]
    for row in range(3):
        for column in range(3):
            patch = padded[:, row : row + side, column : column + side]
            plane += weight[:, 0, row, column][:, None, None] * patch[:, None]
    return np.maximum(plane, 0).mean((2, 3)) @ fc.T


def adder() -> ByHand:
    """Two inputs and two outputs: their sum times a stored number, and the first one's relu."""
    shape = (None, 5)
    nodes = (
        Node("sum", "aten.add.Tensor", {"self": Ref("a"), "other": Ref("b"), "alpha": 1}, "", shape),
        Node("scaled", "aten.mul.Tensor", {"self": Ref("sum"), "other": Stored("scale")}, "", shape),
        Node("relu", "aten.relu.default", {"self": Ref("a")}, "", shape),
    )
    scale = np.array(3.0, np.float32)
    program = Program(
        {"a": Spec(shape), "b": Spec(shape)}, nodes, ("scaled", "relu"), {"scale": Spec((), "float32")}
    )
    return ByHand(program, {"scale": scale})
