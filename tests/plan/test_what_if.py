"""What would make a network faster here: candidates are built, timed and named."""

import pytest
import torch
from torch import nn

from wieldy.cli.show import what_if_lines
from wieldy.core.records import Interval, Timing, WhatIf
from wieldy.graph.trace import trace
from wieldy.package.save import save
from wieldy.plan import what_if as module


def timing(ratio, width=0.01):
    bounds = Interval(value=ratio, low=ratio - width, high=ratio + width)
    return Timing(ratio=bounds, original_ms=1.0, small_ms=ratio, rounds=20, threads=2, batch=1, tier="avx2")


@pytest.fixture
def package(tmp_path):
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 64, 5),
    )  # fmt: skip
    return save(trace(net.eval(), torch.randn(1, 3, 8, 8)), tmp_path / "net.wieldy")


def test_channels_and_zeros_are_timed_and_a_prediction_stands_beside_zeros(package, monkeypatch):
    from wieldy.runtime.costs import cost_table

    monkeypatch.setattr(module, "measured_costs", lambda **_: cost_table("avx2", 2))
    monkeypatch.setattr(module, "why_missing", lambda: None)
    seen = []
    monkeypatch.setattr(module, "measure", lambda first, second, **_: seen.append(second) or timing(0.5))
    found = module.what_if(package, threads=2, tier="avx2")
    names = [item.candidate for item in found]
    assert names[:3] == ["channels -25%", "channels -50%", "channels -75%"]
    assert "csr 90% zeros" in names
    assert "block_8x1 50% zeros" in names
    assert len(seen) == len(found) == 11
    assert all((item.predicted_ratio is None) == item.candidate.startswith("channels") for item in found)


def test_without_kernels_only_channels_are_offered(package, monkeypatch):
    monkeypatch.setattr(module, "why_missing", lambda: "were not built")
    monkeypatch.setattr(module, "measure", lambda *_, **__: timing(0.5))
    assert {item.candidate.split()[0] for item in module.what_if(package, threads=2)} == {"channels"}


def test_what_wins_nothing_is_said_to_and_the_fastest_is_marked():
    found = (
        WhatIf(candidate="channels -25%", timing=timing(0.99)),
        WhatIf(candidate="csr 90% zeros", timing=timing(0.4), predicted_ratio=0.42),
        WhatIf(candidate="block_8x1 90% zeros", timing=timing(0.3), predicted_ratio=0.31),
    )
    lines = what_if_lines(found, "net.wieldy")
    assert [line.split()[-1] for line in lines[-3:]] == ["gain", "0.420", "fastest"]
    assert "tier avx2" in lines[1]
