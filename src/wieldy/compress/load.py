"""A trainable module from a package, without the user's class."""

from collections.abc import Callable
from pathlib import Path

import torch

from wieldy.core.data import Rows
from wieldy.graph.network import GraphNetwork
from wieldy.graph.tensors import as_rows, tensors
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
    return GraphNetwork.from_arrays(package.program, package.tensors, package.formats)


def torch_outputs(path: str | Path) -> Callable[[Rows], Rows]:
    """Return a function that runs a package in torch instead of the runtime, for comparison."""
    network = load(path)

    def run(x: Rows) -> Rows:
        with torch.no_grad():
            return as_rows(network(*tensors(x)))

    return run
