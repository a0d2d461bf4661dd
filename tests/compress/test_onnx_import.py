"""What is read from ONNX computes the same, keeps its names and can be worked on; the rest is refused."""

from pathlib import Path

import networks
import numpy as np
import onnx
import op_cases
import pytest
import tiny
import torch
from onnx import TensorProto, helper
from torch import nn

from wieldy.compress.apply import apply_plan
from wieldy.compress.onnx import export_onnx
from wieldy.compress.onnx_import import import_onnx
from wieldy.compress.quantize import quantize
from wieldy.core.errors import ConfigError, ShapeError, TraceError, UnsupportedOpError
from wieldy.core.records import Plan
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import FAKE_QUANTIZE
from wieldy.graph.trace import trace
from wieldy.package.read import read
from wieldy.package.save import save
from wieldy.runtime.inputs import random_inputs

EQUAL = 1e-4


def there_and_back(network: GraphNetwork, folder: Path) -> GraphNetwork:
    package = read(save(network, folder / "net.wieldy"))
    return import_onnx(export_onnx(package, folder / "net.onnx"))


def largest_difference(one: nn.Module, other: nn.Module, examples: int) -> float:
    assert isinstance(one, GraphNetwork)
    inputs = [torch.from_numpy(array) for array in random_inputs(one.program, examples)]
    with torch.no_grad():
        pairs = [(side if isinstance(side, tuple) else (side,)) for side in (one(*inputs), other(*inputs))]
    return max(networks.relative_error(b.numpy(), a.numpy()) for a, b in zip(*pairs, strict=True))


@pytest.mark.parametrize("name", networks.FIVE)
def test_an_exported_network_comes_back_equal_and_can_be_pruned(name: str, tmp_path: Path) -> None:
    network = networks.traced(name)[2]
    found = there_and_back(network, tmp_path)
    for examples in (1, 3):
        assert largest_difference(network, found, examples) < EQUAL
    assert list(found.program.inputs) == list(network.program.inputs)
    group = next(group for group in couple(found.program).groups if group.size > 8)
    small = apply_plan(found, Plan(method={"name": "magnitude"}, remove={group.name: (0, 1)}))
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in found.parameters())


KINDS = (
    "lstm", "gru without a bias", "attention masked", "attention causal", "embedding", "layer_norm",
    "group_norm", "upsample bilinear", "conv_transpose padded", "prelu", "softplus", "cumsum", "zeros beside",
    "identity",
)  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_operators_of_all_kinds_come_back_equal(name: str, tmp_path: Path) -> None:
    network = trace(*op_cases.build(name))
    assert largest_difference(network, there_and_back(network, tmp_path), 3) < EQUAL


def test_layers_keep_their_names_and_a_folded_norm_is_gone(tmp_path: Path) -> None:
    found = there_and_back(tiny.traced(), tmp_path)
    assert {"conv1", "conv2", "conv3", "fc"} <= set(found.program.weighted_layers())
    assert isinstance(found.get_submodule("fc"), nn.Linear)


def test_norms_that_share_statistics_are_read_with_them_unlearned(tmp_path: Path) -> None:
    arrays = {name: np.full(4, value, np.float32) for name, value in (("g", 2), ("b", 1), ("m", 3), ("v", 4))}
    nodes = [
        helper.make_node("BatchNormalization", [source, "g", "b", "m", "v"], [target], epsilon=0.0)
        for source, target in (("x", "h"), ("h", "y"))
    ]
    network = import_onnx(written(tmp_path, nodes, weights=arrays))
    x = torch.randn(3, 4)
    wanted = ((x - 3) / 2 * 2 + 1 - 3) / 2 * 2 + 1
    np.testing.assert_allclose(network(x).detach().numpy(), wanted.numpy(), rtol=1e-5, atol=1e-5)
    assert {name for name, _ in network.named_parameters()} == {"g", "b"}


def test_levels_come_back_as_the_numbers_and_roundings_that_they_are(tmp_path: Path) -> None:
    small, _ = quantize(tiny.trained(), tiny.digits())
    found = there_and_back(small, tmp_path)
    before, after = ([node.op for node in net.program.nodes].count(FAKE_QUANTIZE) for net in (small, found))
    assert before == after > 0
    np.testing.assert_array_equal(found.arrays()["conv1.weight"], small.arrays()["conv1.weight"])
    pictures = torch.from_numpy(tiny.digits().test.inputs[:200])
    with torch.no_grad():
        same = (small(pictures).argmax(1) == found(pictures).argmax(1)).float().mean()
    assert same >= 0.995


def written(tmp_path: Path, nodes: list[onnx.NodeProto], **more: object) -> Path:
    """Write a file of one input x (batch, 4) and one output y."""
    size = more.get("sizes", ["n", 4])
    x = helper.make_tensor_value_info("x", more.get("dtype", TensorProto.FLOAT), size)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "m"])
    arrays: dict[str, np.ndarray] = more.get("weights", {})  # type: ignore[assignment]
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    domains = [helper.make_opsetid("", int(str(more.get("opset", 18))))]
    if "domain" in more:
        domains.append(helper.make_opsetid(str(more["domain"]), 1))
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=domains), path)
    return path


def test_an_operator_that_is_not_supported_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, [helper.make_node("Det", ["x"], ["y"], name="odd")])
    with pytest.raises(UnsupportedOpError, match=r"net\.onnx: onnx: Det of .odd. is not supported"):
        import_onnx(path)


def test_an_operator_of_others_is_named(tmp_path: Path) -> None:
    node = helper.make_node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft")
    with pytest.raises(UnsupportedOpError, match=r"com\.microsoft"):
        import_onnx(written(tmp_path, [node], domain="com.microsoft"))


def test_a_size_that_is_left_open_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], sizes=["n", "width"])
    with pytest.raises(ConfigError, match=r"input .x. leaves its size open: .* --shape x=3,224,224"):
        import_onnx(path)
    assert import_onnx(path, {"x": (7,)}).program.inputs["x"].shape == (None, 7)


def test_operators_of_old_that_meant_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOpError, match=r"follows opset 11, .* from 13 on they are read"):
        import_onnx(written(tmp_path, [helper.make_node("Softmax", ["x"], ["y"])], opset=11))


LEVELS = {
    "s": np.float32(0.1), "t": np.float32(0.2), "z": np.uint8(3), "wide": np.uint16(3),
    "w": np.ones((1, 8, 4), np.float32), "r": np.ones((1, 8, 2), np.float32), "n": np.ones(4, np.float32),
}  # fmt: skip
REFUSED = {
    "does not undo": [("QuantizeLinear", "x s z", "q"), ("DequantizeLinear", "q t z", "y")],
    "QuantizeLinear to uint16": [("QuantizeLinear", "x s wide", "q"), ("DequantizeLinear", "q s wide", "y")],
    "that trains": [("BatchNormalization", "x n n n n", "y", {"training_mode": 1})],
    "clipped": [("LSTM", "x w r", "y", {"hidden_size": 2, "clip": 1.0})],
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_an_operator_would_do_otherwise_than_ours_is_refused(says: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node(op, inputs.split(), [output], **(more[0] if more else {}))
        for op, inputs, output, *more in REFUSED[says]
    ]
    used = {name for node in nodes for name in node.input}
    arrays = {name: np.asarray(array) for name, array in LEVELS.items() if name in used}
    sizes = ["n", 3, 4] if nodes[0].op_type == "LSTM" else ["n", 4]
    path = written(tmp_path, nodes, sizes=sizes, weights=arrays, opset=21)
    with pytest.raises((UnsupportedOpError, ShapeError), match=says):
        import_onnx(path)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_precisions_are_refused(dtype: int, tmp_path: Path) -> None:
    path = written(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], dtype=dtype)
    with pytest.raises(ConfigError, match="must be of float32, int64 or bool"):
        import_onnx(path)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08" * 100])
def test_what_is_no_onnx_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"net.onnx: is no sound ONNX file"):
        import_onnx(path)
    with pytest.raises(ConfigError, match="there is no such file"):
        import_onnx(tmp_path / "none.onnx")


def test_a_file_of_one_example_becomes_a_network_of_any_number(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    network = import_onnx(written(tmp_path, nodes, sizes=[1, 4], weights={"w": weight}))
    x = torch.randn(5, 4)
    np.testing.assert_allclose(network(x).detach().numpy(), np.maximum(x.numpy() @ weight, 0), rtol=1e-5)


def test_a_network_that_cannot_be_followed_names_the_file(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises((TraceError, ConfigError), match=r"net\.onnx|example"):
        import_onnx(written(tmp_path, nodes))
