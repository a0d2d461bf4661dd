"""Is our dense baseline as fast as OpenVINO's own? Our lowering against `openvino.convert_model`.

    python benchmarks/baseline.py [--processes 7] [--out benchmarks/results]

Both forms of the same torch network, fp32, static shape, same hints, batch 1, timed in turns. Where buffers
land in memory differs from process to process and stays within one, so each network is measured in several
processes: the figure is the median of their paired ratios. Leaves with 1 where ours takes more than 3 %
longer. Writes baseline-TIER.json.
"""

import argparse
import json
import statistics
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from wieldy.core.files import write_atomic
from wieldy.core.records import Timing
from wieldy.flow.state import prepared
from wieldy.graph.trace import trace
from wieldy.package.save import save
from wieldy.runtime.engine import openvino
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier
from wieldy.zoo.networks.residual import residual28

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import networks

ALLOWED = 1.03
SUBJECTS = {
    "embedded residual28": (residual28, (1, 28, 28)),
    "ResNet-18": (networks.ResNet18, (3, 224, 224)),
    "VGG-16-BN": (networks.Vgg16Bn, (3, 224, 224)),
    "MobileNetV2": (networks.MobileNetV2, (3, 224, 224)),
    "dense concat": (networks.DenseNet, (3, 224, 224)),
    "grouped": (networks.GroupedNet, (3, 224, 224)),
}


def main() -> int:
    """Time every network in both forms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--processes", type=int, default=7)
    asked = parser.parse_args()
    rows = []
    for name, (build, shape) in SUBJECTS.items():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            timings = compare(build().eval(), (1, *shape), Path(folder), asked.processes)
        rows.append(row(name, timings))
        print(json.dumps(rows[-1]), flush=True)
    result = {"environment": environment(usable_cores()), "allowed": ALLOWED, "rows": rows}
    path = prepared(asked.out) / f"baseline-{current_tier()}.json"
    write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    return int(any(row["ratio"] > ALLOWED for row in rows))


def row(name: str, timings: list[Timing]) -> dict[str, object]:
    """Return the median over processes, and how far the processes are apart."""
    ratios = sorted(timing.ratio.value for timing in timings)
    return {
        "network": name,
        "ratio": statistics.median(ratios),
        "lowest": ratios[0],
        "highest": ratios[-1],
        "openvino_ms": statistics.median(timing.original_ms for timing in timings),
    }


def compare(model: nn.Module, shape: tuple[int, ...], folder: Path, processes: int) -> list[Timing]:
    """Return timings of ours over OpenVINO's conversion of the same exported network."""
    example = torch.zeros(shape)
    ours = save(trace(model, example), folder / "ours.wieldy")
    exported = torch.export.export(model, (example,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the converter calls torch by an old name
        converted = openvino().convert_model(exported)
    converted.reshape(list(shape))
    theirs = folder / "theirs.xml"
    openvino().save_model(converted, theirs, compress_to_fp16=False)
    return [measure(Subject(theirs), Subject(ours), batch=1) for _ in range(processes)]


if __name__ == "__main__":
    sys.exit(main())
