"""Eight bits after training: the levels, the ranges, the correction, and what becomes of every layer."""

import copy

import networks
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wieldy.compress.load import load
from wieldy.compress.quantize import TRIED, quantize
from wieldy.core.errors import ConfigError, DataError
from wieldy.core.records import Change, Refused
from wieldy.formats import FORMATS
from wieldy.graph.ops import FAKE_QUANTIZE
from wieldy.graph.trace import trace
from wieldy.methods.quantize.integer import (
    EXPONENTS,
    IntegerConfig,
    affine_levels,
    apply,
    chosen_range,
    expected_shift,
    histogram_error,
    prepare,
    rounded_weight,
    symmetric_levels,
)
from wieldy.package.save import save
from wieldy.runtime.session import open as open_package
from wieldy.stats.collect import Stats
from wieldy.stats.ranges import BINS, ValueRange

ENDS = st.floats(-1e4, 1e4)


@settings(max_examples=200, deadline=None)
@given(first=ENDS, second=ENDS)
def test_levels_hold_zero_exactly_and_the_range_to_within_a_step(first: float, second: float) -> None:
    least, largest = min(first, second), max(first, second)
    levels = affine_levels(least, largest)
    assert 0 <= levels.zero_point <= 255
    low, high = (levels.scale * (end - levels.zero_point) for end in (levels.least, levels.largest))
    assert low <= min(0.0, least) + levels.scale
    assert high >= max(0.0, largest) - levels.scale


@settings(max_examples=200, deadline=None)
@given(first=ENDS, second=ENDS)
def test_symmetric_levels_hold_the_range_around_a_zero_point_of_zero(first: float, second: float) -> None:
    least, largest = min(first, second), max(first, second)
    levels = symmetric_levels(least, largest)
    if least < 0 < largest:
        assert (levels.zero_point, levels.least, levels.largest) == (0, -128, 127)
        assert levels.scale * levels.least <= least * (1 - 1e-6) + 1e-30
        assert levels.scale * levels.largest >= largest * (1 - 1e-6)
    else:
        assert levels == affine_levels(least, largest)


@pytest.mark.parametrize(
    ("symmetric", "zeros"), [("inputs", {"input"}), ("all", {"input", "conv2d"}), ("none", set())]
)
def test_which_values_have_a_zero_point_of_zero_is_the_user_s_choice(symmetric: str, zeros: set[str]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3)).eval()
    x = torch.randn(20, 3, 8, 8) + 0.3
    small, _ = quantize(trace(model, x[:1]), [(x.numpy(),)], IntegerConfig(symmetric=symmetric))
    rounding = [node for node in small.program.nodes if node.op == FAKE_QUANTIZE]
    assert len(rounding) == 2
    assert {next(node.refs()) for node in rounding if node.inputs["quant_min"] == -128} == zeros
    assert networks.relative_error(small(x), model(x)) < 0.05


def test_reference_levels_are_torch_s() -> None:
    x = torch.linspace(-2, 3, 1001)
    levels = affine_levels(-1.0, 2.0)
    wanted = torch.fake_quantize_per_tensor_affine(x, levels.scale, levels.zero_point, 0, 255)
    found = levels.scale * (
        np.clip(np.rint(x.numpy() / levels.scale) + levels.zero_point, 0, 255) - levels.zero_point
    )
    assert np.abs(found - wanted.numpy()).max() < 1e-6


def ranged(numbers: np.ndarray) -> ValueRange:
    least, largest = float(numbers.min()), float(numbers.max())
    counts = np.histogram(numbers, BINS, (least, largest))[0].astype(np.int64)
    return ValueRange(least, largest, counts, np.zeros(1), 1)


def true_error(numbers: np.ndarray, ends: tuple[float, float], kind: str) -> float:
    levels = affine_levels(*ends)
    level = np.clip(np.rint(numbers / levels.scale) + levels.zero_point, levels.least, levels.largest)
    return float((np.abs(levels.scale * (level - levels.zero_point) - numbers) ** EXPONENTS[kind]).mean())


@pytest.mark.parametrize("kind", EXPONENTS)
def test_the_range_of_least_error_beats_the_full_one_where_a_number_lies_far_out(kind: str) -> None:
    numbers = np.random.default_rng(0).normal(size=20_000)
    numbers[0] = 40.0
    known = ranged(numbers)
    full, best = (chosen_range(known, IntegerConfig(ranges=ranges)) for ranges in ("minmax", kind))
    assert full == (known.least, known.largest)
    assert best[1] < full[1]
    assert true_error(numbers, best, kind) < true_error(numbers, full, kind)


def test_a_percentile_leaves_out_what_lies_beyond_it() -> None:
    numbers = np.random.default_rng(0).random(100_000)
    least, largest = chosen_range(ranged(numbers), IntegerConfig(ranges="percentile", percentile=90))
    assert (least, largest) == pytest.approx((0.0, 0.9), abs=0.01)


def test_a_range_of_no_width_keeps_its_ends() -> None:
    known = ValueRange(2.0, 2.0, None, np.zeros(1), 1)
    assert chosen_range(known, IntegerConfig()) == (2.0, 2.0)
    assert affine_levels(0.0, 0.0).scale == 1.0


@pytest.mark.parametrize("kind", EXPONENTS)
def test_the_histogram_s_error_is_that_of_its_numbers(kind: str) -> None:
    numbers = np.random.default_rng(0).normal(size=50_000)
    known = ranged(numbers)
    centres = (known.edges[:-1] + known.edges[1:]) / 2
    levels = affine_levels(-2.0, 2.0)
    found = histogram_error(known.counts, centres, levels, EXPONENTS[kind]) / len(numbers)
    assert found == pytest.approx(true_error(numbers, (-2.0, 2.0), kind), rel=0.02)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_expected_shift_is_the_mean_of_what_rounding_loses(groups: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, groups=groups, bias=False)  # without padding: no borders
    x = torch.randn(64, 4, 12, 12) + torch.tensor([0.5, -1.0, 2.0, 0.0]).reshape(1, 4, 1, 1)
    weight = layer.weight.detach().numpy()
    rounded = rounded_weight(weight, FORMATS["int7"])
    means = x.mean((0, 2, 3)).double().numpy()
    shift = expected_shift(weight, rounded, means, groups)
    lost = layer(x) - nn.functional.conv2d(x, torch.from_numpy(rounded), groups=groups)
    assert np.abs(shift - lost.mean((0, 2, 3)).detach().numpy()).max() < 5e-4


def batches(x: torch.Tensor) -> list[tuple[np.ndarray]]:
    return [(x.numpy(),)]


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_quantized_network_computes_nearly_the_same_in_torch_and_as_a_package(name: str, tmp_path) -> None:
    model, x, network = networks.traced(name)
    small, records = quantize(network, batches(x))
    assert all(isinstance(record, Change) for record in records)
    wanted = model(x)
    assert networks.relative_error(small(x), wanted) < 0.25  # random weights: errors add up
    path = save(small, tmp_path / "small.wieldy", formats=small.formats)
    found = open_package(path, threads=1)(x.numpy())
    assert networks.relative_error(found, small(x)) < 0.05  # a number between two levels may go either way
    assert torch.equal(load(path)(x), small(x))


@pytest.mark.parametrize(("weight", "best"), [(0.0, "error"), (30.0, "minmax")])
def test_ranges_that_are_not_named_are_those_that_leave_the_outputs_nearest(weight: float, best: str) -> None:
    """The first input has a few numbers far out: they count for nothing, or for nearly everything."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 4)
    with torch.no_grad():
        layer.weight[:, 0] *= weight
    network = trace(layer, torch.zeros(1, 8))
    x = np.random.default_rng(0).standard_normal((4000, 8), np.float32)
    x[::2000, 0] = 60.0
    wanted = network(torch.from_numpy(x)).detach()

    def lost(config: IntegerConfig) -> float:
        small, _ = quantize(network, [(x[:2000],), (x[2000:],)], config)
        return float((small(torch.from_numpy(x)) - wanted).detach().square().sum() / wanted.square().sum())

    named = {kind: lost(IntegerConfig(ranges=kind)) for kind in TRIED}
    assert min(named, key=named.__getitem__) == best
    assert max(named.values()) > 2 * named[best] == 2 * lost(IntegerConfig())


def test_the_network_that_was_given_stays_as_it_was() -> None:
    _, x, network = networks.traced("resnet18")
    before, program = network.arrays(), network.program
    quantize(network, batches(x))
    assert network.program is program
    assert all(np.array_equal(array, before[key]) for key, array in network.arrays().items())


def test_a_network_from_a_package_is_quantized_and_saved_though_its_norms_are_gone(tmp_path) -> None:
    _, x, network = networks.traced("resnet18")
    loaded = load(save(network, tmp_path / "net.wieldy"))
    small, _ = quantize(loaded, batches(x))
    path = save(small, tmp_path / "small.wieldy", formats=small.formats)
    assert networks.relative_error(open_package(path, threads=1)(x.numpy()), small(x)) < 0.05


def test_layers_that_are_to_stay_do_and_say_so() -> None:
    _, x, network = networks.traced("user_cnn")
    small, records = quantize(network, batches(x), IntegerConfig(keep=("conv1",)))
    (kept,) = (record for record in records if isinstance(record, Refused))
    assert kept.layer == "conv1"
    assert "conv1.weight" not in small.formats
    with pytest.raises(ConfigError, match="keep names 'conv9', which is no layer"):
        quantize(network, batches(x), IntegerConfig(keep=("conv9",)))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.layer(x).relu()).relu())


def test_a_layer_that_serves_twice_is_refused_with_the_reason() -> None:
    x = torch.randn(8, 6)
    small, records = quantize(trace(Twice().eval(), x), batches(x))
    reasons = {record.layer: record.reason for record in records if isinstance(record, Refused)}
    assert "serves several layers" in reasons["layer"]
    assert set(small.formats) == {"head.weight"}


def test_values_are_rounded_once_and_concatenation_shares_levels() -> None:
    _, x, network = networks.traced("densenet")
    small, _ = quantize(network, batches(x))
    rounding = [node for node in small.program.nodes if node.op == FAKE_QUANTIZE]
    sources = [next(node.refs()) for node in rounding]
    assert len(set(sources)) == len(sources)
    nodes = {node.name: node for node in small.program.nodes}
    for node in small.program.nodes:
        if node.op == "aten.cat.default":
            ends = [nodes[name] for name in node.refs()]
            levels = {(n.inputs["scale"], n.inputs["zero_point"]) for n in ends if n.op == FAKE_QUANTIZE}
            assert len(levels) <= 1


def test_calibration_that_is_empty_or_not_finite_is_refused() -> None:
    _, x, network = networks.traced("user_cnn")
    with pytest.raises(DataError, match="holds no examples"):
        quantize(network, [])
    broken = x.clone()
    broken[0, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="is NaN or infinite on an example"):
        quantize(network, batches(broken))


def test_one_example_is_enough_to_calibrate() -> None:
    _, x, network = networks.traced("user_cnn")
    small, _ = quantize(network, batches(x[:1]))
    assert torch.isfinite(small(x)).all()


def test_statistics_that_are_missing_are_named() -> None:
    _, _, network = networks.traced("user_cnn")
    small = copy.deepcopy(network)
    prepare(small, ["conv1"])
    with pytest.raises(ConfigError, match="needs the range of"):
        list(apply(small, ["conv1"], Stats(), IntegerConfig()))


def test_bias_correction_brings_the_mean_of_the_outputs_back() -> None:
    data = tiny.digits()
    network = tiny.traced()
    x = torch.from_numpy(next(iter(data.train.batches(300)))[0])
    wanted = network(x).mean(0)
    plain, corrected = (
        quantize(network, batches(x), IntegerConfig(bias_correction=corrects, weight_bits=7))[0](x).mean(0)
        for corrects in (False, True)
    )
    assert (corrected - wanted).abs().mean() < (plain - wanted).abs().mean()
