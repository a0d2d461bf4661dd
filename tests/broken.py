"""Networks that are broken, or that no package can hold: for each, words that its refusal must say."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import wieldy


def good() -> nn.Sequential:
    """Return a network that nothing is wrong with, for pictures of 3 x 8 x 8 and four classes."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )


class Around(nn.Module):
    """A good network, and a function that uses it."""

    def __init__(self, function: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.net, self.function = good(), function

    def forward(self, x: Tensor) -> object:
        return self.function(self.net, x)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = good()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return self.net(x) + 0 * self.calls


class Lines(nn.Module):
    """A recurrent layer over the lines of a picture, from zeros or from a state that was learnt."""

    def __init__(self, layer: type[nn.RNNBase], *, learnt: bool = False) -> None:
        super().__init__()
        self.rnn, self.fc = layer(24, 8, batch_first=True), nn.Linear(8, 4)
        self.state = nn.Parameter(torch.rand(1, 1, 8)) if learnt else None

    def forward(self, x: Tensor) -> Tensor:
        lines = x.permute(0, 2, 1, 3).flatten(2)
        state = None if self.state is None else self.state.expand(-1, x.shape[0], -1).contiguous()
        return self.fc(self.rnn(lines, state)[0][:, -1])


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv3d(1, 4, 3), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x[:, None]).mean((2, 3, 4)))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = good()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.net(x + y)


def not_a_number() -> nn.Module:
    """Return a network after a training that diverged."""
    net = good()
    with torch.no_grad():
        net[0].weight[0] = torch.nan
    return net


def too_large() -> nn.Module:
    """Return a network whose outputs overflow."""
    net = good()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(3e38)
    return net


def sparse() -> nn.Module:
    """Return a network with a weight in torch's sparse layout."""
    net = good()
    net[4].weight = nn.Parameter(net[4].weight.detach().to_sparse())
    return net


def masked() -> nn.Module:
    """Return a network with torch's pruning masks."""
    net = good()
    prune.l1_unstructured(net[0], "weight", 0.5)
    return net


def normed() -> nn.Module:
    """Return a network with weight norm."""
    net = good()
    parametrizations.weight_norm(net[0])
    return net


def dynamic() -> nn.Module:
    """Return a network that torch has rounded."""
    return torch.ao.quantization.quantize_dynamic(good(), {nn.Linear})


BROKEN: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "diverged": (not_a_number, ("0.weight", "27 of 216 are NaN", "sound checkpoint")),
    "overflows": (too_large, ("NaN or infinite on the first training example", "Check")),
    "float64": (lambda: good().double(), ("0.weight", "float64", "model.float()")),
    "float16": (lambda: good().half(), ("0.weight", "float16", "model.float()")),
    "on another device": (lambda: good().to("meta"), ("0.weight", "got meta", "model.cpu()")),
    "sparse layout": (sparse, ("4.weight", "sparse_coo", "to_dense()")),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), ("1.weight", "Run the network once")),
    "pruning masks": (masked, ("Sequential", "prune.remove")),
    "weight norm": (normed, ("0 (ParametrizedConv2d)", "remove_parametrizations(module, 'weight')")),
    "quantized already": (dynamic, ("4 (Linear)", "quantized already", "float32")),
    "DataParallel": (lambda: nn.DataParallel(good()), ("DataParallel", "its .module")),
    "compiled": (lambda: torch.compile(good()), ("OptimizedModule", "handed to torch.compile")),
    "branch": (lambda: Around(lambda net, x: net(x) if x.mean() > 0 else x), ("broken.py", "Branches")),
    "item": (lambda: Around(lambda net, x: net(x) * float(x.max())), ("broken.py", "tensor values")),
    "numpy": (lambda: Around(lambda net, x: net(torch.from_numpy(x.numpy()))), ("Around", "other libraries")),
    "unknown operator": (lambda: Around(lambda net, x: net(x.flip(3))), ("aten.flip", "line", "Replace it")),
    "three axes": (Volume, ("aten.conv3d", "'conv' (Conv3d)", "Replace it")),
    "plain recurrent layer": (lambda: Lines(nn.RNN), ("aten.rnn_tanh", "'rnn' (RNN)", "Replace it")),
    "learnt state": (lambda: Lines(nn.GRU, learnt=True), ("begin with zeros", "Leave the initial state out")),
    "complex": (lambda: Around(lambda net, x: net((x * 1j).real)), ("complex number", "Leave that part out")),
    "random": (lambda: Around(lambda net, x: net(F.dropout(x, 0.5))), ("at random", "self.training")),
    "keeps a state": (Counting, ("calls", "changes this tensor", "outside")),
    "mixes examples": (lambda: Around(lambda net, x: net(x - x.mean(0))), ("mixes the examples", "apart")),
    "fixed batch": (lambda: Around(lambda net, x: net(x.view(1, 3, 8, 8))), ("batch must stay free", "-1")),
    "other channels": (lambda: nn.Sequential(nn.Conv2d(1, 8, 3)), ("(1, 3, 8, 8)", "1 channels", "Hand in")),
    "two inputs": (Two, ("missing 1 required positional argument", "Hand in")),
    "two outputs": (lambda: Around(lambda net, x: (net(x), net(x))), ("2 outputs", "labels=False")),
    "too few classes": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), ("below 2", "last layer")),
    "no output": (lambda: Around(lambda net, x: None), ("output None", "must be a tensor")),
    "no weights": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), ("no weights", "smaller")),
    "no module": (lambda: good().state_dict(), ("must be or return a torch module", "OrderedDict")),
    "no file": (lambda: torch.load("/nowhere/weights.pt"), ("FileNotFoundError", "/nowhere/weights.pt")),
}  # fmt: skip


def data() -> wieldy.Data:
    """Return noise in four classes."""
    x = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    return wieldy.Data((x, np.arange(64) % 4))
