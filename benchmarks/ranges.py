"""Which ranges of eight bits lose least? Each rule that `quantize` tries, a percentile, and its own choice.

    python benchmarks/ranges.py [--out benchmarks/results]

MobileNetV2 of ImageNet: which crops of photos are named as in float32. MiniLM: the cosine of sentences with
those in float32. Outputs are those of the saved files at this CPU's own tier. Writes ranges-TIER.json. Needs
the extras `bench` and `dev`, and `make data`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pictures
import torch
from importance import commit
from numpy.typing import NDArray
from registry import mobilenet_of_imagenet
from torch import nn

from wieldy.assure.statistics import paired_mean
from wieldy.compress.quantize import EXAMPLES, quantize_with_settings
from wieldy.core.files import write_atomic
from wieldy.flow.state import prepared
from wieldy.graph.trace import trace
from wieldy.methods.quantize.integer import IntegerConfig, RangeRule
from wieldy.package.save import save
from wieldy.runtime.environment import environment
from wieldy.runtime.session import open as open_package
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier

sys.path.insert(0, str(Path(__file__).parent / "recipes"))
import sentences

CROPS, BATCH = 2000, 50
Inputs = tuple[NDArray[Any], ...]
Outputs = NDArray[np.float32]


@dataclass(frozen=True)
class Judged:
    """A network, what its ranges are measured on, what it is judged on, and how."""

    model: nn.Module
    calibration: Inputs
    inputs: Inputs
    score: Callable[[Outputs, Outputs], NDArray[np.float64]]
    unit: str


def photos() -> Judged:
    """MobileNetV2 on crops without labels."""
    calibration, crops = (pictures.crops(EXAMPLES, held_out=False),), (pictures.crops(CROPS, held_out=True),)
    return Judged(mobilenet_of_imagenet(), calibration, crops, same_class, "named as in float32")


def posts() -> Judged:
    """MiniLM on newsgroup posts."""
    data = sentences.data()
    train, test = data.train.inputs, data.test.inputs
    calibration = tuple(array[:EXAMPLES] for array in train)
    return Judged(sentences.trained(), calibration, test, sentences.cosine, "cosine with float32")


def same_class(found: Outputs, wanted: Outputs) -> NDArray[np.float64]:
    """Return 1 where both name the same class."""
    return (found.argmax(1) == wanted.argmax(1)).astype(np.float64)


KNOWN = {"MobileNetV2": photos, "MiniLM": posts}


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    result: dict[str, Any] = {"environment": environment(usable_cores()), "commit": commit()}
    result["networks"] = {name: measured(known()) for name, known in KNOWN.items()}
    path = prepared(asked.out) / f"ranges-{current_tier()}.json"
    write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(result["networks"], indent=1))
    return 0


def measured(judged: Judged) -> dict[str, Any]:
    """Return how good each rule is, and which one `quantize` chose on the examples alone."""
    network = trace(judged.model, tuple(torch.from_numpy(array[:1]) for array in judged.calibration))
    wanted = outputs(network, judged.inputs)
    batches = [
        tuple(array[i : i + BATCH] for array in judged.calibration)
        for i in range(0, len(judged.calibration[0]), BATCH)
    ]
    rules: dict[str, Any] = {}
    for rule in get_args(RangeRule):
        small, *_ = quantize_with_settings(network, batches, IntegerConfig(ranges=rule))
        scores = judged.score(outputs(small, judged.inputs), wanted)
        rules[rule] = paired_mean(np.asarray(scores, np.float64)).model_dump()
        print(f"{type(judged.model).__name__}, {rule}: {rules[rule]['value']:.4f}", file=sys.stderr)
    chosen = quantize_with_settings(network, batches)[2].ranges
    return {"examples": len(judged.inputs[0]), "unit": judged.unit, "rules": rules, "chosen": chosen}


def outputs(network: Any, inputs: Inputs) -> Outputs:
    """Return what a network, saved and opened, makes of inputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = save(network, Path(folder) / "net.wieldy", formats=dict(network.formats))
        run = open_package(path)
        parts = [run(*(array[i : i + BATCH] for array in inputs)) for i in range(0, len(inputs[0]), BATCH)]
    return np.concatenate(parts)


if __name__ == "__main__":
    sys.exit(main())
