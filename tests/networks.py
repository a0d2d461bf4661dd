"""Networks to test on, in plain torch. State-dict keys are torchvision's; `width` scales the channels."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace


def scaled(channels: int, width: float) -> int:
    """Return a channel count times `width`: at least 4, and even, so that groups can share it."""
    return max(4, 2 * round(channels * width / 2))


class BasicBlock(nn.Module):
    def __init__(self, inner: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or inner != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inner, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    def __init__(self, classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        first, *others = (scaled(channels, width) for channels in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3, first, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(first, first, 1), BasicBlock(first, first, 1))
        before = first
        for number, channels in enumerate(others, 2):
            blocks = nn.Sequential(BasicBlock(before, channels, 2), BasicBlock(channels, channels, 1))
            setattr(self, f"layer{number}", blocks)
            before = channels
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Bottleneck(nn.Module):
    def __init__(self, inner: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inner != 4 * channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inner, 4 * channels, 1, stride, bias=False), nn.BatchNorm2d(4 * channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        return self.relu(out + identity)


class ResNet50(nn.Module):
    def __init__(self, classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        first, *others = (scaled(channels, width) for channels in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3, first, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = first
        for number, (channels, depth) in enumerate(zip((first, *others), (3, 4, 6, 3), strict=True), 1):
            blocks = [Bottleneck(before, channels, 2 if number > 1 else 1)]
            before = 4 * channels
            blocks += [Bottleneck(before, channels, 1) for _ in range(depth - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Vgg16Bn(nn.Module):
    def __init__(self, classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            if not channels:
                layers.append(nn.MaxPool2d(2, 2))
                continue
            after = scaled(channels, width)
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            before = after
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        hidden = scaled(4096, width)
        self.classifier = nn.Sequential(
            nn.Linear(before * 49, hidden), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(hidden, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def conv_norm_relu6(before: int, after: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = before * expansion
        layers: list[nn.Module] = [conv_norm_relu6(before, hidden, 1, 1)] if expansion != 1 else []
        layers += [
            conv_norm_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    SETTINGS = (  # expansion, channels, blocks, stride
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip

    def __init__(self, classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        before, last = scaled(32, width), scaled(1280, width)
        features: list[nn.Module] = [conv_norm_relu6(3, before, 3, 2)]
        for expansion, channels, count, stride in self.SETTINGS:
            after = scaled(channels, width)
            for index in range(count):
                features.append(InvertedResidual(before, after, stride if index == 0 else 1, expansion))
                before = after
        features.append(conv_norm_relu6(before, last, 1, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class DenseLayer(nn.Module):
    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(before, 2 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, parts: list[Tensor]) -> Tensor:
        x = self.conv1(self.relu1(self.norm1(torch.cat(parts, 1))))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    def __init__(self, count: int, before: int, growth: int) -> None:
        super().__init__(
            {f"denselayer{i + 1}": DenseLayer(before + i * growth, growth) for i in range(count)}
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for layer in self.values():
            parts.append(layer(parts))
        return torch.cat(parts, 1)


class DenseNet(nn.Module):
    """Two dense blocks with a transition, as in DenseNet."""

    def __init__(self, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        growth, first = scaled(32, width), scaled(64, width)
        middle = (first + 3 * growth) // 2
        last = middle + 3 * growth
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, first, 3, 2, 1, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(first))
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("denseblock1", DenseBlock(3, first, growth))
        transition = nn.Sequential()
        transition.add_module("norm", nn.BatchNorm2d(first + 3 * growth))
        transition.add_module("relu", nn.ReLU(inplace=True))
        transition.add_module("conv", nn.Conv2d(first + 3 * growth, middle, 1, bias=False))
        transition.add_module("pool", nn.AvgPool2d(2, 2))
        self.features.add_module("transition1", transition)
        self.features.add_module("denseblock2", DenseBlock(3, middle, growth))
        self.features.add_module("norm5", nn.BatchNorm2d(last))
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class GroupedBlock(nn.Module):
    """A ResNeXt block whose middle convolution has `groups` groups, from 1 to depthwise."""

    def __init__(self, before: int, inner: int, after: int, groups: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class GroupedNet(nn.Module):
    def __init__(self, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        inner = 8 * max(1, round(8 * width))
        first, last = scaled(64, width), scaled(128, width)
        self.conv1 = nn.Conv2d(3, first, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(
            GroupedBlock(first, inner, last, 2, 1),
            GroupedBlock(last, inner, last, 4, 1),
            GroupedBlock(last, inner, last, inner, 1),
        )
        self.layer2 = nn.Sequential(
            GroupedBlock(last, inner, last, 8, 2),
            GroupedBlock(last, inner, last, 1, 1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class UserCnn(nn.Module):
    """What a beginner writes: pooling, a flatten over 4 x 4 positions, dropout, functional activations."""

    def __init__(self, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        first, second, hidden = (scaled(channels, width) for channels in (16, 32, 64))
        self.conv1 = nn.Conv2d(3, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.25)
        self.fc1 = nn.Linear(second * 4 * 4, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(torch.sigmoid(self.conv2(x)))
        x = self.drop(x.view(x.size(0), -1))
        x = F.dropout(F.relu(self.fc1(x)), 0.1, training=self.training)
        return self.fc2(x)


NETWORKS: dict[str, tuple[Callable[..., nn.Module], int]] = {  # class, and the side of its test images
    "resnet18": (ResNet18, 32),
    "vgg16_bn": (Vgg16Bn, 32),
    "mobilenet_v2": (MobileNetV2, 32),
    "densenet": (DenseNet, 16),
    "grouped": (GroupedNet, 16),
    "user_cnn": (UserCnn, 16),
}
FIVE = [name for name in NETWORKS if name != "user_cnn"]
WIDTH = 0.125


def build(name: str, width: float = WIDTH, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Return a network with random weights and running statistics, in evaluation mode, and four inputs."""
    kind, side = NETWORKS[name]
    torch.manual_seed(seed)
    model = kind(classes=10, width=width)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval(), torch.randn(4, 3, side, side)


@cache
def traced(name: str) -> tuple[nn.Module, Tensor, GraphNetwork]:
    """Return a network, its inputs and its trace, made once: copy before altering."""
    model, x = build(name)
    return model, x, trace(model, x)


def relative_error(found: object, wanted: object) -> float:
    """Return max|a - b| / max|b|."""
    a, b = torch.as_tensor(found).detach(), torch.as_tensor(wanted).detach()
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())
