"""Networks in eight bits whose zeros are left out: whole regions, bit for bit and beside torch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_cases import needs_kernels
from level_cases import chained
from torch import nn

import wieldy
from wieldy.compress.quantize import quantize
from wieldy.formats import FORMATS
from wieldy.formats.integer import IntegerFormat
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import FAKE_QUANTIZE
from wieldy.kernels.native import level_variants
from wieldy.kernels.region.ops import LevelConv
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.runtime import lower_levels
from wieldy.runtime.engine import compile_model
from wieldy.runtime.fuse_levels import LevelWeights
from wieldy.runtime.lower import lower
from wieldy.runtime.lower_levels import level_regions
from wieldy.runtime.lower_zeros import Zeros

pytestmark = needs_kernels


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1)
        self.second = nn.Conv2d(after, after, 3, 1, 1)
        same = stride == 1 and before == after
        self.beside = nn.Identity() if same else nn.Conv2d(before, after, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.beside(x))


def residual_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 10, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), Block(10, 10, 1), Block(10, 24, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip


def mobile_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU6(), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU6(),
        nn.Conv2d(16, 24, 1), nn.Conv2d(24, 48, 1), nn.ReLU6(), nn.Conv2d(48, 48, 3, 2, 1, groups=48),
        nn.ReLU6(), nn.Conv2d(48, 20, 1), nn.Dropout(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(320, 10),
    )  # fmt: skip


class Joining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 12, 3, 1, 1)
        self.right, self.after = nn.Conv2d(8, 7, 1), nn.Conv2d(27, 20, 3, 2, 1)
        self.last = nn.Linear(20, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.cat([torch.relu(self.left(x)), x, torch.relu(self.right(x))], dim=1)
        return self.last(torch.relu(self.after(x)).mean((2, 3), keepdim=True).flatten(1))


def pooling_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(192, 50), nn.ReLU(), nn.Dropout(), nn.Linear(50, 33), nn.ReLU6(),
        nn.Linear(33, 10),
    )  # fmt: skip


@pytest.fixture(scope="module", params=[residual_net, mobile_net, Joining])
def small(request: pytest.FixtureRequest) -> tuple[GraphNetwork, np.ndarray]:
    """A network in seven bits, half of whose blocks of four inputs are zero, and pictures."""
    return in_seven_bits(request.param)


def in_seven_bits(make: Callable[[], nn.Module]) -> tuple[GraphNetwork, np.ndarray]:
    torch.manual_seed(0)
    net = make().eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                rows, inputs, *kernel = module.weight.shape
                kept = torch.rand(rows, -(-inputs // 4), *kernel) < 0.5
                module.weight *= kept.repeat_interleave(4, dim=1)[:, :inputs]
    x = torch.randn(96, 3, 32, 32)
    config = IntegerConfig(ranges="minmax", weight_bits=7)
    return quantize(wieldy.trace(net, x[:1]), [(x.numpy(),)], config)[0], x.numpy()


def weights_of(network: GraphNetwork) -> LevelWeights:
    forms = {name: FORMATS[kind] for name, kind in network.formats.items()}
    whole = {name: form for name, form in forms.items() if isinstance(form, IntegerFormat)}
    return LevelWeights(network.arrays(), whole)


def outputs_of(network: GraphNetwork, x: np.ndarray, zeros: Zeros | None) -> np.ndarray:
    weights = weights_of(network)
    model = lower(network.program, weights.arrays, len(x), zeros, weights.formats)
    request = compile_model(model, threads=2, precision="f32").create_infer_request()
    request.infer([x])
    return np.array(request.output_tensors[0].data)


def in_regions(network: GraphNetwork, variant: str) -> Zeros:
    return Zeros({}, "portable", 2, frozenset(weights_of(network).formats), variant)


def test_all_but_the_last_layer_is_one_region(small: tuple[GraphNetwork, np.ndarray]):
    network = small[0]
    weights = weights_of(network)
    ((region, fused),) = level_regions(network.program, weights, weights.formats).items()
    convolutions = [node.name for node in network.program.nodes if node.op == "aten.conv2d.default"]
    assert {op.layer for op in fused.ops if isinstance(op, LevelConv)} == set(convolutions)
    assert len(region.nodes) >= len(network.program.nodes) - 5


def test_every_variant_gives_the_same_bits_and_those_of_the_chained_references(
    small: tuple[GraphNetwork, np.ndarray],
):
    network, x = small
    weights = weights_of(network)
    ((region, fused),) = level_regions(network.program, weights, weights.formats).items()
    found = [outputs_of(network, x[:5], in_regions(network, name)) for name in level_variants()]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0], strict=True)
    values = chained(fused, x[:5])
    final = values[fused.outputs[0]].reshape(5, -1)
    last = next(node for node in network.program.nodes if node.op == "aten.linear.default")
    (handed,) = region.outputs(network.program)
    rounding = next(
        node for node in network.program.nodes if node.op == FAKE_QUANTIZE and handed in node.refs()
    )
    scale, zero = (float(rounding.inputs[name]) for name in ("scale", "zero_point"))  # type: ignore[arg-type]
    rounded = (np.clip(np.rint(final / scale) + zero, 0, 255) - zero) * scale
    arrays = network.arrays()
    expected = rounded @ arrays[last.weight].T + arrays[last.inputs["bias"].name]  # type: ignore[union-attr]
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_region_answers_as_torch_does_but_for_roundings_that_fall_the_other_way(
    small: tuple[GraphNetwork, np.ndarray],
):
    network, x = small
    with torch.no_grad():
        wanted = network(torch.from_numpy(x)).numpy()
    found = outputs_of(network, x, in_regions(network, level_variants()[-1]))
    assert np.abs(found - wanted).max() <= 0.03 * np.abs(wanted).max()
    assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.95


@pytest.mark.parametrize("block", ["int7_1x4", "int7_4x4"])
def test_a_package_of_blocks_opens_and_answers_as_its_network_does(
    small: tuple[GraphNetwork, np.ndarray], tmp_path: Path, block: str
):
    network, x = small
    formats = {name: block for name in weights_of(network).formats if network.arrays()[name].ndim == 4}
    path = wieldy.save(network, tmp_path / "blocks.wieldy", formats=dict(network.formats) | formats)
    with torch.no_grad():
        wanted = network(torch.from_numpy(x[:7])).numpy()
    found = wieldy.open(path)(x[:7])
    assert np.abs(found - wanted).max() <= 0.03 * np.abs(wanted).max()


@pytest.mark.parametrize("batch", [1, 5, 40])
def test_linear_layers_by_their_blocks_answer_as_torch_does(batch: int, monkeypatch: pytest.MonkeyPatch):
    network, x = in_seven_bits(pooling_net)
    with torch.no_grad():
        wanted = network(torch.from_numpy(x[:batch])).numpy()
    dense_linears = outputs_of(network, x[:batch], in_regions(network, "portable"))
    monkeypatch.setattr(lower_levels, "LEAST_WEIGHTS", 0)
    weights = weights_of(network)
    found = level_regions(network.program, weights, weights.formats, batch)
    layers = [[op.layer for op in fused.ops if isinstance(op, LevelConv)] for fused in found.values()]
    assert [len(of) for of in layers] == [2, 3]
    for variant in level_variants():
        outputs = outputs_of(network, x[:batch], in_regions(network, variant))
        assert np.abs(outputs - wanted).max() <= 0.03 * np.abs(wanted).max()
        np.testing.assert_allclose(outputs, dense_linears, rtol=0, atol=0.02 * np.abs(wanted).max())


def test_a_linear_layer_after_a_region_still_multiplies_whole_numbers():
    network, _ = in_seven_bits(pooling_net)
    weights = weights_of(network)
    model = lower(network.program, weights.arrays, 2, in_regions(network, "portable"), weights.formats)
    compiled = compile_model(model, threads=2, precision="f32").get_runtime_model()
    run = [{key: of.astype(str) for key, of in node.get_rt_info().items()} for node in compiled.get_ops()]
    linears = [of["runtimePrecision"] for of in run if of["layerType"] == "FullyConnected"]
    assert linears == ["u8", "u8", "u8"]


def test_a_product_that_others_read_too_stays_outside_and_the_answers_are_the_same():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen = self.first(x)
            return self.second(torch.relu(seen)), seen

    torch.manual_seed(1)
    x = torch.randn(8, 3, 9, 9)
    network = quantize(wieldy.trace(Twice().eval(), x[:1]), [(x.numpy(),)], IntegerConfig(ranges="minmax"))[0]
    with torch.no_grad():
        wanted = network(x)[0].numpy()
    found = outputs_of(network, x.numpy(), in_regions(network, "portable"))
    assert np.abs(found - wanted).max() <= 0.03 * np.abs(wanted).max()
