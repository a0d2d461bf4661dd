"""Does memory stay where it is? Batches of random sizes from eight threads on one session with zeros.

    python benchmarks/soak.py [--minutes 10] [--out benchmarks/results]

It runs twice for that long: alone, and beside processes that take the cores away again and again, since what
waits for a thread that does not come must not pile up. Resident memory is sampled every second once all is
warm. Its drift is the slope of the least-squares line times the duration, over the mean. Every output must
equal, bit for bit, that of the same input alone. Leaves with 1 where memory grows by more than 1 % or an
output differs. Writes soak.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wieldy.core.files import write_atomic
from wieldy.flow.state import prepared
from wieldy.graph.trace import trace
from wieldy.package.save import save
from wieldy.runtime.environment import environment
from wieldy.runtime.session import KEPT_BATCHES, Session, usable_cores
from wieldy.runtime.session import open as open_package

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import networks

THREADS = 8
WARM_S = 20
SAMPLE_S = 1.0
ALLOWED_PERCENT = 1.0
SIDE = 64
WIDTH = 0.5
KEPT = 0.05  # of the weights
RIVALS = 3
RIVAL = """
import random, sys, time
draw = random.Random(int(sys.argv[1]))
while True:
    end = time.monotonic() + draw.uniform(0.5, 4)
    while time.monotonic() < end:
        pass
    time.sleep(draw.uniform(0, 1))
"""


def main() -> int:
    """Run for a while and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = open_package(write_package(Path(folder)))
    if run._zeros is None:
        sys.exit("soak: no layer of this package runs by its zeros here, so there is nothing to soak.")
    load = Load(run)
    runs = {"alone": soak(load, asked.minutes)}
    with rivals(RIVALS):
        runs["beside"] = soak(load, asked.minutes)
    result = {"environment": environment(usable_cores()), "rivals": RIVALS, "minutes": asked.minutes, **runs}
    print(json.dumps(result, indent=1))
    write_atomic(prepared(asked.out) / "soak.json", (json.dumps(result, indent=1) + "\n").encode())
    return int(not all(map(is_sound, runs.values())))


def is_sound(result: dict[str, Any]) -> bool:
    """Whether memory stayed where it was, and every output was right."""
    return bool(result["drift_percent"] <= ALLOWED_PERCENT and result["outputs_equal"])


def write_package(folder: Path) -> Path:
    """Write a residual network with zeros."""
    torch.manual_seed(0)
    model = networks.ResNet18(classes=10, width=WIDTH).eval()
    formats = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data *= torch.rand_like(layer.weight) < KEPT
            formats[f"{name}.weight"] = "csr"
    return save(trace(model, torch.zeros(1, 3, SIDE, SIDE)), folder / "soak.wieldy", formats=formats)


class Load:
    """What the threads do until they are told to stop, and what came of it."""

    def __init__(self, run: Session) -> None:
        draw = np.random.default_rng(0)
        self.run = run
        self.inputs = [
            draw.standard_normal((size, 3, SIDE, SIDE), np.float32) for size in range(1, KEPT_BATCHES + 1)
        ]
        self.alone = [run(x) for x in self.inputs]
        self.stop = threading.Event()
        self.begin()

    def begin(self) -> None:
        """Count anew."""
        self.stop.clear()
        self.requests = [0] * THREADS
        self.equal = [True] * THREADS

    def work(self, thread: int) -> None:
        """Ask for batches of random sizes."""
        draw = np.random.default_rng(thread)
        while not self.stop.is_set():
            place = draw.integers(len(self.inputs))
            self.equal[thread] &= np.array_equal(self.run(self.inputs[place]), self.alone[place])
            self.requests[thread] += 1


@contextmanager
def rivals(count: int) -> Iterator[None]:
    """Run processes that compute for a while, sleep for a while, and so on."""
    with ExitStack() as stack:
        for seed in range(count):
            rival = stack.enter_context(subprocess.Popen([sys.executable, "-c", RIVAL, str(seed)]))
            stack.callback(rival.kill)
        yield


def soak(load: Load, minutes: float) -> dict[str, Any]:
    """Return what memory did."""
    load.begin()
    with ThreadPoolExecutor(THREADS) as pool:
        workers = [pool.submit(load.work, thread) for thread in range(THREADS)]
        try:
            time.sleep(WARM_S)
            samples = sampled(60 * minutes)
        finally:
            load.stop.set()
    for worker in workers:
        worker.result()
    return {
        "requests": sum(load.requests),
        "rss_first_mb": samples[0],
        "rss_last_mb": samples[-1],
        "rss_max_mb": max(samples),
        "drift_percent": drift_percent(samples),
        "outputs_equal": all(load.equal),
    }


def sampled(duration_s: float) -> list[float]:
    """Return resident memory in MB, second by second."""
    end, samples = time.monotonic() + duration_s, [rss_mb()]
    while time.monotonic() < end:
        time.sleep(SAMPLE_S)
        samples.append(rss_mb())
    return samples


def rss_mb() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def drift_percent(samples: list[float]) -> float:
    """Return by how much the least-squares line rises from the first sample to the last, over the mean.

    Example:
        >>> round(drift_percent([99.0, 100.0, 101.0]), 6)
        2.0
    """
    slope = np.polyfit(np.arange(len(samples)), samples, 1)[0]
    return float(100 * slope * (len(samples) - 1) / np.mean(samples))


if __name__ == "__main__":
    sys.exit(main())
