"""Networks at the size that people have them, most from libraries that know nothing of this project.

torchvision, timm and segmentation-models-pytorch are fetched as wheels and read where they lie; nothing of
them is installed. Weights are random but for MiniLM's.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from registry import sentences, wheel, wild
from torch import Tensor, nn

TORCHVISION = "torchvision==0.28.0"
TIMM = "timm==1.0.31"
SEGMENTATION = "segmentation-models-pytorch==0.6.0"
WORDS = 30_000
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class FullSize:
    """How a network is built, and how a number of inputs for it."""

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Inputs]


class Speech(nn.Module):
    """Three recurrent layers over frames of sound, and an attention over their steps."""

    def __init__(self, frames: int = 80, width: int = 512, classes: int = 40) -> None:
        super().__init__()
        self.lstm = nn.LSTM(frames, width, 3, batch_first=True, dropout=0.1)
        self.score, self.fc = nn.Linear(width, 1), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(x)
        return self.fc((self.score(y).softmax(1) * y).sum(1))


class Tagger(nn.Module):
    """A tag for each word, read from both sides."""

    def __init__(self, width: int = 100, hidden: int = 256, tags: int = 17) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width, padding_idx=0)
        self.gru = nn.GRU(width, hidden, 2, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(2 * hidden, tags)

    def forward(self, words: Tensor) -> Tensor:
        return self.tag(self.gru(self.embed(words))[0])


class Audio(nn.Module):
    """Convolutions over a second of sound, the first one wide, with norms and poolings."""

    def __init__(self, width: int = 128, classes: int = 35) -> None:
        super().__init__()
        sizes = [
            (1, width, 80, 4),
            (width, width, 3, 1),
            (width, 2 * width, 3, 1),
            (2 * width, 4 * width, 3, 1),
        ]
        layers: list[nn.Module] = []
        for before, after, kernel, stride in sizes:
            layers += [nn.Conv1d(before, after, kernel, stride), nn.BatchNorm1d(after), nn.ReLU()]
            layers.append(nn.MaxPool1d(4))
            before = after
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(x).mean(-1))


class PointNet(nn.Module):
    """One network for every point, and the largest answer of all points."""

    def __init__(self, classes: int = 40) -> None:
        super().__init__()
        shared: list[nn.Module] = []
        for before, after in ((3, 64), (64, 64), (64, 64), (64, 128), (128, 1024)):
            shared += [nn.Conv1d(before, after, 1), nn.BatchNorm1d(after), nn.ReLU()]
        self.shared = nn.Sequential(*shared)
        self.head = nn.Sequential(
            nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.ReLU(),
            nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.shared(x.transpose(1, 2)).amax(dim=2))


@cache
def torchvision() -> Any:
    """Return torchvision. Its compiled half needs torch for CUDA, so its operators are only declared."""
    folder = wheel(TORCHVISION)
    _declared(folder / "torchvision" / "_meta_registrations.py")
    sys.path.append(str(folder))
    import torchvision

    return torchvision


@cache  # torch forgets what is declared when the library object goes
def _declared(source: Path) -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for name in dict.fromkeys(re.findall(r'register_fake\("torchvision::(\w+)"', source.read_text())):
        library.define(f"{name}(Tensor x) -> Tensor")
    return library


@cache
def timm() -> Any:
    """Return timm, which needs torchvision."""
    torchvision()
    sys.path.append(str(wheel(TIMM)))
    import timm

    return timm


def of_torchvision(name: str, side: int = 224, **settings: Any) -> FullSize:
    """Return a classifier of torchvision's with random weights."""
    return FullSize(lambda: torchvision().models.get_model(name, weights=None, **settings), pictures(side))


def vit_tiny() -> nn.Module:
    """Return timm's smallest vision transformer."""
    return timm().create_model("vit_tiny_patch16_224")


def u_net() -> nn.Module:
    """Return a U-Net on a ResNet-18, for twenty-one classes."""
    timm()  # it is built upon
    sys.path.append(str(wheel(SEGMENTATION)))
    import segmentation_models_pytorch

    return segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, classes=21)


def pictures(side: int) -> Callable[[int], Inputs]:
    """Return what draws pictures."""
    return lambda count: (torch.randn(count, 3, side, side),)


def of_shape(*shape: int) -> Callable[[int], Inputs]:
    """Return what draws numbers."""
    return lambda count: (torch.randn(count, *shape),)


def words(length: int, *, mask: bool) -> Callable[[int], Inputs]:
    """Return what draws words, with or without a mask over the last third of them."""

    def draw(count: int) -> Inputs:
        found = torch.randint(1, WORDS, (count, length))
        if not mask:
            return (found,)
        kept = (torch.arange(length) < torch.randint(2 * length // 3, length + 1, (count, 1))).long()
        return (found * kept, kept)

    return draw


FULL_SIZE: dict[str, FullSize] = {
    "ResNet-18": of_torchvision("resnet18"),
    "ResNet-50": of_torchvision("resnet50"),
    "VGG-16-BN": of_torchvision("vgg16_bn"),
    "DenseNet-121": of_torchvision("densenet121"),
    "MobileNetV2": of_torchvision("mobilenet_v2"),
    "MobileNetV3-Small": of_torchvision("mobilenet_v3_small"),
    "EfficientNet-B0": of_torchvision("efficientnet_b0"),
    "ShuffleNetV2": of_torchvision("shufflenet_v2_x1_0"),
    "SqueezeNet 1.1": of_torchvision("squeezenet1_1"),
    "Inception v3": of_torchvision("inception_v3", 299, init_weights=False),
    "GoogLeNet": of_torchvision("googlenet", init_weights=False),
    "U-Net": FullSize(u_net, pictures(256)),
    "ViT-Tiny": FullSize(vit_tiny, pictures(224)),
    "all-MiniLM-L6-v2": FullSize(sentences, words(64, mask=True)),
    "LSTM, 3 layers": FullSize(Speech, of_shape(100, 80)),
    "GRU tagger": FullSize(Tagger, words(40, mask=False)),
    "Conv1d audio": FullSize(Audio, of_shape(1, 16_000)),
    "detector, two heads": FullSize(wild.Detector, of_shape(3, 120, 160)),
    "PointNet": FullSize(PointNet, of_shape(1024, 3)),
}


def build(name: str, seed: int = 0) -> nn.Module:
    """Return a network in evaluation mode whose norms know what they read, so that values keep their size."""
    torch.manual_seed(seed)
    known = FULL_SIZE[name]
    model = known.build().train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # averages instead of a decaying mean
    with torch.no_grad():
        for _ in range(2):
            model(*known.inputs(4))
    return model.eval()
