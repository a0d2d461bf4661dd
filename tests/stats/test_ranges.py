"""Ranges of values: the ends, the histogram and the means are those of the numbers themselves."""

import networks
import numpy as np
import pytest
import torch

from wieldy.core.errors import ConfigError, DataError
from wieldy.stats.ranges import BINS, collect_ranges


def test_reference() -> None:
    _, x, network = networks.traced("user_cnn")
    name = next(node.name for node in network.program.nodes if node.op == "aten.relu.default")
    batches = [(x[:1].numpy(),), (x[1:].numpy(),)]
    found = collect_ranges(network, batches, {"x": 1, name: 1})
    seen = network.watch([name])
    with torch.no_grad():
        network(x)
    values = {"x": x, name: seen[name]}
    network.watch(())
    for key, value in values.items():
        known, numbers = found[key], value.double().numpy()
        assert (known.least, known.largest) == pytest.approx((numbers.min(), numbers.max()))
        assert known.counts.sum() == numbers.size
        counts = np.histogram(numbers, BINS, (known.least, known.largest))[0]
        assert np.abs(np.cumsum(counts) - np.cumsum(known.counts)).max() <= numbers.size * 1e-3
        np.testing.assert_allclose(known.channel_means, numbers.mean((0, 2, 3)), atol=1e-6)
        assert known.examples == len(x)


def test_a_constant_value_has_no_histogram() -> None:
    _, x, network = networks.traced("user_cnn")
    found = collect_ranges(network, [(np.zeros_like(x.numpy()),)], {"x": 1})["x"]
    assert (found.least, found.largest, found.counts) == (0.0, 0.0, None)


def test_rejects_no_examples_and_names_what_is_not_finite() -> None:
    _, x, network = networks.traced("user_cnn")
    with pytest.raises(DataError, match="holds no examples"):
        collect_ranges(network, [], {"x": 1})
    with pytest.raises(DataError, match="x is NaN or infinite"):
        collect_ranges(network, [(np.full_like(x.numpy(), np.inf),)], {"x": 1})
    with pytest.raises(ConfigError, match="has no value 'y'"):
        collect_ranges(network, [(x.numpy(),)], {"y": 1})


def test_the_network_stays_in_its_mode_and_watches_nothing_after() -> None:
    _, x, network = networks.traced("user_cnn")
    network.train()
    try:
        name = network.program.nodes[0].name
        collect_ranges(network, [(x.numpy(),)], {name: 1})
        assert network.training
        assert not network._watched
    finally:
        network.eval()
