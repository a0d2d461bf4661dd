"""Networks and data small enough that a test takes a moment."""

import copy
from functools import cache

import torch
from torch import Tensor, nn

from wieldy.core.data import Data
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.train.fit import FitConfig, fit
from wieldy.zoo.data.digits import optical_digits

NET_FILE = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
"""  # a user's file, for recipes


class Net(nn.Module):
    """Two convolutions with norms, a residual, and a linear layer, for 8x8 pictures."""

    def __init__(self, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, stride=2)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        x = x + torch.relu(self.conv3(x))
        return self.fc(x.mean((2, 3)))


class Plain(nn.Module):
    """Three linear layers, without norms: every value can be worked out by hand."""

    def __init__(self, hidden: int = 6, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(4, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.third = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.tanh(self.second(torch.tanh(self.first(x)))))


def net(width: int = 8, seed: int = 0) -> Net:
    """Return an untrained Net with norms that are not at their defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Net(width)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def plain(hidden: int = 6, seed: int = 0) -> Plain:
    """Return an untrained Plain."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Plain(hidden).eval()


@cache
def _traced(width: int) -> GraphNetwork:
    return trace(net(width), torch.zeros(1, 1, 8, 8))


def traced(width: int = 8) -> GraphNetwork:
    """Return a traced Net, a copy of the caller's own."""
    return copy.deepcopy(_traced(width))


@cache
def digits(train: int = 320, validate: int = 100, test: int = 200) -> Data:
    """Return the first of the optical digits."""
    full = optical_digits()
    cut = ((full.train, train), (full.validate, validate), (full.test, test))
    return Data(*((split.inputs[:n], split.targets[:n]) for split, n in cut))


@cache
def _trained() -> GraphNetwork:
    return fit(_traced(8), digits(), config=FitConfig(epochs=6, batch_size=32, learning_rate=0.1))


def trained() -> GraphNetwork:
    """Return a traced Net that knows the digits fairly well, a copy of the caller's own."""
    return copy.deepcopy(_trained())


def state(module: nn.Module) -> dict[str, bytes]:
    """Return the bytes of everything that a module holds."""
    return {name: tensor.detach().numpy().tobytes() for name, tensor in module.state_dict().items()}
