"""A trainable module from a package, without the user's class."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wieldy.graph.leaves import rebuild_leaf
from wieldy.graph.network import GraphNetwork
from wieldy.package.read import Package, read


def load(path: str | Path) -> GraphNetwork:
    """Return the network in a package as a module that can be trained, pruned and saved again.

    Convolutions, linear layers, norm layers and dropouts are modules of torch's own again, under the
    names they had; everything else is called as a function.

    Raises:
        PackageError: the file is no sound package.

    Cost: one copy of the weights.
    """
    return from_package(read(path))


def from_package(package: Package) -> GraphNetwork:
    """Return the network in an opened package."""
    tensors: dict[str, Tensor] = {
        name: torch.from_numpy(array.copy()) for name, array in package.tensors.items()
    }
    leaves: dict[str, nn.Module] = {}
    for node in package.program.nodes:
        if node.module and node.module not in leaves:
            leaf = rebuild_leaf(node, tensors)
            if leaf is not None:
                leaves[node.module] = leaf
    owned = {f"{path}.{name}" for path, leaf in leaves.items() for name in leaf.state_dict()}
    specs = package.program.tensors
    loose = {
        name: nn.Parameter(tensor) if specs[name].learned else tensor
        for name, tensor in tensors.items()
        if name not in owned
    }
    network = GraphNetwork(package.program, leaves, loose)
    network.formats = package.formats
    return network.eval()


def torch_outputs(path: str | Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function that runs a package in torch instead of the runtime, for comparison."""
    network = load(path)

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            output: Tensor = network(torch.from_numpy(x))
        return output.numpy()

    return run
