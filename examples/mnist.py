"""The network of examples/mnist.yaml: a digit classifier that others trained. `make data` fetches it."""

from torch import nn

from wieldy.zoo.networks.digits28 import digits28


def trained() -> nn.Module:
    """Return it."""
    return digits28()
