"""MobileNetV2 of ImageNet without its training set: the planner's mix against uniform magnitude.

    python benchmarks/mobilenet.py [--goal 0.7] [--drop 5] [--tier T] [--crops 1536] [--epochs 3] [--out DIR]

What teaches is the original itself, on crops of unlabelled photos; bf16 is off on both sides. Judged is how
often the small network names the class that the original names, on crops of other photos and on 89 pictures
that show ImageNet's classes. Uniform magnitude loses the same share of every group of channels, is no quicker
than the mix, and learns again in the same way. Writes mobilenet-TIER.json.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from importance import commit
from mix import of_share, searching_s
from numpy.typing import NDArray
from pictures import Pictures, crops, labelled_pictures
from registry import mobilenet_of_imagenet

import wieldy
from wieldy.assure.statistics import paired_mean
from wieldy.cli.terminal import Lines
from wieldy.core.errors import BudgetError
from wieldy.core.files import write_atomic
from wieldy.core.ledger import Ledger
from wieldy.core.records import RunRecord
from wieldy.flow.state import PACKAGE, RECORD, Planning, Recovery, Run, prepared
from wieldy.flow.training import recovered
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.plan.budget import Budget
from wieldy.plan.mix import thinned
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import check_tier, current_tier
from wieldy.stats.collect import Stats
from wieldy.train.fit import FitConfig

HELD_OUT = 1024  # crops of photos that nothing was trained on
BATCH = 32
HALVINGS = 7
PLANNING = Planning(kinds=("channels",), curve=4)  # and eight bits; all kinds would take an hour of asking


@dataclass(frozen=True)
class Judged:
    """Pictures on which the small networks are compared with the original."""

    crops: Pictures
    photos: Pictures
    labels: NDArray[np.int64]
    wanted_crops: NDArray[np.int64]
    wanted_photos: NDArray[np.int64]

    def of(self, path: Path) -> dict[str, NDArray[np.bool_]]:
        """Return, picture by picture, whether a package names the original's class, and the right one."""
        session = wieldy.open(path)
        on_crops, on_photos = (classes(session, of) for of in (self.crops, self.photos))
        return {
            "crops": on_crops == self.wanted_crops,
            "photos": on_photos == self.wanted_photos,
            "right": on_photos == self.labels,
        }


def main() -> None:
    """Plan, prune uniformly, compare, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--goal", type=float, default=0.7)
    parser.add_argument("--drop", type=float, default=5.0)
    parser.add_argument("--tier", default=current_tier())
    parser.add_argument("--crops", type=int, default=1536)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    check_tier(asked.tier)
    torch.set_num_threads(usable_cores())
    model = mobilenet_of_imagenet()
    fit = FitConfig(epochs=asked.epochs, batch_size=BATCH, learning_rate=0.001, precision="bf16")
    recovery = Recovery(fit=fit, temperature=2.0)
    budget = Budget(latency_ratio=asked.goal, max_drop_points=asked.drop)
    with tempfile.TemporaryDirectory() as folder:
        original = wieldy.save(wieldy.trace(model, torch.zeros(1, 3, 224, 224)), Path(folder) / "own.wieldy")
        data, judged = pictures(original, asked.crops)
        out = Path(folder) / "mix"
        try:
            wieldy.shrink(
                model, data, budget, out=out, method=MagnitudeConfig(), planning=PLANNING, recovery=recovery,
                tier=asked.tier, batch=1, progress=Lines(),
            )  # fmt: skip
        except BudgetError as error:  # names the nearest point
            raise SystemExit(str(error)) from None
        record = RunRecord.from_json((out / RECORD).read_text(encoding="utf-8"))
        rival, share, timing = uniform(Path(folder), model, data, recovery, asked.tier, record)
        found = compared(judged, out / PACKAGE, rival) | {
            "goal": asked.goal, "max_drop_points": asked.drop, "verdict": record.verdict,
            "reasons": record.reasons, "mix": next(str(of.mix) for of in record.mixes if of.chosen),
            "mix_timing": record.timing.model_dump(), "uniform_share": share,
            "uniform_timing": timing.model_dump(), "search_s": searching_s(out),
            "curve": [point.model_dump() for point in record.mixes], "commit": commit(),
            "environment": environment(usable_cores()), "tier": asked.tier,
        }  # fmt: skip
    print(json.dumps({key: value for key, value in found.items() if key != "curve"}, indent=1))
    path = prepared(asked.out) / f"mobilenet-{asked.tier}.json"
    write_atomic(path, (json.dumps(found, indent=1) + "\n").encode())


def pictures(original: Path, count: int) -> tuple[wieldy.Data, Judged]:
    """Return crops with the original's own answers for training, and what the networks are judged on."""
    session = wieldy.open(original)
    seen, other = crops(count, held_out=False), crops(HELD_OUT, held_out=True)
    photos, labels = labelled_pictures()
    own = classes(session, seen)
    validate = count // 6
    held_out = classes(session, other)
    data = wieldy.Data(
        (seen[validate:], own[validate:]), (seen[:validate], own[:validate]), (other, held_out)
    )
    return data, Judged(other, photos, labels, held_out, classes(session, photos))


def classes(session: Any, inputs: Pictures) -> NDArray[np.int64]:
    """Return the class that a package names for each picture."""
    parts = [session(inputs[at : at + BATCH]).argmax(1) for at in range(0, len(inputs), BATCH)]
    return np.concatenate(parts)


def uniform(
    folder: Path, model: torch.nn.Module, data: wieldy.Data, recovery: Recovery, tier: str, record: RunRecord
) -> tuple[Path, float, Any]:
    """Return uniform magnitude's package that is no quicker than the mix, its share and its timing."""
    network = wieldy.trace(model, torch.zeros(1, 3, 224, 224))
    own = wieldy.save(network, folder / "own.wieldy")
    low, high = 0.0, 0.95
    path = folder / "uniform.wieldy"
    for _ in range(HALVINGS):
        share = (low + high) / 2
        wieldy.save(thinned(network, of_share(network, share), Stats())[0], path)
        ratio = measure(Subject(own), Subject(path), batch=1, tier=tier, processes=3).ratio.value
        low, high = (share, high) if ratio > record.timing.ratio.value else (low, share)
    mix = of_share(network, low)  # the nearest that is still slower than the mix
    run = Run(
        folder=folder, data=data, budget=Budget(latency_ratio=1.0), method=MagnitudeConfig(),
        recovery=recovery, seed=0, threads=usable_cores(), tier=tier, batch=1, title="", recipe={},
        reproduce=(), ledger=Ledger(None), progress=Lines(), brief=True,
    )  # fmt: skip
    wieldy.save(recovered(run, network, mix.remove), path)
    return path, low, measure(Subject(own), Subject(path), batch=1, tier=tier)


def compared(judged: Judged, mix: Path, rival: Path) -> dict[str, Any]:
    """Return how often each agrees with the original, and the difference with its interval."""
    first, second = judged.of(mix), judged.of(rival)
    found: dict[str, Any] = {}
    for name in first:
        apart = first[name].astype(float) - second[name].astype(float)
        found[name] = {
            "mix": float(first[name].mean()),
            "uniform": float(second[name].mean()),
            "mix_less_uniform": paired_mean(apart).model_dump(),
        }
    return found


if __name__ == "__main__":
    main()
