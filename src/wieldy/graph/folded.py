"""A layer and the batch norm behind it, seen and altered as the one layer that they are in evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from wieldy.graph.fold import layer_before
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program import Node, Program, Stored

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Folded:
    """A layer and the norm behind it, seen as the one layer that they are in evaluation.

    Attributes:
        node: the layer.
        norm: the batch norm that alone reads it, or None.
    """

    node: Node
    norm: Node | None

    @property
    def bias(self) -> str:
        """The name of b' among values: no tensor of the network has it."""
        return f"{self.node.weight} as folded: bias"

    def values(self, network: GraphNetwork) -> Values:
        """Return W' and b'."""
        weight, scale = network.tensor(self.node.weight).detach(), self._scale(network)
        folded = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
        return {self.node.weight: folded, self.bias: scale * self._offset(network) + self._beta(network)}

    def put(self, network: GraphNetwork, old: Values, new: Values, *, rows: bool) -> None:
        """Alter the network's tensors so that W' and b' become new ones, zero where those are.

        Args:
            network: altered in place.
            old: what `values` returned.
            new: each number of it is one of `old` times a factor.
            rows: whether gamma takes what a row as a whole shrinks by.
        """
        weight = network.tensor(self.node.weight)
        before, after = old[self.node.weight], new[self.node.weight]
        shrunk = torch.ones(len(weight), dtype=before.dtype)
        if rows and self.norm is not None:
            shrunk = torch.nan_to_num(after.flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1))
        whole = before * shrunk.reshape(-1, *(1,) * (weight.ndim - 1))
        weight.mul_(torch.where(after == 0, 0.0, after / torch.where(whole == 0, 1.0, whole)))
        if not rows:
            return
        if self.norm is not None:
            gamma, beta = (network.tensor(_name(self.norm, key)) for key in ("weight", "bias"))
            beta.copy_(new[self.bias] - shrunk * self._scale(network) * self._offset(network))
            gamma.mul_(shrunk)
            if self.node.inputs["bias"] is not None:
                network.tensor(_name(self.node, "bias")).mul_(shrunk > 0)
        elif self.node.inputs["bias"] is not None:
            network.tensor(_name(self.node, "bias")).copy_(new[self.bias])

    def _scale(self, network: GraphNetwork) -> Tensor:
        """Return d."""
        if self.norm is None:
            return torch.ones(len(network.tensor(self.node.weight)))
        var, eps = network.tensor(_name(self.norm, "running_var")), self.norm.inputs["eps"]
        assert isinstance(eps, (int, float))
        scale = (var + eps).rsqrt()
        return scale if self.norm.inputs["weight"] is None else scale * _held(network, self.norm, "weight")

    def _offset(self, network: GraphNetwork) -> Tensor:
        """Return b - mean."""
        bias = _held(network, self.node, "bias")
        return bias if self.norm is None else bias - _held(network, self.norm, "running_mean")

    def _beta(self, network: GraphNetwork) -> Tensor:
        return torch.zeros(()) if self.norm is None else _held(network, self.norm, "bias")


def _name(node: Node, argument: str) -> str:
    held = node.inputs[argument]
    assert isinstance(held, Stored)
    return held.name


def _held(network: GraphNetwork, node: Node, argument: str) -> Tensor:
    """Return a node's tensor, or zero where it has none."""
    held = node.inputs[argument]
    return network.tensor(held.name).detach() if isinstance(held, Stored) else torch.zeros(())


def norms_behind(program: Program) -> Mapping[str, Node]:
    """Return, for the name of each layer that a norm can be folded into, that norm."""
    return {layer.name: norm for norm in program.nodes if (layer := layer_before(program, norm))}
