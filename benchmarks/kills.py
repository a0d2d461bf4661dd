"""Is a run that was killed the run that it would have been? SIGKILL at random instants, then `wieldy resume`.

    python benchmarks/kills.py [--trials 20] [--seed 0] [--recipe FILE] [--out DIR]

Each trial runs a recipe (default: a small network of the digits loses channels) anew and kills it at an
instant drawn evenly over the time that a whole run took; one in three is killed again while it resumes. Its
package must equal, byte for byte, that of an uninterrupted run that reads back the measurements of the killed
one. Leaves with 1 where one does not. A trial is kept in kills.json as soon as it is over.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from importance import commit

from wieldy.core import digest
from wieldy.core.errors import EXIT_MET, EXIT_VERDICT
from wieldy.core.files import write_atomic
from wieldy.core.ledger import PARTIAL
from wieldy.flow.state import PACKAGE, RECORD, prepared
from wieldy.runtime.environment import environment
from wieldy.runtime.session import usable_cores

WIELDY = Path(sys.executable).with_name("wieldy")
AGAIN = 1 / 3
NET = """
import torch
from torch import nn


def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 16, 10),
        )
"""
RECIPE = """
model: net.py:make
data: optical-digits
budget: {latency: 70%, max_drop_points: 90}
method: {name: taylor}
recovery: {fit: {epochs: 6}}
tier: avx2
"""


def main() -> int:
    """Kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    path = prepared(asked.out) / "kills.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if found.get("seed") != asked.seed:
        found = {"seed": asked.seed, "trials": []}
    trials = found["trials"]
    with tempfile.TemporaryDirectory() as folder:
        recipe = asked.recipe or small_recipe(Path(folder))
        start = time.monotonic()
        finished("run", recipe, "--out", Path(folder) / "whole")
        whole_s = time.monotonic() - start
        print(f"seed {asked.seed}; an uninterrupted run takes {whole_s:.1f} s", flush=True)
        for index in range(len(trials), asked.trials):
            draw = random.Random(f"{asked.seed} {index}")
            trials.append(trial(recipe, Path(folder) / str(index), whole_s, draw) | {"commit": commit()})
            print(json.dumps(trials[-1]), flush=True)
            equal = sum(one["equal"] for one in trials)
            found |= {"whole_s": whole_s, "equal": equal, "environment": environment(usable_cores())}
            write_atomic(path, (json.dumps(found, indent=1) + "\n").encode())
    equal = sum(one["equal"] for one in trials)
    print(f"{equal} of {len(trials)} end in the same bytes")
    return EXIT_MET if equal == len(trials) else EXIT_VERDICT


def small_recipe(folder: Path, more: str = "") -> Path:
    """Write a recipe whose run takes some seconds of everything: timing, searching, training, examining."""
    (folder / "net.py").write_text(NET, encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE + more, encoding="utf-8")
    return folder / "recipe.yaml"


def trial(recipe: Path, out: Path, whole_s: float, draw: random.Random) -> dict[str, Any]:
    """Kill one run at a random instant, go on with it, and compare it with one that nothing happened to."""
    begin: tuple[object, ...] = ("run", recipe, "--out", out)
    at_s = [draw.uniform(0, whole_s)] + ([draw.uniform(0, whole_s)] if draw.random() < AGAIN else [])
    stages, command = [], begin
    for seconds in at_s:
        stages.append(killed(command, out, seconds))
        command = ("resume", out) if (out / PARTIAL).is_file() or (out / RECORD).is_file() else begin
    finished(*command)
    other = out.with_name(f"{out.name}-whole")
    finished("run", recipe, "--out", other, "--replay", out)
    digests = [digest.of_file(folder / PACKAGE) for folder in (out, other)]
    return {"killed_at_s": at_s, "entries": stages, "equal": digests[0] == digests[1]}


def killed(command: tuple[object, ...], out: Path, seconds: float) -> int:
    """Start a command and kill it after a while; return how many entries its ledger then has."""
    running = subprocess.Popen(
        [WIELDY, *map(str, command)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGKILL)
        running.wait()
    partial = out / PARTIAL
    return len(partial.read_bytes().splitlines()) if partial.is_file() else 0


def finished(*command: object) -> None:
    """Run a command to its end."""
    done = subprocess.run([WIELDY, *map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode not in (EXIT_MET, EXIT_VERDICT):
        raise SystemExit(f"{' '.join(map(str, command))}: left with {done.returncode}\n{done.stderr}")


if __name__ == "__main__":
    raise SystemExit(main())
