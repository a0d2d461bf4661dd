"""A network of your own for examples/digits.yaml: trained here on the optical digits, in seconds."""

import torch
from torch import Tensor, nn

from wieldy.train.fit import FitConfig, fit
from wieldy.zoo.data.digits import optical_digits


class DigitNet(nn.Module):
    """Three convolutions, a pool and two linear layers for 8x8 pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(),
            nn.Conv2d(48, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(96, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU(),
        )  # fmt: skip
        self.hidden = nn.Linear(96 * 4 * 4, 128)
        self.output = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 1, 8, 8) to logits (n, 10)."""
        x = self.features(x).flatten(1)
        return self.output(torch.relu(self.hidden(x)))


def trained() -> nn.Module:
    """Train the network and return it."""
    torch.manual_seed(0)
    return fit(DigitNet(), optical_digits(), config=FitConfig(epochs=6, learning_rate=0.05))
