"""How weights and inputs lie in memory while a network is trained."""

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import CONV
from wieldy.graph.program import Stored

Network = TypeVar("Network", bound=nn.Module)
BLOCK = 16  # channels that a kernel of oneDNN reads at a time, at most


def training_layout(network: nn.Module) -> torch.memory_format:
    """Return the layout in which a network is trained: a quarter less time with channels last (measured).

    Channels stay first where a convolution of kernel 1 and a stride reads fewer channels than a block.
    oneDNN, which torch computes with, then writes past its workspace while it finds the gradient of such
    weights: the gradient is wrong, or the process dies (oneDNN issue 6035, open; seen with fewer than 8
    channels on AVX2).
    """
    return torch.contiguous_format if any(_is_harmed(*of) for of in _convs(network)) else torch.channels_last


def laid_out(network: Network, layout: torch.memory_format) -> Network:
    """Lay weights out, in place."""
    moved: Network = network.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack it
    return moved


def _is_harmed(weight: Tensor, stride: tuple[int, ...]) -> bool:
    _, channels, *kernel = weight.shape
    return max(kernel) == 1 and max(stride) > 1 and channels < BLOCK


def _convs(network: nn.Module) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield weights and strides of all convolutions of two axes."""
    if isinstance(network, GraphNetwork):
        for node in network.program.nodes:
            weight, stride = node.inputs.get("weight"), node.inputs.get("stride")
            if node.op == CONV and isinstance(weight, Stored) and isinstance(stride, tuple):
                yield network.tensor(weight.name), tuple(step for step in stride if isinstance(step, int))
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            yield module.weight, tuple(module.stride)
