"""A digit classifier that others trained: three convolutions with pools, two linear layers, 390,410 weights.

Source: PyPI package digit-recognizer-py 0.1.0, (c) 2026 Shivam Gupta, MIT licence. Its weights are read from
the cache, which `make data` fills; the layers here have the names of its `state_dict`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from wieldy.core import digest
from wieldy.core.cache import cache_folder
from wieldy.core.errors import DataError, DigestError

WEIGHTS = "handwriting_model.pth"
SHA256 = "325e0773529babe8ebb6adf35a82c64e57c5f3518c2adb975865355c74bc4786"


class Digits28(nn.Module):
    """28x28 grey pictures, normalised as `wieldy.zoo.data.mnist` does, to ten logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.fc_layers = nn.Sequential(nn.Linear(128 * 9, 256), nn.ReLU(), nn.Linear(256, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, 1, 28, 28) to logits (n, 10)."""
        logits: Tensor = self.fc_layers(self.conv_layers(x).flatten(1))
        return logits


def digits28(folder: str | Path | None = None) -> Digits28:
    """Return the trained network, in evaluation mode.

    Args:
        folder: that holds `handwriting_model.pth`; default: the cache.

    Raises:
        DataError: the file is not there.
        DigestError: it is not the published one.
    """
    path = (Path(folder) if folder else cache_folder() / "digits28") / WEIGHTS
    if not path.is_file():
        raise DataError(f"{path}: is no file. `make data` fetches it, or name the folder that holds it.")
    if digest.of_file(path) != SHA256:
        raise DigestError(f"{path}: its SHA-256 must be {SHA256}. Fetch it again.")
    network = Digits28()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()
