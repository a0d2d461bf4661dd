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


def weighted(layer: nn.Module) -> nn.Module:
    """Give a layer weights that are not those of a fresh one."""
    for tensor in layer.parameters():
        nn.init.normal_(tensor)
    return layer


class First(nn.Module):
    """The first result of a module that has several."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)[0]


class Last(First):
    """The last hidden state of a recurrent layer's last layer, and the one before."""

    def forward(self, x: Tensor) -> Tensor:
        states = self.module(x)[1]
        states = states[0] if isinstance(states, tuple) else states
        return torch.cat([states[-1], states[0]], 1)


class TimeFirst(First):
    """A recurrent layer over the first axis."""

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.transpose(0, 1))[0].transpose(0, 1)


class Tokens(First):
    """A table that is asked by whole numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.abs().long().clamp(max=6))


Case = tuple[Callable[[], nn.Module], tuple[int, ...]]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "silu": nn.SiLU,
    "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid, "gelu": nn.GELU,
    "gelu tanh": lambda: nn.GELU("tanh"), "leaky_relu": lambda: nn.LeakyReLU(0.2), "elu": nn.ELU,
    "elu alpha": lambda: nn.ELU(0.7), "hardtanh": lambda: nn.Hardtanh(-0.5, 0.7),
    "elu scaled": lambda: Call(lambda x: torch.ops.aten.elu(x, 1.6, 1.1, 0.8)),
    "relu6 by its operator": lambda: Call(torch.ops.aten.relu6),
    "softmax": lambda: nn.Softmax(-1), "log_softmax": lambda: nn.LogSoftmax(1),
    "dropout": nn.Dropout, "feature_dropout": nn.Dropout2d, "mish": nn.Mish, "softplus": nn.Softplus,
    "softplus scaled": lambda: nn.Softplus(0.5, 15),
    **{name: lambda name=name: Call(getattr(torch, name))
       for name in ("abs", "neg", "exp", "erf", "sin", "cos")},
    **{name: lambda name=name: Call(lambda x: getattr(torch, name)(x.abs() + 0.1))
       for name in ("log", "sqrt", "rsqrt", "reciprocal")},
    "square": lambda: Call(torch.square), "pow": lambda: Call(lambda x: x.abs() ** 1.5),
    "clamp": lambda: Call(lambda x: x.clamp(-1, 2)), "clamp below": lambda: Call(lambda x: x.clamp(min=0.5)),
    "clamp above": lambda: Call(lambda x: torch.clamp_max(x, 0.5)),
}  # fmt: skip

LAYERS: dict[str, Case] = {
    "conv": (lambda: nn.Conv2d(4, 6, 3), IMAGE),
    "conv strided": (lambda: nn.Conv2d(4, 6, (3, 5), (2, 1), (1, 2)), ODD),
    "conv dilated": (lambda: nn.Conv2d(4, 6, 3, dilation=2, bias=False), ODD),
    "conv grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), IMAGE),
    "conv depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), IMAGE),
    "conv padding same": (lambda: nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(2, 1)), ODD),
    "conv padding valid": (lambda: nn.Conv2d(4, 6, 3, padding="valid"), ODD),
    "conv1d": (lambda: nn.Conv1d(5, 4, 3, 2, 1), SEQUENCE),
    "conv1d grouped and dilated": (lambda: nn.Conv1d(5, 10, 2, dilation=3, groups=5), SEQUENCE),
    "conv1d padding same": (lambda: nn.Conv1d(5, 4, 3, padding="same", bias=False), SEQUENCE),
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
    "max_pool1d": (lambda: nn.MaxPool1d(3, 2, 1, ceil_mode=True), SEQUENCE),
    "avg_pool1d": (lambda: nn.AvgPool1d(2), SEQUENCE),
    "avg_pool1d past the padding": (lambda: nn.AvgPool1d(3, 3, 1, ceil_mode=True), (3, 4, 8)),
    "adaptive_avg_pool1d to one": (lambda: nn.AdaptiveAvgPool1d(1), SEQUENCE),
    "adaptive_avg_pool1d to fewer": (lambda: nn.AdaptiveAvgPool1d(4), SEQUENCE),
    "prelu": (lambda: nn.PReLU(), IMAGE),
    "prelu by channel": (lambda: weighted(nn.PReLU(4)), IMAGE),
    "prelu of vectors": (lambda: weighted(nn.PReLU(6)), VECTOR),
    "group_norm": (lambda: weighted(nn.GroupNorm(2, 4, eps=0.1)), IMAGE),
    "group_norm of sequences": (lambda: weighted(nn.GroupNorm(1, 5)), SEQUENCE),
    "group_norm without weights": (lambda: nn.GroupNorm(4, 4, affine=False), IMAGE),
    "layer_norm": (lambda: weighted(nn.LayerNorm(6, eps=0.1)), SEQUENCE),
    "layer_norm of two axes": (lambda: weighted(nn.LayerNorm((5, 6))), SEQUENCE),
    "layer_norm without a bias": (lambda: weighted(nn.LayerNorm(6, bias=False)), VECTOR),
    "layer_norm without weights": (lambda: nn.LayerNorm(6, elementwise_affine=False), VECTOR),
    "padding of zeros": (lambda: nn.ZeroPad2d((1, 2, 0, 3)), IMAGE),
    "padding by a number": (lambda: nn.ConstantPad1d((2, 1), 0.5), SEQUENCE),
    "padding by reflection": (lambda: nn.ReflectionPad2d((1, 2, 3, 0)), IMAGE),
    "padding by the edge": (lambda: nn.ReplicationPad2d(2), IMAGE),
    "conv_transpose": (lambda: nn.ConvTranspose2d(4, 6, 2, 2), IMAGE),
    "conv_transpose padded": (lambda: nn.ConvTranspose2d(4, 6, 3, (2, 3), 1, (1, 2), bias=False), ODD),
    "conv_transpose dilated": (lambda: nn.ConvTranspose2d(4, 6, 3, dilation=2), IMAGE),
    "conv_transpose grouped": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, groups=2), IMAGE),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(5, 4, 4, 2, 1), SEQUENCE),
    "upsample nearest": (lambda: nn.Upsample(scale_factor=2), ODD),
    "upsample nearest to a size": (lambda: nn.Upsample((11, 5)), ODD),
    "upsample bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), ODD),
    "upsample bilinear by corners": (lambda: nn.Upsample((12, 10), mode="bilinear", align_corners=True), ODD),
    "upsample1d": (lambda: nn.Upsample(scale_factor=3), SEQUENCE),
    "lstm": (lambda: First(nn.LSTM(6, 4, batch_first=True)), SEQUENCE),
    "lstm of layers both ways": (
        lambda: First(nn.LSTM(6, 4, 2, bidirectional=True, dropout=0.1, batch_first=True)),
        SEQUENCE,
    ),
    "lstm time first": (lambda: TimeFirst(nn.LSTM(6, 4, 2, bias=False)), SEQUENCE),
    "lstm's last state": (lambda: Last(nn.LSTM(6, 4, 2, batch_first=True)), SEQUENCE),
    "gru": (lambda: First(nn.GRU(6, 4, batch_first=True)), SEQUENCE),
    "gru of layers both ways": (
        lambda: First(nn.GRU(6, 4, 2, bidirectional=True, batch_first=True)),
        SEQUENCE,
    ),
    "gru without a bias": (lambda: First(nn.GRU(6, 4, bias=False, batch_first=True)), SEQUENCE),
    "gru's last state": (lambda: Last(nn.GRU(6, 4, bidirectional=True, batch_first=True)), SEQUENCE),
    "embedding": (lambda: Tokens(nn.Embedding(7, 4)), VECTOR),
    "embedding with padding": (lambda: Tokens(nn.Embedding(7, 4, padding_idx=0)), VECTOR),
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
    "matmul": (lambda x: x.transpose(1, 2) @ x, SEQUENCE),
    "bmm": (lambda x: torch.bmm(x, x.mT.sigmoid()), SEQUENCE),
    "matmul of images": (lambda x: torch.matmul(x.softmax(-1), x.mT), IMAGE),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x.tanh(), x.relu()), IMAGE),
    "attention causal": (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), IMAGE),
    "attention scaled": (lambda x: F.scaled_dot_product_attention(x, x, x, scale=0.5), IMAGE),
    "attention masked": (
        lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x[:, :1, :1].sigmoid()),
        IMAGE,
    ),
    "attention of shared keys": (
        lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, 2:], enable_gqa=True),
        IMAGE,
    ),
    "amax": (lambda x: x.amax(-1), SEQUENCE),
    "amax of images": (lambda x: x.amax((2, 3), keepdim=True), IMAGE),
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
    "transpose": (lambda x: x.transpose(1, -1).relu(), IMAGE),
    "permute": (lambda x: x.permute(0, 3, 1, 2) + 1, IMAGE),
    "movedim": (lambda x: x.movedim(1, 3).relu(), IMAGE),
    "mT": (lambda x: x.mT.relu(), SEQUENCE),
    "channel shuffle": (lambda x: F.channel_shuffle(x, 2), IMAGE),
    "shuffle by hand": (lambda x: x.view(-1, 2, 2, 8, 8).transpose(1, 2).flatten(1, 2), IMAGE),
    "chunk": (lambda x: x.chunk(2, 1)[1] * x.chunk(2, 1)[0], IMAGE),
    "chunk of odd sizes": (lambda x: torch.cat(x.chunk(4, -1)[::-1], -1), SEQUENCE),
    "split": (lambda x: torch.cat(x.split(3, 2)[::-1], 2), ODD),
    "split by sizes": (lambda x: torch.cat(x.split([1, 4, 2], -1)[1:], -1), ODD),
    "unbind": (lambda x: x.unbind(1)[0] - x.unbind(1)[-1], IMAGE),
    "slice": (lambda x: x[:, 1:3, ::2, -3:], IMAGE),
    "slice with a step": (lambda x: x[:, :, 1:6:2], SEQUENCE),
    "select": (lambda x: x[:, -1] + x[:, 0], SEQUENCE),
    "narrow": (lambda x: x.narrow(1, 1, 2).relu(), IMAGE),
    "maximum": (lambda x: torch.maximum(x, x.tanh()), VECTOR),
    "minimum": (lambda x: torch.minimum(x, -x), VECTOR),
    "sum": (lambda x: x.sum(-1), SEQUENCE),
    "amin": (lambda x: x.amin(1, keepdim=True), SEQUENCE),
    "norm": (lambda x: x.norm(dim=-1, keepdim=True), SEQUENCE),
    "normalize": (lambda x: F.normalize(x, dim=-1), SEQUENCE),
    "cumsum": (lambda x: x.cumsum(1), SEQUENCE),
    "cumsum of truths": (lambda x: (x > 0).long().cumsum(-1) * 1.0, SEQUENCE),
    "glu": (lambda x: F.glu(x, 1), IMAGE),
    "where": (lambda x: torch.where(x > 0.5, x, x * 0.1), VECTOR),
    "where of a number": (lambda x: torch.where(x <= 0, -1.5, x), VECTOR),
    "masked_fill": (lambda x: x.masked_fill(x >= 1, 0.25), VECTOR),
    "masked_fill by minus infinity": (lambda x: x.masked_fill(x < 0, float("-inf")).softmax(-1), SEQUENCE),
    "causal mask": (
        lambda x: (x @ x.mT + torch.full((5, 5), float("-inf")).triu(1)).softmax(-1),
        SEQUENCE,
    ),
    "logic": (lambda x: ((x > 0) & ~(x > 1) | (x < -1)).float() + (x != 0), VECTOR),
    "logic by name": (
        lambda x: torch.logical_and(x > 0, torch.logical_not(x == 1)).to(torch.float32),
        VECTOR,
    ),
    "comparison of two": (lambda x: (x >= x.mean(1, keepdim=True)) * x, VECTOR),
    "whole numbers": (lambda x: (x.long() * 2 + 1).clamp(-3, 3) / 2, VECTOR),
    "attention by truths": (
        lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(8, 8).tril().bool()),
        IMAGE,
    ),
    "attention by truths of the input": (
        lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x[:, :1].abs() < 9),
        IMAGE,
    ),
    "places": (lambda x: x + torch.arange(5)[:, None], SEQUENCE),
    "zeros beside": (
        lambda x: torch.cat([x, x.new_zeros(x.shape[0], 1, 6), torch.ones_like(x)], 1),
        SEQUENCE,
    ),
    "functional dropout": (lambda x: F.dropout(x, 0.5, training=False), VECTOR),
    "in place": (lambda x: F.relu(x.clone().mul_(2).add_(1).sub_(x), inplace=True), VECTOR),
}

STORED: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "parameter": lambda x, weight, mean, std: x * weight,
    "buffer": lambda x, weight, mean, std: mean - x,
    "normalise": lambda x, weight, mean, std: (x - mean) / std,
    "expanded": lambda x, weight, mean, std: torch.cat([mean.expand(x.shape[0], -1, 8, 8), x], 1),
    "expanded alike": lambda x, weight, mean, std: x * weight.expand_as(x).relu(),
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
