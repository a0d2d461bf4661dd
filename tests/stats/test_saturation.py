"""Numbers beyond the calibrated ranges are counted, value by value."""

import numpy as np
import pytest
import torch
from torch import nn

from wieldy.compress.quantize import quantize
from wieldy.graph.trace import trace
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.stats.saturation import saturated_shares


def test_what_lies_beyond_the_range_is_counted_where_it_does() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(4))  # type: ignore[union-attr]
    seen = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
    network, _ = quantize(trace(net, torch.zeros(1, 4)), [(seen,)], IntegerConfig(ranges="minmax"))
    inside = saturated_shares(network, [(seen,)])
    assert max(inside.values()) == 0
    beyond = seen.copy()
    beyond[0] = (3.0, 3.0, -3.0, 0.5)
    found = list(saturated_shares(network, [(beyond,)]).values())
    assert found == pytest.approx([3 / 40, 0])  # and after that they lie within
    assert list(saturated_shares(network, [(seen,), (beyond,)]).values()) == pytest.approx([3 / 80, 0])
