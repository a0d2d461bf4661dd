"""Low rank is kept where it saves milliseconds, and refused with both times where it does not."""

import networks
import pytest
import torch
from torch import nn

from wieldy.core.errors import ConfigError
from wieldy.core.records import Change, LayerTime, Refused
from wieldy.graph.trace import trace
from wieldy.methods.factor.svd import SvdConfig
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
