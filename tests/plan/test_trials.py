"""Low rank is kept where it saves milliseconds, and refused with both times where it does not."""

import networks
import pytest
import torch
from torch import nn

from wieldy.core.errors import ConfigError
from wieldy.core.records import Change, Interval, LayerTime, Refused, Timing
from wieldy.graph.ops import WEIGHTED
from wieldy.graph.trace import trace
from wieldy.methods.factor.svd import SvdConfig
from wieldy.package.read import read
from wieldy.plan import trials
from wieldy.stats.collect import Stats

PLAIN = SvdConfig(share=0.5, weighted=False)


@pytest.fixture(scope="module")
def network():
    """Weights of ranks 2 and 10; at rank 51 the second layer takes up to a quarter longer factored."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3))
    with torch.no_grad():
        for layer, rank in ((model[0], 2), (model[2], 10)):
            rows = layer.out_channels
            layer.weight.copy_(
                (torch.randn(rows, rank) @ layer.weight[:rank].flatten(1)).view_as(layer.weight)
            )
    return trace(model.eval(), torch.randn(1, 3, 112, 112))


def test_a_layer_that_is_slower_factored_stays_and_names_both_times(network):
    nearly_all = SvdConfig(share=0.98, weighted=False)
    small, records = trials.factor_where_faster(network, Stats(), nearly_all, threads=1)
    found = {record.layer: record for record in records}
    assert list(found) == ["0", "2"]
    assert isinstance(found["2"], Refused)
    assert "its two factors take" in found["2"].reason
    assert found["2"].reason.count(" ms") == 2
    assert "2.weight" in small.program.tensors


def test_a_layer_that_is_faster_factored_changes_in_a_copy(network):
    small, records = trials.factor_where_faster(
        network, Stats(), SvdConfig(share=0.2, weighted=False), threads=1
    )
    assert isinstance({record.layer: record for record in records}["2"], Change)
    assert "2.first.weight" in small.program.tensors
    assert "2.first.weight" not in network.program.tensors
    x = torch.randn(2, 3, 112, 112)
    assert networks.relative_error(small(x), network(x)) < 1e-4


def test_the_measured_times_alone_decide(network, monkeypatch):
    whole = {"0": 0.3, "2": 2.0}
    factored = {"0.first": 0.1, "0.second": 0.1, "2.first": 1.0, "2.second": 0.96}
    times = [
        tuple(LayerTime(layers=(layer,), kind="", kernel="", milliseconds=ms) for layer, ms in side.items())
        for side in (whole, factored)
    ]
    monkeypatch.setattr(trials, "layer_times", lambda *_, **__: times)
    _, records = trials.factor_where_faster(network, Stats(), PLAIN, threads=1)
    found = {record.layer: record for record in records}
    assert isinstance(found["0"], Change)
    assert isinstance(found["2"], Refused)
    assert "1.960 ms" in found["2"].reason
    assert "2.000 ms" in found["2"].reason


def test_weighing_without_moments_is_refused(network):
    with pytest.raises(ConfigError, match="second moments"):
        trials.factor_where_faster(network, Stats(), SvdConfig())


@pytest.mark.parametrize(("ratio", "groups"), [(0.9, 4), (1.1, 1)])
def test_blocks_on_the_diagonal_become_groups_where_those_are_faster(monkeypatch, ratio, groups):
    layer = nn.Conv2d(64, 64, 3)
    with torch.no_grad():
        layer.weight.mul_(torch.block_diag(*[torch.ones(16, 16)] * 4)[..., None, None])
    x = torch.randn(1, 64, 9, 9)
    network = trace(nn.Sequential(layer).eval(), x)
    timed = []

    def measure(zeros, grouped, **asked):
        timed.append(asked)
        assert read(zeros.path).manifest.formats != read(grouped.path).manifest.formats
        interval = Interval(value=ratio, low=ratio, high=ratio)
        return Timing(
            ratio=interval, original_ms=1.0, small_ms=ratio, rounds=1, threads=1, batch=2, tier="avx2"
        )

    monkeypatch.setattr(trials, "measure", measure)
    small, timing = trials.grouped_where_faster(network, {"0": 4}, threads=1, batch=2, tier="avx2")
    assert timing.ratio.value == ratio
    assert timed[0]["batch"] == 2
    assert [node.groups for node in small.program.nodes if node.op in WEIGHTED] == [groups]
    assert networks.relative_error(small(x), network(x)) < 1e-5
