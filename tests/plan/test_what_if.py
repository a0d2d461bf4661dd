"""What would make a network faster here: candidates are built, timed and named."""

import pytest
import torch
from torch import nn

from wieldy.cli.show import what_if_lines
from wieldy.core.records import Interval, Timing, WhatIf
from wieldy.graph.trace import trace
from wieldy.package.read import read
from wieldy.package.save import save
from wieldy.plan import what_if as module


def timing(ratio, width=0.01):
    bounds = Interval(value=ratio, low=ratio - width, high=ratio + width)
    return Timing(ratio=bounds, original_ms=1.0, small_ms=ratio, rounds=20, threads=2, batch=1, tier="avx2")


@pytest.fixture
def package(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 96, 3, padding=1), nn.ReLU(), nn.Conv2d(96, 96, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(96 * 64, 5),
    )  # fmt: skip
    return save(trace(net.eval(), torch.randn(1, 3, 8, 8)), tmp_path / "net.wieldy")


@pytest.fixture
def timed(monkeypatch):
    """What is timed, with its precision; nothing really is."""
    seen = []

    def measure(first, second, **_):
        seen.append((second.precision, dict(read(second.path).formats)))
        return timing(0.5)

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module, "has_bf16", lambda tier: tier == "amx")
    return seen


def test_all_kinds_are_timed_and_a_prediction_stands_beside_zeros(package, monkeypatch, timed):
    from wieldy.runtime.costs import cost_table

    monkeypatch.setattr(module, "measured_costs", lambda **_: cost_table("avx2", 2))
    monkeypatch.setattr(module, "why_missing", lambda: None)
    found = module.what_if(package, threads=2, tier="avx2")
    names = [item.candidate for item in found]
    assert names[:5] == ["int7", "channels -25%", "channels -50%", "channels -75%", "channels -50%, int7"]
    assert {"svd 50%", "csr 90% zeros", "block_8x1 50% zeros"} <= set(names)
    assert len(timed) == len(found) == 15
    assert all((item.predicted_ratio is None) != item.candidate.endswith("zeros") for item in found)
    assert set(timed[0][1].values()) == {"int7"} | ({"dense"} & set(timed[0][1].values()))


def test_the_switch_comes_first_where_the_tier_has_it_and_bits_follow_the_tier(package, monkeypatch, timed):
    monkeypatch.setattr(module, "why_missing", lambda: "were not built")
    names = [item.candidate for item in module.what_if(package, threads=2, tier="amx")]
    assert names[:2] == ["bf16", "int8"]
    assert timed[0][0] == "bf16"
    assert not any(name.endswith("zeros") for name in names)


def test_what_cannot_be_built_says_why(tmp_path, monkeypatch, timed):
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(1)

    path = save(trace(Mean(), torch.randn(1, 8)), tmp_path / "net.wieldy")
    monkeypatch.setattr(module, "why_missing", lambda: "were not built")
    found = module.what_if(path, threads=2, tier="avx2")
    assert not timed
    assert all(item.timing is None and item.reason and not item.gains for item in found)
    lines = what_if_lines(found, "net.wieldy")
    assert lines[0] == "net.wieldy: nothing could be tried"
    assert "not possible: quantize: no layer can compute in eight bits" in "\n".join(lines)


def test_what_wins_nothing_is_said_to_and_the_fastest_is_marked():
    found = (
        WhatIf(candidate="channels -25%", timing=timing(0.99)),
        WhatIf(candidate="csr 90% zeros", timing=timing(0.4), predicted_ratio=0.42),
        WhatIf(candidate="block_8x1 90% zeros", timing=timing(0.3), predicted_ratio=0.31),
    )
    lines = what_if_lines(found, "net.wieldy")
    assert [line.split()[-1] for line in lines[-3:]] == ["gain", "0.420", "fastest"]
    assert "tier avx2" in lines[1]
