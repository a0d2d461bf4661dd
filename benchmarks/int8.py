"""Eight bits: accuracy and milliseconds beside float32, NNCF's quantization of the same network, and bf16.

    python benchmarks/int8.py [SUBJECT ...] [--tiers avx2 ...] [--out benchmarks/results]

Both sides calibrate on the same 300 examples. Eight bits stand beside NNCF's defaults; seven bits beside what
NNCF does for CPUs whose byte products saturate (`overflow_fix`: half of the levels for every weight).
Predictions are those of the saved files at this CPU's own tier. Writes int8-TIER.json. Needs the extra
`bench`, and `make data`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import torch
from importance import commit
from numpy.typing import NDArray
from registry import mobilenet_of_imagenet
from torch import nn

from wieldy.assure.statistics import paired_mean, proportion
from wieldy.compress.quantize import EXAMPLES, quantize
from wieldy.core.files import write_atomic
from wieldy.core.records import Change
from wieldy.flow.state import prepared
from wieldy.graph.trace import trace
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.save import save
from wieldy.runtime.engine import openvino
from wieldy.runtime.environment import environment
from wieldy.runtime.integers import SATURATING
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.session import open as open_package
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import available_tiers, current_tier, has_bf16
from wieldy.zoo.data import fashion, mnist
from wieldy.zoo.networks.digits28 import digits28
from wieldy.zoo.networks.residual import residual28

CROPS = 4000
IN_F32 = "int8_in_f32"  # the levels of eight bits, multiplied in float32
BATCH = 50
Pictures = NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """A trained network with pictures to calibrate and to judge on; without labels, agreement counts."""

    model: nn.Module
    calibration: Pictures
    judged: dict[str, tuple[Pictures, NDArray[np.int64] | None]]


def embedded() -> Known:
    """The network in the package, on Fashion-MNIST."""
    data = fashion.embedded()
    return Known(residual28(), data.train.inputs[:EXAMPLES], {"test": (data.test.inputs, data.test.targets)})


def digits() -> Known:
    """The digit classifier, on MNIST."""
    data = mnist.full()
    return Known(digits28(), data.train.inputs[:EXAMPLES], {"test": (data.test.inputs, data.test.targets)})


def mobilenet() -> Known:
    """MobileNetV2 of ImageNet, on crops of photos without labels, and on the few that have them."""
    judged = {"crops": (pictures.crops(CROPS, held_out=True), None), "labelled": pictures.labelled_pictures()}
    return Known(mobilenet_of_imagenet(), pictures.crops(EXAMPLES, held_out=False), judged)


KNOWN = {"embedded": embedded, "digits28": digits, "mobilenet_v2": mobilenet}


def main() -> None:
    """Measure what is asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", default=list(KNOWN))
    parser.add_argument("--tiers", nargs="*", default=available_tiers()[::-1])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--on", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.on:
        tier, package, source, target = asked.on
        np.save(target, predictions(Subject(Path(package)), np.load(source), tier))
        return
    path = prepared(asked.out) / f"int8-{current_tier()}.json"
    result: dict[str, Any] = {"environment": environment(usable_cores()), "subjects": {}}
    if path.exists():
        result["subjects"] = json.loads(path.read_text())["subjects"]
    for name in asked.subjects:
        with tempfile.TemporaryDirectory() as folder:
            known = KNOWN[name]()
            files = written(known, Path(folder))
            found = {"quality": quality(known, files), "times": times(files, asked.tiers)}
            found |= {"commit": commit(), "same_on_avx2": same_on_avx2(known, files)}
        result["subjects"][name] = found
        print(json.dumps({name: found}, indent=1), flush=True)
        write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    print(path)


def written(known: Known, folder: Path) -> dict[str, Path]:
    """Save the network in float32, in eight and seven bits, and as NNCF quantizes it."""
    network = trace(known.model, torch.from_numpy(known.calibration[:1]))
    files = {"f32": save(network, folder / "f32.wieldy")}
    batches = [(known.calibration[i : i + BATCH],) for i in range(0, len(known.calibration), BATCH)]
    for bits in (8, 7):
        small, records = quantize(network, batches, IntegerConfig(weight_bits=bits))
        assert all(isinstance(record, Change) for record in records)
        files[f"int{bits}"] = save(small, folder / f"int{bits}.wieldy")
        if bits == 8:
            files[IN_F32] = save(small, folder / "levels.wieldy", formats={})
    files["nncf"] = by_nncf(known, folder / "nncf.xml")
    files["nncf7"] = by_nncf(known, folder / "nncf7.xml", saturating=True)
    return files


def by_nncf(known: Known, path: Path, *, saturating: bool = False) -> Path:
    """Quantize with NNCF's defaults, or as it does for CPUs that saturate."""
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    example = torch.from_numpy(known.calibration[:1])
    model = openvino().convert_model(known.model, example_input=example, input=[-1, *example.shape[1:]])
    dataset = nncf.Dataset([picture[None] for picture in known.calibration])
    halved = AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE) if saturating else None
    quantized = nncf.quantize(model, dataset, subset_size=len(known.calibration), advanced_parameters=halved)
    openvino().save_model(quantized, path, compress_to_fp16=False)
    return path


def quality(known: Known, files: dict[str, Path]) -> dict[str, Any]:
    """Return, for each set, what is right or the same as in float32, and how far that is from NNCF's."""
    sides = [(name, Subject(path)) for name, path in files.items() if name != IN_F32]
    if has_bf16(current_tier()):
        sides.append(("bf16", Subject(files["f32"], "bf16")))
    found: dict[str, Any] = {}
    for name, (inputs, labels) in known.judged.items():
        said = {side: predictions(subject, inputs) for side, subject in sides}
        wanted = said["f32"] if labels is None else labels
        right = {side: (p == wanted).astype(np.float64) for side, p in said.items()}
        found[name] = {"examples": len(inputs), "labels": labels is not None}
        for side, hits in right.items():
            theirs = right["nncf7" if side in ("int7", "nncf7") else "nncf"]
            found[name][side] = {
                "share": proportion(int(hits.sum()), len(hits)).model_dump(),
                "flips": int((said[side] != said["f32"]).sum()),
                "drop_points": paired_mean(100 * (right["f32"] - hits)).model_dump(),
                "nncf_minus_this_points": paired_mean(100 * (theirs - hits)).model_dump(),
            }
    return found


def predictions(subject: Subject, inputs: Pictures, tier: str | None = None) -> NDArray[np.int64]:
    """Return the classes that a saved file names."""
    if subject.path.suffix == ".xml":
        hints = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino().Core().compile_model(subject.path, "CPU", hints)

        def run(x: Pictures) -> Any:
            return compiled(x)[0]
    else:
        run = open_package(subject.path, precision=subject.precision, tier=tier)
    return np.concatenate([run(inputs[i : i + BATCH]).argmax(1) for i in range(0, len(inputs), BATCH)])


def same_on_avx2(known: Known, files: dict[str, Path]) -> dict[str, Any]:
    """Return how many predictions are the same there, in eight bits and with the same levels in float32."""
    if current_tier() in SATURATING:
        return {}
    inputs = next(iter(known.judged.values()))[0]
    return {name: kept_on("avx2", files[name], inputs) for name in ("int8", IN_F32)}


def kept_on(tier: str, package: Path, inputs: Pictures) -> dict[str, Any]:
    """Return how many predictions of a package are the same on another tier."""
    with tempfile.TemporaryDirectory() as folder:
        pictures_file, found = Path(folder) / "x.npy", Path(folder) / "y.npy"
        np.save(pictures_file, inputs)
        subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--on", tier, package, pictures_file, found],
            check=True,
        )
        same = predictions(Subject(package), inputs) == np.load(found)
    return {"examples": len(inputs)} | proportion(int(same.sum()), len(same)).model_dump()


def times(files: dict[str, Path], tiers: list[str]) -> dict[str, Any]:
    """Return, for each tier, ours against float32, ours against NNCF's, and bf16 against float32."""
    found: dict[str, Any] = {}
    for tier in tiers:
        ours = files[f"int{IntegerConfig.fitting(tier).weight_bits}"]
        against = measure(Subject(files["f32"]), Subject(ours), tier=tier)
        settings: dict[str, Any] = {"tier": tier, "batch": against.batch}
        found[tier] = {
            "int8": against.model_dump(),
            "over_nncf": measure(Subject(files["nncf"]), Subject(ours), **settings).model_dump(),
        }
        if has_bf16(tier):
            bf16 = measure(Subject(files["f32"]), Subject(files["f32"], "bf16"), **settings)
            found[tier]["bf16"] = bf16.model_dump()
        if ours is files["int7"]:  # what was made for another CPU, opened here
            found[tier]["int8_package"] = measure(
                Subject(files["f32"]), Subject(files["int8"]), **settings
            ).model_dump()
    return found


if __name__ == "__main__":
    main()
