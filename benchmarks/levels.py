"""Zeros in eight bits on trained networks: what they lose, and what they take beside dense eight bits.

    python benchmarks/levels.py [--only embedded digits] [--sparsity 0.9] [--tier T] [--out DIR]

Each network loses its blocks of four input channels by magnitude while it trains, is rounded, trains its last
epochs on its levels, and is saved twice: without its blocks of zeros, and whole. The first runs in regions of
ours, the second in OpenVINO; both hold the same weights and ranges. Compared on all test pictures that there
are, opened where there is no torch. Writes levels-TIER.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from importance import commit
from numpy.typing import NDArray
from torch import nn

import wieldy
from wieldy.cli.terminal import Lines
from wieldy.compress.load import load
from wieldy.compress.storage import level_formats
from wieldy.core.data import Data
from wieldy.core.files import write_atomic
from wieldy.core.records import RunRecord
from wieldy.flow.state import ORIGINAL, PACKAGE, RECORD, Recovery, prepared
from wieldy.formats import FORMATS
from wieldy.formats.level_blocks import LevelBlockFormat
from wieldy.methods.prune.zeros import ZerosConfig
from wieldy.package.save import save
from wieldy.plan.budget import Budget
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import check_tier, current_tier
from wieldy.train.fit import FitConfig
from wieldy.zoo.data import fashion, mnist
from wieldy.zoo.networks.digits28 import digits28
from wieldy.zoo.networks.residual import residual28

RUNNER = """
import sys
sys.modules["torch"] = None
import numpy as np
from wieldy.runtime.session import open
run, x = open(sys.argv[1]), np.load(sys.argv[2])
np.save(sys.argv[3], np.concatenate([run(x[at : at + 100]) for at in range(0, len(x), 100)]))
"""


@dataclass(frozen=True)
class Subject28:
    """A trained network, what it learns again on, and pictures by the ten thousand."""

    make: Callable[[], nn.Module]
    data: Callable[[], Data]
    pictures: Callable[[], Data]
    recovery: Recovery


SUBJECTS = {
    "embedded": Subject28(
        residual28, fashion.embedded, fashion.full,
        Recovery(fit=FitConfig(epochs=12, learning_rate=0.02), augment=True, rounded_epochs=2),
    ),
    "digits": Subject28(
        digits28, mnist.full, mnist.full,
        Recovery(fit=FitConfig(epochs=4, learning_rate=0.02), rounded_epochs=1),
    ),
}  # fmt: skip


def main() -> None:
    """Measure what is asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(SUBJECTS), choices=SUBJECTS)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--tier", default=current_tier())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    check_tier(asked.tier)
    path = prepared(asked.out) / f"levels-{asked.tier}.json"
    kept = json.loads(path.read_text()) if path.is_file() else {"rows": {}}
    for name in asked.only:
        kept["rows"][name] = one(SUBJECTS[name], asked.sparsity, asked.tier)
        print(name, json.dumps(kept["rows"][name]), flush=True)
        kept |= {"tier": asked.tier, "environment": environment(usable_cores())}
        write_atomic(path, (json.dumps(kept, indent=1) + "\n").encode())


def one(subject: Subject28, sparsity: float, tier: str) -> dict[str, Any]:
    """Thin one network and return what came of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wieldy.shrink(
            subject.make(), subject.data(), Budget(bytes_ratio=0.5, max_drop_points=1.5), out=folder,
            method=ZerosConfig(sparsity=sparsity, inputs=4), recovery=subject.recovery, quantize=True,
            tier=tier, progress=Lines(),
        )  # fmt: skip
        record = RunRecord.from_json((folder / RECORD).read_text(encoding="utf-8"))
        network = load(folder / PACKAGE)
        stored, whole = dict(network.formats), dict[str, str]()
        for tensor, kind in stored.items():
            form = FORMATS[kind]
            whole[tensor] = f"int{form.bits}" if isinstance(form, LevelBlockFormat) else kind
        dense = save(network, folder / "whole.wieldy", formats=whole)
        network.formats = whole
        blocks = save(network, folder / "blocks.wieldy", formats=whole | level_formats(network))
        settings: dict[str, Any] = {"threads": usable_cores(), "batch": record.timing.batch, "tier": tier}
        over = measure(Subject(dense), Subject(blocks), **settings)
        x = np.concatenate([x for x, _ in subject.pictures().test.batches(1000)])
        answers = {of.stem: answers_of(of, x, folder) for of in (folder / ORIGINAL, dense, blocks)}
    numbers = record.evidence[0].numbers
    return {
        "commit": commit(), "sparsity": sparsity, "drop_points": numbers["drop_points"],
        "timing": record.timing.model_dump(), "over_dense_int8": over.model_dump(), "pictures": len(x),
        "chosen": "whole" if whole == stored else "blocks",
        "bytes_ratio": record.package.bytes / record.original.bytes,
        "agree_with_whole": float((answers["blocks"] == answers["whole"]).mean()),
        "flips": float((answers["blocks"] != answers["original"]).mean()),
    }  # fmt: skip


def answers_of(path: Path, x: NDArray[np.float32], folder: Path) -> NDArray[np.int64]:
    """Return the classes that a package names, in a process that cannot import torch."""
    np.save(folder / "x.npy", x)
    command = [sys.executable, "-c", RUNNER, str(path), str(folder / "x.npy"), str(folder / "y.npy")]
    subprocess.run(command, check=True)
    found: NDArray[np.int64] = np.load(folder / "y.npy").argmax(axis=1)
    return found


if __name__ == "__main__":
    main()
