"""The two small networks on which pruning papers report: three linear layers, and two convolutions with two.

Source: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings
of the IEEE 1998: LeNet-300-100 of section III, and LeNet-5 as pruning papers have it since Caffe's example
(20 and 50 filters of 5x5, 500 hidden units), with rectifiers.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Lenet300(nn.Module):
    """28x28 pictures to 300, 100 and ten units: 266,610 parameters."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, 1, 28, 28) to logits (n, classes)."""
        logits: Tensor = self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))
        return logits


class Lenet5(nn.Module):
    """28x28 pictures through two convolutions with pools and two linear layers: 431,080 parameters."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, 1, 28, 28) to logits (n, classes)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        logits: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return logits


def seeded(kind: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return an untrained network whose weights follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind()
