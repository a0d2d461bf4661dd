"""The networks of engine.py, with zeros as uneven as magnitude pruning leaves them, and their dense peers.

Four architectures have random weights, so their patterns are drawn, with the spread that spread.py finds in
the two networks that have trained weights. Those two, marked `trained`, lose their smallest weights.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wieldy.compress.load import load
from wieldy.compress.quantize import quantize
from wieldy.formats import BY_BLOCK
from wieldy.formats.level_blocks import INPUTS
from wieldy.graph.cost_table import BLOCKS
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.prune import zeros
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.save import save
from wieldy.runtime.engine import openvino
from wieldy.stats.collect import Stats
from wieldy.zoo.networks.residual import residual28

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import networks
from registry import mobilenet_of_imagenet

SPREAD = Path(__file__).parent / "results" / "spread.json"
SCOPES = ("layer", "network")  # does every layer lose the same share, or does one threshold hold for all?
CALIBRATION_IMAGES = 32
LEVEL_ROWS, LEVEL_IMAGES = {"block_1x4": 1, "block_4x4": 4}, 4


@dataclass(frozen=True)
class Net:
    """A network of the benchmark."""

    make: Callable[[], nn.Module]
    shape: tuple[int, int, int] = (3, 224, 224)
    trained: bool = False
    only_pointwise: bool = False  # where pruning people leave the rest alone


NETS = {
    "resnet18": Net(networks.ResNet18),
    "resnet50": Net(networks.ResNet50),
    "vgg16": Net(networks.Vgg16Bn),
    "mobilenet_v2": Net(networks.MobileNetV2, only_pointwise=True),
    "mobilenet_v2_trained": Net(mobilenet_of_imagenet, trained=True, only_pointwise=True),
    "embedded": Net(residual28, (1, 28, 28), trained=True),
}


def build(name: str) -> nn.Module:
    """Return a network in evaluation mode; random weights are the same each time."""
    torch.manual_seed(0)
    return NETS[name].make().eval()


def example(name: str) -> torch.Tensor:
    """Return an input of zeros."""
    return torch.zeros(1, *NETS[name].shape)


def prunable(name: str, network: GraphNetwork) -> list[str]:
    """Return the layers that get zeros: what `ZerosConfig` takes, without what `only_pointwise` excludes."""
    layers, _ = zeros.sparse_layers(network)
    if not NETS[name].only_pointwise:
        return list(layers)
    shapes = {
        node.layer: network.tensor(next(node.stored())).shape for node in zeros.weighted(network, layers)
    }
    return [layer for layer, shape in shapes.items() if shape[2:] == (1, 1)]


def put_zeros(name: str, network: GraphNetwork, config: zeros.ZerosConfig) -> list[str]:
    """Zero weights in place and return the names of their tensors."""
    layers = prunable(name, network)
    if NETS[name].trained:
        list(zeros.apply(network, layers, Stats(), config))
    else:
        draw_zeros(network, layers, config)
    return [next(node.stored()) for node in zeros.weighted(network, layers)]


def draw_zeros(network: GraphNetwork, layers: list[str], config: zeros.ZerosConfig) -> None:
    """Zero weights at random, with the spread of trained networks over layers, rows and input channels."""
    inputs = config.inputs
    rng = np.random.default_rng(0)
    spread = json.loads(SPREAD.read_text())["mean"][config.scope]
    weights = [network.tensor(next(node.stored())).data for node in zeros.weighted(network, layers)]
    factors = []
    for weight in weights:
        of_rows = np.exp(rng.normal(0, spread["rows"], (-(-weight.shape[0] // config.block), 1)))
        of_inputs = np.exp(rng.normal(0, spread["inputs"], (1, -(-weight.shape[1] // inputs))))
        factors.append(np.exp(rng.normal(0, spread["layers"])) * of_rows * of_inputs)
    scale = _scale(factors, [weight.numel() for weight in weights], 1 - config.sparsity)
    for weight, factor in zip(weights, factors, strict=True):
        chance = np.minimum(1, scale * factor).reshape(*factor.shape, *(1,) * (weight.ndim - 2))
        kept = rng.random((*chance.shape[:2], *weight.shape[2:])) < chance
        whole = np.repeat(np.repeat(kept, config.block, axis=0), inputs, axis=1)
        weight *= torch.from_numpy(whole[: len(weight), : weight.shape[1]])


def _scale(factors: list[np.ndarray], sizes: list[int], density: float) -> float:
    """Return what the factors must be multiplied with for the whole to have a density."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        kept = sum(np.minimum(1, middle * f).mean() * size for f, size in zip(factors, sizes, strict=True))
        low, high = (middle, high) if kept < density * sum(sizes) else (low, middle)
    return high


def write_dense(name: str, folder: Path) -> Path:
    """Write the dense network as OpenVINO converts it; the zeros do not change its time."""
    path = folder / f"{name}.xml"
    if not path.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter calls torch by old names
            converted = openvino().convert_model(torch.export.export(build(name), (example(name),)))
        converted.reshape([1, *NETS[name].shape])
        openvino().save_model(converted, path, compress_to_fp16=False)
    return path


def write_int8(name: str, folder: Path) -> Path:
    """Write the dense network quantized by NNCF with its defaults, calibrated on noise."""
    path = folder / f"{name}-int8.xml"
    if not path.exists():
        import nncf

        rng = np.random.default_rng(0)
        shape = (1, *NETS[name].shape)
        images = [rng.standard_normal(shape, np.float32) for _ in range(CALIBRATION_IMAGES)]
        model = openvino().Core().read_model(write_dense(name, folder))
        quantized = nncf.quantize(model, nncf.Dataset(images), subset_size=CALIBRATION_IMAGES)
        openvino().save_model(quantized, path, compress_to_fp16=False)
    return path


def write_levels(name: str, form: str, sparsity: float, folder: Path, scope: str, bits: int) -> Path:
    """Write a package of the network in eight bits (or seven) whose blocks of four inputs are zeros."""
    path = folder / f"{name}-int{bits}-{form}-{sparsity:g}{_suffix(scope)}.wieldy"
    if not path.exists():
        network, rows = trace(build(name), example(name)), LEVEL_ROWS[form]
        thinning = zeros.ZerosConfig(sparsity=sparsity, block=rows, inputs=INPUTS, scope=scope)
        weights = put_zeros(name, network, thinning)
        noise = np.random.default_rng(0).standard_normal((LEVEL_IMAGES, *NETS[name].shape), np.float32)
        config = IntegerConfig(ranges="minmax", weight_bits=bits)
        small, _ = quantize(network, [(noise,)], config)
        formats = {weight: f"int{bits}_{rows}x{INPUTS}" for weight in weights if weight in small.formats}
        save(small, path, formats=dict(small.formats) | formats)
    return path


def write_onnx(name: str, batch: int, folder: Path) -> Path:
    """Write the dense network for ONNX Runtime, at one batch size."""
    path = folder / f"{name}-{batch}.onnx"
    if not path.exists():
        inputs = example(name).repeat(batch, 1, 1, 1)
        torch.onnx.export(build(name), (inputs,), path, dynamo=True, external_data=False, verbose=False)
    return path


def write_sparse(name: str, form: str, sparsity: float, folder: Path, scope: str = "layer") -> Path:
    """Write a package of the network with zeros."""
    path = folder / f"{name}-{form}-{sparsity:g}{_suffix(scope)}.wieldy"
    if not path.exists():
        network = trace(build(name), example(name))
        config = zeros.ZerosConfig(sparsity=sparsity, block=BLOCKS[form], scope=scope)
        weights = put_zeros(name, network, config)
        save(network, path, formats=dict.fromkeys(weights, BY_BLOCK[config.block]))
    return path


def _suffix(scope: str) -> str:
    return "" if scope == "layer" else f"-{scope}"


def write_sparse_onnx(package: Path, batch: int) -> Path:
    """Write a package of the benchmark for DeepSparse: zeros among dense numbers, in its ONNX."""
    path = package.with_name(f"{package.stem}-{batch}-sparse.onnx")
    if not path.exists():
        network = load(package)
        shape = (batch, *(size for size in next(iter(network.program.inputs.values())).shape[1:] if size))
        torch.onnx.export(network, (torch.zeros(shape),), path, dynamo=False, opset_version=13)
    return path


def subject_folder() -> Path:
    """Return where subjects are kept between rows."""
    folder = Path(tempfile.gettempdir()) / "wieldy-engine"
    folder.mkdir(exist_ok=True)
    return folder
