"""What is exported as ONNX or IR computes the same in runtimes of others."""

from pathlib import Path

import networks
import numpy as np
import onnx
import op_cases
import pytest
import tiny
import torch

from wieldy.compress.exported import differences
from wieldy.compress.onnx import _rounded, export_onnx
from wieldy.compress.quantize import quantize
from wieldy.core.errors import ConfigError, StorageError
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.package.read import Package, read
from wieldy.package.save import save
from wieldy.runtime.inputs import random_inputs
from wieldy.runtime.ir import export_ir
from wieldy.runtime.session import open as open_package

EQUAL = 1e-4


def package_of(network: GraphNetwork, folder: Path, formats: dict[str, str] | None = None) -> Package:
    return read(save(network, folder / "net.wieldy", formats=formats))


def largest_difference(path: Path, package: Package, examples: int = 5) -> float:
    inputs = random_inputs(package.program, examples)
    found = differences(path, open_package(package.path, threads=1), inputs)
    runtimes = ["ONNX", "OpenVINO"] if path.suffix == ".onnx" else ["OpenVINO"]
    assert [item.runtime.split()[0] for item in found] == runtimes
    return max(item.relative for item in found)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet", "grouped"])
def test_a_network_computes_the_same_as_onnx_in_any_batch(name: str, tmp_path: Path) -> None:
    package = package_of(networks.traced(name)[2], tmp_path)
    path = export_onnx(package, tmp_path / "net.onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 17
    assert [value.name for value in model.graph.input] == list(package.program.inputs)
    assert [value.name for value in model.graph.output] == list(package.program.outputs)
    assert max(largest_difference(path, package, examples) for examples in (1, 3)) < EQUAL


@pytest.mark.parametrize(
    "name",
    [
        "lstm",
        "gru without a bias",
        "attention masked",
        "embedding",
        "elu scaled",
        "identity",
        "lstm's last state",
    ],
)
def test_operators_of_all_kinds_compute_the_same_as_onnx(name: str, tmp_path: Path) -> None:
    network = trace(*op_cases.build(name))
    package = package_of(network, tmp_path)
    assert largest_difference(export_onnx(package, tmp_path / "net.onnx"), package) < EQUAL


def test_a_file_of_any_batch_is_compared_on_any_number_of_examples(tmp_path: Path) -> None:
    package = package_of(tiny.traced(), tmp_path)
    for batch in (1, 3, 50):
        path = export_ir(package, tmp_path / "net.xml", batch=batch)
        for examples in (1, 7, 33):
            assert largest_difference(path, package, examples) < EQUAL


@pytest.mark.parametrize("name", networks.FIVE)
def test_a_network_computes_the_same_as_openvinos_format(name: str, tmp_path: Path) -> None:
    package = package_of(networks.traced(name)[2], tmp_path)
    assert largest_difference(export_ir(package, tmp_path / "net.xml", batch=5), package) < EQUAL
    assert largest_difference(export_ir(package, tmp_path / "one"), package) < EQUAL


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Package:
    data = tiny.digits()
    small, _ = quantize(tiny.trained(), data)
    return read(save(small, tmp_path_factory.mktemp("rounded") / "net.wieldy"))


def test_levels_stay_whole_numbers_in_onnx_and_nearly_all_answers_are_the_same(
    rounded: Package, tmp_path: Path
) -> None:
    path = export_onnx(rounded, tmp_path / "net.onnx")
    graph = onnx.load(path).graph
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    kept = [name for name, kind in rounded.formats.items() if kind.startswith("int")]
    assert kept
    for name in kept:
        assert stored[f"{name}.levels"].dtype == np.int8
        product = stored[f"{name}.levels"].astype(np.float32) * stored[f"{name}.scales"].reshape(
            -1, *(1,) * (stored[f"{name}.levels"].ndim - 1)
        )
        np.testing.assert_array_equal(product, rounded.tensors[name])
        assert name not in stored
    assert b"site-packages" not in path.read_bytes()
    assert export_onnx(rounded, tmp_path / "again.onnx").read_bytes() == path.read_bytes()
    for written in (path, export_ir(rounded, tmp_path / "net")):
        inputs = tuple(x[:500] for x in (tiny.digits().test.inputs,))
        for found in differences(written, open_package(rounded.path, threads=1), inputs):
            assert found.same_answers is not None
            assert found.same_answers >= 0.995 * found.examples, found


def test_zeros_are_written_as_numbers(tmp_path: Path) -> None:
    network = tiny.traced()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter[torch.rand(parameter.shape, generator=torch.manual_seed(0)) < 0.9] = 0
    weights = [name for name, spec in network.program.tensors.items() if len(spec.shape) > 1]
    package = package_of(network, tmp_path, dict.fromkeys(weights, "csr"))
    for path in (export_onnx(package, tmp_path / "net.onnx"), export_ir(package, tmp_path / "net.xml")):
        assert largest_difference(path, package) < EQUAL


@pytest.mark.filterwarnings("ignore")  # the exporter warns of its own parts
@pytest.mark.parametrize(("low", "high", "zero"), [(0, 255, 3), (-128, 127, 0), (0, 127, 5), (-64, 63, -1)])
def test_levels_of_any_range_are_rounded_as_torch_rounds_them(
    low: int, high: int, zero: int, tmp_path: Path
) -> None:
    class Rounds(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return _rounded(x, 0.1, zero, low, high)

    x = torch.linspace(-40, 40, 4001)[:, None]
    torch.onnx.export(
        Rounds().eval(), (x,), tmp_path / "net.onnx", dynamo=True, verbose=False, input_names=["x"]
    )
    import onnxruntime

    found = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"x": x.numpy()})[0]
    wanted = torch.fake_quantize_per_tensor_affine(x, 0.1, zero, low, high)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


def test_levels_that_no_byte_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match="levels must lie within 0 to 255 or -128 to 127; got 0 to 1023"):
        _rounded(torch.zeros(1), 0.1, 0, 0, 1023)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    package = package_of(tiny.traced(), tmp_path)
    with pytest.raises(StorageError, match="none"):
        export_onnx(package, tmp_path / "none" / "net.onnx")
    with pytest.raises(StorageError, match="there is no folder"):
        export_ir(package, tmp_path / "none" / "net.xml")
