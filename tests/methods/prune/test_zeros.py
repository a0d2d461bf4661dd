"""Zeros by magnitude: which weights go, how many, and what each layer says of it."""

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.formats import FORMATS
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.prune.random import RandomConfig
from wieldy.methods.prune.zeros import FIRST, ZerosConfig, apply, block_scores, smallest, sparse_layers
from wieldy.package.save import save
from wieldy.plan.ranking import ranked
from wieldy.runtime.session import open as open_package
from wieldy.stats.collect import Stats

LAYERS = ("conv1", "conv2", "conv3", "fc")


def zeroed(
    network: GraphNetwork, config: ZerosConfig, scope: tuple[str, ...] = LAYERS
) -> list[Change | Refused]:
    return list(apply(network, scope, Stats(), config))


def weight(network: GraphNetwork, layer: str) -> np.ndarray:
    return network.tensor(f"{layer}.weight").detach().numpy()


def test_reference_by_hand() -> None:
    network = tiny.traced()
    with torch.no_grad():
        network.tensor("fc.weight").copy_(torch.arange(160.0).reshape(10, 16) - 80)
    zeroed(network, ZerosConfig(sparsity=0.5), ("fc",))
    values = np.arange(160.0).reshape(10, 16) - 80
    order = np.argsort(np.abs(values).ravel(), kind="stable")[:80]
    values.ravel()[order] = 0
    np.testing.assert_array_equal(weight(network, "fc"), values)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(1, 19), block=st.sampled_from([1, 4, 8]))
def test_scores_are_the_norms_of_each_blocks_columns(seed: int, rows: int, block: int) -> None:
    values = np.random.default_rng(seed).normal(size=(rows, 5))
    found = block_scores(values, block)
    for index, start in enumerate(range(0, rows, block)):
        part = values[start : start + block]
        np.testing.assert_allclose(found[index], np.linalg.norm(part, axis=0) / np.sqrt(len(part)))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 999), rows=st.integers(1, 9), inputs=st.integers(1, 9), block=st.sampled_from([1, 4])
)
def test_scores_of_blocks_of_inputs_are_those_of_their_members(
    seed: int, rows: int, inputs: int, block: int
) -> None:
    values = np.random.default_rng(seed).normal(size=(rows, inputs, 2))
    found = block_scores(values, block, 4).reshape(-(-rows // block), -(-inputs // 4), 2)
    for (row, column, place), score in np.ndenumerate(found):
        part = values[row * block : (row + 1) * block, column * 4 : (column + 1) * 4, place]
        np.testing.assert_allclose(score, np.sqrt(np.square(part).mean()))


@pytest.mark.parametrize("block", [1, 4])
def test_blocks_of_four_inputs_go_together_at_one_place_of_the_kernel(block: int) -> None:
    network = tiny.traced()
    before = {layer: weight(network, layer).copy() for layer in LAYERS}
    for change in zeroed(network, ZerosConfig(sparsity=0.75, block=block, inputs=4)):
        values, first = weight(network, change.layer), before[change.layer]
        scores = block_scores(values.astype(np.float64), block, 4)
        assert np.count_nonzero(scores == 0) == round(0.75 * scores.size)
        least = block_scores(first.astype(np.float64), block, 4)
        assert least[scores == 0].max() <= least[scores > 0].min()
        kept = values != 0
        np.testing.assert_array_equal(values[kept], first[kept])


@settings(max_examples=100, deadline=None)
@given(data=st.data(), sparsity=st.floats(0, 1))
def test_exactly_the_asked_share_goes_and_nothing_that_stays_is_smaller(
    data: st.DataObject, sparsity: float
) -> None:
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=4))
    values = st.floats(0, 10, allow_nan=False)
    scores = [np.array(data.draw(st.lists(values, min_size=size, max_size=size))) for size in sizes]
    masks = smallest(scores, sparsity)
    flat, goes = np.concatenate(scores), np.concatenate(masks)
    assert goes.sum() == round(sparsity * flat.size)
    assert [mask.shape for mask in masks] == [score.shape for score in scores]
    if goes.any() and not goes.all():
        assert flat[goes].max() <= flat[~goes].min()


@pytest.mark.parametrize("block", [1, 4, 8])
def test_each_layer_loses_the_asked_share_of_its_blocks_columns(block: int) -> None:
    network = tiny.traced()
    changes = zeroed(network, ZerosConfig(sparsity=0.75, block=block))
    for change in changes:
        assert isinstance(change, Change)
        values = weight(network, change.layer)
        assert change.after == {"weights": values.size, "nonzero": np.count_nonzero(values)}
        assert change.before["nonzero"] == values.size
        scores = block_scores(values.astype(np.float64), block)
        assert np.count_nonzero(scores == 0) == round(0.75 * scores.size)
    assert [change.layer for change in changes] == list(LAYERS)


def test_one_threshold_for_the_network_spares_layers_of_large_weights() -> None:
    network = tiny.traced()
    with torch.no_grad():
        network.tensor("conv2.weight").mul_(100)
    zeroed(network, ZerosConfig(sparsity=0.5, scope="network"))
    values = {layer: weight(network, layer) for layer in LAYERS}
    total = sum(array.size for array in values.values())
    assert sum(np.count_nonzero(array) for array in values.values()) == total - round(0.5 * total)
    spared = {layer: np.count_nonzero(array) / array.size for layer, array in values.items()}
    assert spared["conv2"] > 0.95 > spared["conv3"]


def test_what_stays_keeps_its_bits_and_other_layers_are_left_alone() -> None:
    network, before = tiny.traced(), tiny.traced()
    zeroed(network, ZerosConfig(sparsity=0.5), ("conv2",))
    for name, tensor in before.state_dict().items():
        after = network.state_dict()[name]
        kept = after != 0 if name == "conv2.weight" else torch.ones_like(after, dtype=torch.bool)
        assert torch.equal(after[kept], tensor[kept])


def test_twice_the_same_is_once() -> None:
    network = tiny.traced()
    zeroed(network, ZerosConfig(sparsity=0.8))
    before = tiny.state(network)
    zeroed(network, ZerosConfig(sparsity=0.8))
    assert tiny.state(network) == before


def test_the_edges_zero_nothing_and_everything() -> None:
    network = tiny.traced()
    before = tiny.state(network)
    zeroed(network, ZerosConfig(sparsity=0))
    assert tiny.state(network) == before
    zeroed(network, ZerosConfig(sparsity=1))
    assert all(not weight(network, layer).any() for layer in LAYERS)


@pytest.mark.parametrize("block", [1, 4, 8])
def test_a_network_of_zeros_is_saved_small_and_runs_the_same(block: int, tmp_path) -> None:  # type: ignore[no-untyped-def]
    network = tiny.trained()
    zeroed(network, ZerosConfig(sparsity=0.9, block=block), ("conv2", "conv3"))
    kind = {1: "csr", 4: "block_4x1", 8: "block_8x1"}[block]
    formats = {"conv2.weight": kind, "conv3.weight": kind}
    path = save(network, tmp_path / "net.wieldy", formats=formats)
    x = torch.from_numpy(tiny.digits().test.inputs[:20])
    with torch.no_grad():
        wanted = network(x).numpy()
    np.testing.assert_allclose(open_package(path)(x.numpy()), wanted, rtol=1e-4, atol=1e-4)
    dense = sum(weight(network, layer).nbytes for layer in ("conv2", "conv3"))
    assert (
        sum(FORMATS[kind].byte_count(weight(network, layer)) for layer in ("conv2", "conv3")) < 0.25 * dense
    )


def test_depthwise_layers_are_refused_with_the_reason() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)).eval()
    network = trace(model, torch.zeros(1, 1, 8, 8))
    found = zeroed(network, ZerosConfig(sparsity=0.5), ("0", "1", "2"))
    assert [item.layer for item in found if isinstance(item, Refused)] == ["1"]
    assert np.count_nonzero(weight(network, "1")) == 72


def test_rejects_a_layer_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"zeros: 'conv9' is no layer with weights. Layers are conv1"):
        zeroed(tiny.traced(), ZerosConfig(), ("conv9",))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_rejects_weights_that_are_not_finite(wrong: float) -> None:
    network = tiny.traced()
    with torch.no_grad():
        network.tensor("conv1.weight")[0, 0, 0, 0] = wrong
    with pytest.raises(DataError, match=r"zeros: conv1\.weight holds NaN or infinity"):
        zeroed(network, ZerosConfig())


@pytest.mark.parametrize(
    "wrong",
    [
        {"sparsity": 1.1},
        {"sparsity": -0.1},
        {"block": 2},
        {"scope": "global"},
        {"inputs": 2},
        {"block": 8, "inputs": 4},
    ],
)
def test_rejects_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ZerosConfig(**wrong)


def test_a_plan_of_channels_refuses_it_by_name() -> None:
    assert ranked(tiny.traced(), tiny.digits(), RandomConfig()).order
    with pytest.raises(ConfigError, match=r"'zeros' is a transform .* Use one of magnitude, taylor, random"):
        ranked(tiny.traced(), tiny.digits(), ZerosConfig())


def test_a_first_layer_is_left_out_only_where_it_reads_a_picture() -> None:
    layers, refused = sparse_layers(tiny.traced())
    assert layers == LAYERS[1:]
    assert [(one.layer, one.reason) for one in refused] == [("conv1", FIRST)]
    dense = trace(nn.Sequential(nn.Linear(100, 20), nn.ReLU(), nn.Linear(20, 5)), torch.zeros(1, 100))
    assert sparse_layers(dense) == (("0", "2"), ())
