"""Networks are trained with channels last, but where that would make gradients wrong."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import wieldy
from wieldy.train.layout import training_layout

FIRST, LAST = torch.contiguous_format, torch.channels_last
SCRIPT = """
import sys
import numpy as np, torch, wieldy
from torch import nn
from wieldy.train.fit import FitConfig
torch.manual_seed(0)
torch.set_num_threads(1)
narrow = nn.Conv2d(4, 8, 1, stride=2, bias=False)
network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), narrow, nn.Flatten(), nn.Linear(2048, 3))
draw = np.random.default_rng(0)
x, y = draw.standard_normal((96, 1, 32, 32), np.float32), draw.integers(0, 3, 96)
data = wieldy.Data((x, y), (x, y), (x, y))
with torch.backends.mkldnn.flags(enabled=sys.argv[1] == "onednn"):
    found = wieldy.fit(network, data, config=FitConfig(epochs=1, batch_size=32, learning_rate=0.1))
print(*found[2].weight.detach().flatten().tolist())
"""


def strided(channels: int, kernel: int = 1, stride: int = 2) -> nn.Conv2d:
    return nn.Conv2d(channels, 8, kernel, stride=stride)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("conv", "layout"),
    [
        (strided(4), FIRST),
        (strided(15), FIRST),
        (strided(16), LAST),
        (strided(4, stride=1), LAST),
        (strided(4, kernel=3), LAST),
    ],
)
def test_only_a_narrow_strided_convolution_of_kernel_one_keeps_channels_first(
    conv: nn.Conv2d, layout: torch.memory_format, traced: bool
) -> None:
    network: nn.Module = nn.Sequential(conv, nn.ReLU())
    if traced:
        network = wieldy.trace(network.eval(), torch.zeros(1, conv.in_channels, 9, 9))
    assert training_layout(network) is layout


def test_on_avx2_a_narrow_strided_convolution_learns_what_it_does_without_onednn() -> None:
    found = []
    for backend in ("onednn", "none"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, backend], env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(torch.tensor([float(word) for word in done.stdout.split()]))
    assert (found[0] - found[1]).norm() < 1e-4 * found[1].norm()
