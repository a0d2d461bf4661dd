"""Networks that people bring, written out small: each with the turn of its family that tracers trip over."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace


def conv_norm(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = kernel // 2
    return [
        nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]


class ShuffleUnit(nn.Module):
    """Half of the channels pass by, the other half are computed, and the halves are interleaved."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        half, self.stride = after // 2, stride
        inner = before if stride == 2 else half
        self.side = nn.Sequential(
            *conv_norm(before, before, 3, 2, before), *conv_norm(before, half, 1), nn.ReLU(True)
        )
        self.main = nn.Sequential(
            *conv_norm(inner, half, 1), nn.ReLU(True),
            *conv_norm(half, half, 3, stride, half),
            *conv_norm(half, half, 1), nn.ReLU(True),
        )  # fmt: skip
        if stride == 1:
            self.side = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        kept, read = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        y = torch.cat([self.side(kept), self.main(read)], dim=1)
        batch, channels, height, width = y.shape
        return (
            y.view(batch, 2, channels // 2, height, width)
            .transpose(1, 2)
            .contiguous()
            .view(batch, channels, height, width)
        )


class ShuffleNetV2(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 12, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, 1))
        sizes = [(12, 24, 2), (24, 24, 1), (24, 24, 1), (24, 48, 2), (48, 48, 1)]
        self.units = nn.Sequential(*(ShuffleUnit(*size) for size in sizes))
        self.last = nn.Sequential(*conv_norm(48, 64, 1), nn.ReLU(True))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.units(self.stem(x))).mean([2, 3]))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(self.pool(x)))))


class Inverted(nn.Module):
    """MobileNetV3's block: expansion, depthwise, squeeze and excitation, projection."""

    def __init__(self, before: int, inner: int, after: int, kernel: int, stride: int, act: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *conv_norm(before, inner, 1), act,
            *conv_norm(inner, inner, kernel, stride, inner), act,
            SqueezeExcite(inner, inner // 4), *conv_norm(inner, after, 1),
        )  # fmt: skip
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return x + y if self.adds else y


class MobileNetV3(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *conv_norm(3, 16, 3, 2), nn.Hardswish(),
            Inverted(16, 16, 16, 3, 2, nn.ReLU()),
            Inverted(16, 48, 24, 5, 2, nn.Hardswish()),
            Inverted(24, 72, 24, 5, 1, nn.Hardswish()),
            *conv_norm(24, 96, 1), nn.Hardswish(),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(96, 64), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(64, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class Fire(nn.Module):
    def __init__(self, before: int, squeezed: int, after: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, after // 2, 1)
        self.expand3 = nn.Conv2d(squeezed, after // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1(x)), F.relu(self.expand3(x))], 1)


class SqueezeNet(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(16, 8, 32), Fire(32, 8, 32), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(32, 12, 48),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(48, classes, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


class Attention(nn.Module):
    """Queries, keys and values from one matrix, as vision transformers have them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class SplitAttention(nn.Module):
    """Queries, keys and values apart, the product written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        y = (q @ k.transpose(-2, -1) * self.scale).softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), attention, nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed(self.norm2(x))


class PatchTransformer(nn.Module):
    """A vision transformer with a token for the class."""

    def __init__(self, classes: int = 10, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width) / 10)
        self.place = nn.Parameter(torch.randn(1, 17, width) / 10)
        self.blocks = nn.Sequential(
            Encoder(width, Attention(width, 4)), Encoder(width, SplitAttention(width, 3))
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.place
        return self.head(self.norm(self.blocks(x))[:, 0])


class Audio(nn.Module):
    """Convolutions over a waveform, group norm, and a PReLU for each channel."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 16, 9, stride=4, padding=4), nn.BatchNorm1d(16), nn.PReLU(16), nn.MaxPool1d(2),
            nn.Conv1d(16, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.PReLU(),
            nn.Conv1d(24, 24, 3, padding=2, dilation=2, groups=24), nn.Conv1d(24, 32, 1), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
        )  # fmt: skip
        self.fc = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(x).squeeze(-1))


class PointNet(nn.Module):
    """One small network for every point, and the largest answer of all points."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Conv1d(3, 16, 1), nn.ReLU(), nn.BatchNorm1d(16),
            nn.Conv1d(16, 32, 1), nn.ReLU(), nn.BatchNorm1d(32),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.shared(x.transpose(1, 2)).amax(dim=2))


class UNet(nn.Module):
    """Down twice, up twice, each resolution joined with what it was on the way down."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.down1 = nn.Sequential(*conv_norm(3, 12, 3), nn.ReLU())
        self.down2 = nn.Sequential(nn.MaxPool2d(2), *conv_norm(12, 24, 3), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), *conv_norm(24, 32, 3), nn.ReLU())
        self.up2, self.up1 = nn.ConvTranspose2d(32, 24, 2, 2), nn.Upsample(scale_factor=2, mode="bilinear")
        self.join2 = nn.Sequential(*conv_norm(48, 24, 3), nn.ReLU())
        self.join1 = nn.Sequential(*conv_norm(36, 12, 3), nn.ReLU())
        self.head = nn.Conv2d(12, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(first)
        up = self.join2(torch.cat([self.up2(self.bottom(second)), second], 1))
        return self.head(self.join1(torch.cat([first, self.up1(up)], 1)))


class Inception(nn.Module):
    """Four branches side by side, with the norm after the activation in one of them."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 16, 3, 2), nn.ReLU())
        self.one = nn.Sequential(*conv_norm(16, 8, 1), nn.ReLU())
        self.three = nn.Sequential(
            nn.Conv2d(16, 8, 1), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 12, 3, padding=1)
        )
        self.wide = nn.Sequential(*conv_norm(16, 8, 1), nn.Conv2d(8, 8, (1, 7), padding=(0, 3)), nn.ReLU())
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.Conv2d(16, 4, 1))
        self.fc = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = torch.cat([self.one(x), self.three(x), self.wide(x), self.pool(x)], 1)
        return self.fc(F.relu(y).mean((2, 3)))


class EfficientNet(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *conv_norm(3, 16, 3, 2), nn.SiLU(),
            Inverted(16, 32, 16, 3, 1, nn.SiLU()),
            Inverted(16, 64, 24, 5, 2, nn.SiLU()),
            Inverted(24, 96, 24, 3, 1, nn.SiLU()),
            *conv_norm(24, 64, 1), nn.SiLU(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Detector(nn.Module):
    """Where and what: two heads on one trunk, PReLU, poolings that round up."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 10, 3), nn.PReLU(10), nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(10, 16, 3), nn.PReLU(16), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(16, 32, 2), nn.PReLU(32),
        )  # fmt: skip
        self.what, self.where = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.what(x).softmax(1), self.where(x)


class Speech(nn.Module):
    """Three recurrent layers, and an attention over their steps."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, 3, batch_first=True, dropout=0.1)
        self.score, self.fc = nn.Linear(12, 1), nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(x)
        weight = self.score(y).softmax(1)
        return self.fc((weight * y).sum(1))


class Tagger(nn.Module):
    """A tag for each word, read from both sides."""

    def __init__(self, words: int = 50, tags: int = 7) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, 16, padding_idx=0)
        self.gru = nn.GRU(16, 12, 2, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(24, tags)

    def forward(self, words: Tensor) -> Tensor:
        return self.tag(self.gru(self.embed(words))[0])


class Bert(nn.Module):
    """Words, their places and a mask; torch's own attention."""

    def __init__(self, words: int = 60, width: int = 24, length: int = 9) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(16, width)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("position", torch.arange(16)[None])
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width))

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        x = self.norm(self.words(words) + self.places(self.position[:, : words.shape[1]]))
        y, _ = self.attention(x, x, x, key_padding_mask=mask == 0, need_weights=False)
        x = self.norm1(x + y)
        x = self.norm2(x + self.feed(x))
        kept = mask.unsqueeze(-1).float()
        return F.normalize((x * kept).sum(1) / kept.sum(1).clamp(min=1e-9), dim=-1)


class Sentence(nn.Module):
    """The mean of what an encoder says of the words that the mask keeps, of length one."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask.unsqueeze(-1).float()
        return F.normalize((x * kept).sum(1) / kept.sum(1).clamp(min=1e-9), dim=-1)


class Encoders(nn.Module):
    """torch's own transformer layers."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(x).mean(1))


WILD: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {  # class, and the shape of an example
    "shufflenet_v2": (ShuffleNetV2, (3, 32, 32)),
    "mobilenet_v3": (MobileNetV3, (3, 32, 32)),
    "squeezenet": (SqueezeNet, (3, 33, 33)),
    "vision transformer": (PatchTransformer, (3, 16, 16)),
    "audio": (Audio, (1, 128)),
    "pointnet": (PointNet, (20, 3)),
    "u-net": (UNet, (3, 16, 24)),
    "inception": (Inception, (3, 17, 17)),
    "efficientnet": (EfficientNet, (3, 32, 32)),
    "detector": (Detector, (3, 26, 24)),
    "speech": (Speech, (11, 8)),
    "tagger": (Tagger, (9,)),
    "bert": (Bert, (9,)),
    "encoders": (Encoders, (6, 16)),
}
Inputs = tuple[Tensor, ...]


def example(name: str) -> Inputs:
    """Return three inputs: words and a mask where words are read, else numbers."""
    shape = WILD[name][1]
    if name not in ("tagger", "bert"):
        return (torch.randn(3, *shape),)
    words, lengths = torch.randint(1, 50, (3, *shape)), torch.tensor([[9], [4], [6]])
    mask = (torch.arange(9) < lengths).long()
    return (words * mask, mask) if name == "bert" else (words,)


def build(name: str, seed: int = 0) -> tuple[nn.Module, Inputs]:
    """Return a network with random weights and running statistics, in evaluation mode, and three inputs."""
    torch.manual_seed(seed)
    model = WILD[name][0]()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return model.eval(), example(name)


@cache
def traced(name: str) -> tuple[nn.Module, Inputs, GraphNetwork]:
    """Return a network, its inputs and its trace, made once: copy before altering."""
    model, inputs = build(name)
    return model, inputs, trace(model, inputs)


def outputs(found: object) -> list[Tensor]:
    """Return what a network yields as a list."""
    return [torch.as_tensor(value) for value in (found if isinstance(found, tuple) else (found,))]
