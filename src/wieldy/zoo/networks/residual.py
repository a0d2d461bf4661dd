"""The embedded network: a residual network for 28x28 images, 0.7 M parameters.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
section 3.3 (basic blocks, projection shortcut where the width changes).
"""

import json
from importlib import resources

from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from wieldy.core import digest
from wieldy.core.errors import DigestError

WEIGHTS = "residual28.safetensors"
CARD = "residual28.json"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, out_channels, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Residual28(nn.Module):
    """Stem, three stages of two basic blocks, mean over positions, linear classifier."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128), classes: int = 10) -> None:
        super().__init__()
        first, second, third = widths
        self.stem = nn.Conv2d(1, first, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(first)
        self.stage1 = nn.Sequential(BasicBlock(first, first, 1), BasicBlock(first, first, 1))
        self.stage2 = nn.Sequential(BasicBlock(first, second, 2), BasicBlock(second, second, 1))
        self.stage3 = nn.Sequential(BasicBlock(second, third, 2), BasicBlock(third, third, 1))
        self.classifier = nn.Linear(third, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, 1, 28, 28) to logits (n, classes)."""
        x = F.relu(self.bn(self.stem(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def card() -> dict[str, object]:
    """Return what is known of the embedded weights: digest, accuracy, training command."""
    return dict(json.loads(resources.files(__package__).joinpath(CARD).read_text()))


def residual28() -> Residual28:
    """Return the embedded network, trained on Fashion-MNIST, in evaluation mode.

    Raises:
        DigestError: the weights on disk are not those that were published.
    """
    data = resources.files(__package__).joinpath(WEIGHTS).read_bytes()
    expected = card()["sha256"]
    if digest.of_bytes(data) != expected:
        raise DigestError(
            f"{WEIGHTS}: its SHA-256 must be {expected}; the file was changed. Reinstall wieldy."
        )
    network = Residual28()
    network.load_state_dict(load_tensors(data))
    return network.eval()
