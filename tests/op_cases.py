"""One small network for each way to use an operator of the allow-list."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE, ODD, VECTOR, SEQUENCE = (3, 4, 8, 8), (3, 4, 9, 7), (3, 6), (3, 5, 6)  # example shapes, batch first


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Stored(nn.Module):
    """A function of the input and of a parameter, a buffer, and an attribute that is neither."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.rand(4, 1, 1) + 0.5)
        self.register_buffer("mean", torch.randn(1, 4, 1, 1))
        self.std = torch.rand(4, 1, 1) + 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight, self.mean, self.std)


def norm(layer: nn.Module) -> nn.Module:
    """Give a norm layer statistics that are not those of a fresh one."""
    nn.init.normal_(layer.running_mean)
    nn.init.uniform_(layer.running_var, 0.5, 2.0)
    if layer.affine:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return layer


Case = tuple[Callable[[], nn.Module], tuple[int, ...]]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "silu": nn.SiLU,
    "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid, "gelu": nn.GELU,
    "gelu tanh": lambda: nn.GELU("tanh"), "leaky_relu": lambda: nn.LeakyReLU(0.2), "elu": nn.ELU,
    "elu alpha": lambda: nn.ELU(0.7), "hardtanh": lambda: nn.Hardtanh(-0.5, 0.7),
    "elu scaled": lambda: Call(lambda x: torch.ops.aten.elu(x, 1.6, 1.1, 0.8)),
    "relu6 by its operator": lambda: Call(torch.ops.aten.relu6),
    "softmax": lambda: nn.Softmax(-1), "log_softmax": lambda: nn.LogSoftmax(1),
    "dropout": nn.Dropout, "feature_dropout": nn.Dropout2d,
}  # fmt: skip

LAYERS: dict[str, Case] = {
    "conv": (lambda: nn.Conv2d(4, 6, 3), IMAGE),
    "conv strided": (lambda: nn.Conv2d(4, 6, (3, 5), (2, 1), (1, 2)), ODD),
    "conv dilated": (lambda: nn.Conv2d(4, 6, 3, dilation=2, bias=False), ODD),
    "conv grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), IMAGE),
    "conv depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), IMAGE),
    "conv padding same": (lambda: nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(2, 1)), ODD),
    "conv padding valid": (lambda: nn.Conv2d(4, 6, 3, padding="valid"), ODD),
    "linear": (lambda: nn.Linear(6, 5), VECTOR),
    "linear without bias": (lambda: nn.Linear(6, 5, bias=False), VECTOR),
    "linear on a sequence": (lambda: nn.Linear(6, 5), SEQUENCE),
    "linear to one": (lambda: nn.Sequential(nn.Linear(6, 1), nn.Tanh(), nn.Linear(1, 1)), VECTOR),
    "batch_norm of images": (lambda: norm(nn.BatchNorm2d(4, eps=0.1)), IMAGE),
    "batch_norm of vectors": (lambda: norm(nn.BatchNorm1d(6)), VECTOR),
    "batch_norm of sequences": (lambda: norm(nn.BatchNorm1d(5)), SEQUENCE),
    "batch_norm without weights": (lambda: norm(nn.BatchNorm2d(4, affine=False)), IMAGE),
    "max_pool": (lambda: nn.MaxPool2d(3, 2, 1), ODD),
    "max_pool dilated": (lambda: nn.MaxPool2d((2, 3), (1, 2), dilation=2), ODD),
    "max_pool before a conv": (lambda: nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 3, 3)), IMAGE),
    "avg_pool": (lambda: nn.AvgPool2d((3, 2)), ODD),
    "avg_pool padded": (lambda: nn.AvgPool2d(3, 2, 1), ODD),
    "avg_pool without the padding": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), ODD),
    "avg_pool rounded up": (lambda: nn.AvgPool2d(2, 2, ceil_mode=True), ODD),
    "avg_pool past the padding": (lambda: nn.AvgPool2d(3, (3, 2), 1, ceil_mode=True), (3, 4, 8, 8)),
    "avg_pool past the padding, without it": (lambda: nn.AvgPool2d(3, 2, 1, True, False), (3, 4, 8, 8)),
    "max_pool past the padding": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (3, 4, 8, 8)),
    "adaptive_avg_pool to one": (lambda: nn.AdaptiveAvgPool2d(1), ODD),
    "adaptive_avg_pool to fewer": (lambda: nn.AdaptiveAvgPool2d((4, 3)), ODD),
    "adaptive_avg_pool to more": (lambda: nn.AdaptiveAvgPool2d((11, 8)), ODD),
    "adaptive_avg_pool to as many": (lambda: nn.AdaptiveAvgPool2d((None, 7)), ODD),
}

FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "add a number": (lambda x: x + 2, VECTOR),
    "add itself": (lambda x: x + x, VECTOR),
    "add scaled": (lambda x: torch.add(x, x.relu(), alpha=3), VECTOR),
    "sub": (lambda x: x - 0.5, VECTOR),
    "sub scaled": (lambda x: torch.sub(x, x.relu(), alpha=2), VECTOR),
    "sub from a number": (lambda x: 1 - x, VECTOR),
    "mul": (lambda x: x * 0.25 * x, VECTOR),
    "div": (lambda x: x / 3 / (2 + x.sigmoid()), VECTOR),
    "add a constant": (lambda x: x + torch.tensor(2.0), VECTOR),
    "broadcast": (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), IMAGE),
    "broadcast over channels": (lambda x: x * x.mean(1, keepdim=True).sigmoid(), IMAGE),
    "cat": (lambda x: torch.cat([x, x.relu(), x], 1), IMAGE),
    "cat from the end": (lambda x: torch.cat([x, x.tanh()], -1), IMAGE),
    "mean": (lambda x: x.mean([2, 3]), IMAGE),
    "mean from the end": (lambda x: x.mean((-1, -2), keepdim=True), IMAGE),
    "flatten": (lambda x: torch.flatten(x, 1), IMAGE),
    "flatten some": (lambda x: x.flatten(2), IMAGE),
    "view": (lambda x: x.view(x.size(0), -1), IMAGE),
    "view by a free batch": (lambda x: x.view(-1, 4 * 64), IMAGE),
    "reshape": (lambda x: x.reshape(x.shape[0], 8, 4, 8), IMAGE),
    "squeeze": (lambda x: x.mean((2, 3), keepdim=True).squeeze(3).squeeze(-1), IMAGE),
    "unsqueeze": (lambda x: x.unsqueeze(1) * x[:, None], IMAGE),
    "unflatten": (lambda x: x.unflatten(1, (2, 3)), VECTOR),
    "slice of everything": (lambda x: x[:, :].relu()[:], VECTOR),
    "clone, contiguous and to": (lambda x: x.clone().contiguous().to(torch.float32).detach(), VECTOR),
    "identity": (lambda x: x, VECTOR),
    "functional dropout": (lambda x: F.dropout(x, 0.5, training=False), VECTOR),
    "in place": (lambda x: F.relu(x.clone().mul_(2).add_(1).sub_(x), inplace=True), VECTOR),
}

STORED: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "parameter": lambda x, weight, mean, std: x * weight,
    "buffer": lambda x, weight, mean, std: mean - x,
    "normalise": lambda x, weight, mean, std: (x - mean) / std,
    "of one another": lambda x, weight, mean, std: x + weight * mean,
}

CASES: dict[str, Case] = (
    {name: (make, IMAGE) for name, make in ACTIVATIONS.items()}
    | LAYERS
    | {name: (lambda f=f: Call(f), shape) for name, (f, shape) in FUNCTIONS.items()}
    | {f"stored {name}": (lambda f=f: Stored(f), IMAGE) for name, f in STORED.items()}
)


def build(name: str) -> tuple[nn.Module, Tensor]:
    """Return the network of a case, in evaluation mode, and three inputs that reach every branch."""
    torch.manual_seed(0)
    make, shape = CASES[name]
    return make().eval(), 3 * torch.randn(shape)
