"""The networks of engine.py, with zeros as uneven as magnitude pruning leaves them, and their dense peers.

A pattern is drawn, since these networks have random weights. How uneven it is was measured on networks
with trained weights at 90 % zeros, layer by layer, which is the default of `ZerosConfig`: the standard
deviation of the logarithm of the density over the rows and the input channels of a layer, the median over
layers. Rows 0.66 (embedded network) and 0.37 (MobileNetV2 of ImageNet, its 1x1 layers); inputs 0.58 and
0.41. Pruned as a whole, layers differ too: 1.05 and 0.89.
"""

import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wieldy.graph.cost_table import BLOCKS
from wieldy.graph.trace import trace
from wieldy.package.save import save
from wieldy.runtime.engine import openvino

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import networks

NETS = {
    "resnet18": networks.ResNet18,
    "resnet50": networks.ResNet50,
    "vgg16": networks.Vgg16Bn,
    "mobilenet_v2": networks.MobileNetV2,
}
ONLY_POINTWISE = ("mobilenet_v2",)  # where pruning people leave the rest alone
SIDE = 224
CALIBRATION_IMAGES = 32


@dataclass(frozen=True)
class Spread:
    """Standard deviations of log density: over layers, over rows of a layer, over its input channels."""

    layers: float = 0.0
    rows: float = 0.52
    inputs: float = 0.50


def build(name: str, seed: int = 0) -> nn.Module:
    """Return a network with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return NETS[name]().eval()


def prunable(name: str, model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Return the layers that get zeros: all but the first, depthwise ones, and what ONLY_POINTWISE says."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    first = next(iter(layers))
    return {
        n: m
        for n, m in layers.items()
        if n != first
        and getattr(m, "groups", 1) == 1
        and (name not in ONLY_POINTWISE or getattr(m, "kernel_size", None) == (1, 1))
    }


def put_zeros(name: str, model: nn.Module, form: str, sparsity: float, seed: int = 0) -> dict[str, str]:
    """Zero weights in place and return the format of each tensor."""
    rng, spread = np.random.default_rng(seed), Spread()
    layers = prunable(name, model)
    block = BLOCKS[form]
    factors = {}
    for key, layer in layers.items():
        rows, inputs = -(-layer.weight.shape[0] // block), layer.weight.shape[1]
        of_rows = np.exp(rng.normal(0, spread.rows, (rows, 1)))
        of_inputs = np.exp(rng.normal(0, spread.inputs, (1, inputs)))
        factors[key] = np.exp(rng.normal(0, spread.layers)) * of_rows * of_inputs
    scale = _scale(factors, {key: layer.weight.numel() for key, layer in layers.items()}, 1 - sparsity)
    for key, layer in layers.items():
        weight = layer.weight.data
        chance = np.minimum(1, scale * factors[key])
        chance = chance.reshape(*chance.shape, *(1,) * (weight.ndim - 2))
        kept = rng.random((chance.shape[0], *weight.shape[1:])) < chance
        weight *= torch.from_numpy(np.repeat(kept, block, axis=0)[: len(weight)])
    return {f"{key}.weight": form for key in layers}


def _scale(factors: dict[str, np.ndarray], sizes: dict[str, int], density: float) -> float:
    """Return what the factors must be multiplied with for the whole to have a density."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        kept = sum(np.minimum(1, middle * factors[key]).mean() * sizes[key] for key in factors)
        low, high = (middle, high) if kept < density * sum(sizes.values()) else (low, middle)
    return high


def write_dense(name: str, folder: Path) -> Path:
    """Write the dense network as OpenVINO converts it; the zeros do not change its time."""
    path = folder / f"{name}.xml"
    if not path.exists():
        example = torch.zeros(1, 3, SIDE, SIDE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter calls torch by old names
            converted = openvino().convert_model(torch.export.export(build(name), (example,)))
        converted.reshape([1, 3, SIDE, SIDE])
        openvino().save_model(converted, path, compress_to_fp16=False)
    return path


def write_int8(name: str, folder: Path) -> Path:
    """Write the dense network quantized by NNCF with its defaults, calibrated on noise."""
    path = folder / f"{name}-int8.xml"
    if not path.exists():
        import nncf

        rng = np.random.default_rng(0)
        images = [rng.standard_normal((1, 3, SIDE, SIDE), np.float32) for _ in range(CALIBRATION_IMAGES)]
        model = openvino().Core().read_model(write_dense(name, folder))
        quantized = nncf.quantize(model, nncf.Dataset(images), subset_size=CALIBRATION_IMAGES)
        openvino().save_model(quantized, path, compress_to_fp16=False)
    return path


def write_sparse(name: str, form: str, sparsity: float, folder: Path) -> Path:
    """Write a package of the network with zeros."""
    path = folder / f"{name}-{form}-{sparsity:g}.wieldy"
    if not path.exists():
        model = build(name)
        formats = put_zeros(name, model, form, sparsity)
        save(trace(model, torch.zeros(1, 3, SIDE, SIDE)), path, formats=formats)
    return path


def subject_folder() -> Path:
    """Return where subjects are kept between rows."""
    folder = Path(tempfile.gettempdir()) / "wieldy-engine"
    folder.mkdir(exist_ok=True)
    return folder
