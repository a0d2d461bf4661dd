"""The embedded network, for examples/zeros.yaml."""

from torch import nn

from wieldy.zoo.networks.residual import residual28


def embedded() -> nn.Module:
    """Return the trained network that comes with the package."""
    return residual28()
