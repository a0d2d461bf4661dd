"""Pictures as a network takes them, against pixels between 0 and 1: where corruptions and attacks work."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.assure.pair import Pair
from wieldy.core.data import each
from wieldy.graph.program import with_batch

Floats = NDArray[np.float32]
LEAST_SIDE = 8  # pixels; below that nothing is seen in a picture


@dataclass(frozen=True)
class Pixels:
    """The map pixels = inputs * std + mean, by channel.

    Attributes:
        mean, std: (channels,) float32.
        assumption: where they come from, in words.

    Example:
        >>> of = Pixels(np.float32([0.5]), np.float32([0.25]), "")
        >>> of.from_inputs(np.zeros((1, 1, 1, 1), np.float32)).item()
        0.5
        >>> of.to_inputs(np.ones((1, 1, 1, 1), np.float32)).item()
        2.0
    """

    mean: Floats
    std: Floats
    assumption: str

    def from_inputs(self, inputs: NDArray[Any]) -> Floats:
        """Return pixels of (n, channels, height, width) inputs, cut off at 0 and 1."""
        scaled = inputs * self.std[:, None, None] + self.mean[:, None, None]
        return np.asarray(np.clip(scaled, 0, 1), np.float32)

    def to_inputs(self, pixels: NDArray[Any]) -> Floats:
        """Return what the network takes for (n, channels, height, width) pixels."""
        return np.asarray((pixels - self.mean[:, None, None]) / self.std[:, None, None], np.float32)


def pixels_of(pair: Pair) -> Pixels | str:
    """Return how inputs become pixels, or why they are no pictures.

    Inputs are pictures where there is one of them, float32 and of 1 or 3 channels. The normalisation is what
    the data or else the manifest says; without one, inputs between 0 and 1 are pixels as they are, and where
    they reach further, the smallest and the largest value stand for 0 and 1.
    """
    (card, *more) = pair.original.manifest.inputs
    if more:
        return f"the network takes {1 + len(more)} inputs, not one picture"
    shape = with_batch(card.shape, 1)[1:]
    if card.dtype != "float32" or len(shape) != 3 or shape[0] not in (1, 3) or min(shape[1:]) < LEAST_SIDE:
        return f"inputs of shape ({', '.join(map(str, shape))}) and type {card.dtype} are no pictures"
    mean, std = pair.data.normalisation
    mean, std = (mean, std) if std else (card.mean, card.std)
    assumption = "pixels are the inputs before their normalisation"
    if not std:
        (inputs,) = each(pair.inputs)
        low, high = min(0.0, float(inputs.min())), max(1.0, float(inputs.max()))
        mean, std = (-low / (high - low),), (1 / (high - low),)
        assumption = (
            f"no normalisation is on record: inputs from {low:.4g} to {high:.4g} are pixels from 0 to 1"
        )
    return Pixels(_by_channel(mean, shape[0]), _by_channel(std, shape[0]), assumption)


def _by_channel(values: tuple[float, ...], channels: int) -> Floats:
    return np.broadcast_to(np.asarray(values, np.float32), (channels,)).copy()
