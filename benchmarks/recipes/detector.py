"""A detector with two heads, PReLU and poolings that round up, on crops of photos."""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wieldy import Data
from wieldy.core.data import Metric

sys.path.insert(0, str(Path(__file__).parents[1]))
import pictures
from registry import wild

COUNT, SIDE = 600, 112
Answers = tuple[NDArray[np.float32], ...]


def detector() -> nn.Module:
    """Return it, with random weights that are always the same."""
    torch.manual_seed(0)
    return wild.Detector().eval()


def difference(output: Answers, wanted: Answers) -> NDArray[np.float32]:
    """Return, for each picture, the mean over both heads of |a - b| relative to the head's mean |b|."""
    heads = [
        np.abs(a - b).reshape(len(a), -1).mean(axis=1) / np.abs(b).mean()
        for a, b in zip(output, wanted, strict=True)
    ]
    return np.mean(heads, axis=0)


def data() -> Data:
    """Return crops whose targets are what the network says of them."""
    x = np.ascontiguousarray(pictures.crops(COUNT, held_out=False)[:, :, :SIDE, :SIDE])
    with torch.no_grad():
        answers = tuple(value.numpy() for value in detector()(torch.from_numpy(x)))
    metric = Metric(name="difference", scores=difference, labels=False, higher_is_better=False)
    return Data((x, answers), metric=metric)
