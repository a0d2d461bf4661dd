"""A sweep's points are what its file says, and each is run to its end once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import NET_FILE

from wieldy.core.errors import ConfigError, InternalError
from wieldy.core.ledger import PARTIAL
from wieldy.flow import sweep as module
from wieldy.flow.sweep import FAILED, read_sweep, state_of, status, sweep

RECIPE = "model: net.py:make\ndata: optical-digits\nbudget: {latency: 50%, max_drop_points: 2}\n"
SWEEP = """
recipe: recipe.yaml
budgets: [{latency: 60%}, {bytes: 9000, max_drop_points: 5}]
methods: [{name: magnitude}, plan]
seeds: [0, 3]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    return tmp_path / "sweep.yaml"


def test_points_are_the_product_of_what_varies(file: Path) -> None:
    points = read_sweep(file)
    recipes = [point.origin.recipe for point in points]
    assert len(points) == len({point.name for point in points}) == 8
    assert [recipe["seed"] for recipe in recipes[:2]] == [0, 3]
    assert recipes[0]["budget"] == {"latency": "60%", "max_drop_points": 2}
    assert recipes[-1]["budget"] == {"bytes": 9000, "max_drop_points": 5}
    assert [recipe["plan"] for recipe in recipes] == [False, False, True, True] * 2
    assert points[0].name.startswith("magnitude-latency60-seed0-")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seeds: [0, 3]", "seed: [0]", "line 5: a recipe has no key 'seed'. Did you mean 'seeds'"),
        ("seeds: [0, 3]", "seeds: []", "line 5: .*at least 1 item"),
        ("{name: magnitude}", "{name: magnitud}", "must be one of magnitude"),
        ("recipe.yaml", "other.yaml", "other.yaml: cannot be read"),
        ("{latency: 60%}", "{latency: 60}", "a share such as 50%"),
    ],
)
def test_a_wrong_sweep_is_refused(file: Path, old: str, new: str, says: str) -> None:
    file.write_text(SWEEP.replace(old, new))
    with pytest.raises(ConfigError, match=says):
        read_sweep(file)


def test_states_are_told_apart(tmp_path: Path) -> None:
    assert state_of(tmp_path / "none").state == "waiting"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / PARTIAL).write_text("")
    assert state_of(tmp_path / "a").state == "cut off"
    (tmp_path / "a" / FAILED).write_text(json.dumps({"reason": "out of reach"}))
    assert state_of(tmp_path / "a").reason == "out of reach"
    with pytest.raises(ConfigError, match="holds no sweep"):
        status(tmp_path)


def test_workers_that_are_lost_again_and_again_end_the_sweep(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise RuntimeError("worker gone")

    monkeypatch.setattr(module, "run_point", lost)
    monkeypatch.setattr(module, "ARRIVING", {"threading": "list"})
    with pytest.raises(InternalError, match="workers were lost 3 times: worker gone"):
        sweep(read_sweep(file), tmp_path / "out", backend="threading")  # type: ignore[arg-type]


REAL = """
model: net.py:make
data: optical-digits
budget: {bytes: 12000, max_drop_points: 90}
method: {name: zeros, sparsity: 0.8}
recovery: {fit: {epochs: 8}}
threads: 1
"""


def workers_of(parent: int) -> list[int]:
    """Return the processes that work for a sweep: its children that run joblib's loky."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            facts = (path / "stat").read_text().rpartition(")")[2].split()
            if int(facts[1]) == parent and b"loky.backend.popen" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def test_a_killed_workers_points_go_on_and_nothing_that_ended_runs_again(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET_FILE)
    (tmp_path / "recipe.yaml").write_text(REAL)
    (tmp_path / "sweep.yaml").write_text("recipe: recipe.yaml\nseeds: [0, 1]\n")
    out, wieldy = tmp_path / "out", str(Path(sys.executable).with_name("wieldy"))
    command = [wieldy, "sweep", str(tmp_path / "sweep.yaml"), "--out", str(out), "--jobs", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 120
        while not list(out.glob(f"*/{PARTIAL}")) and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(workers_of(running.pid)[0], signal.SIGKILL)
        said, told = running.communicate(timeout=300)
    assert running.returncode == 0, told
    assert "a worker was lost" in told
    assert said.startswith("2 runs: 2 met")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout == said
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*")} == before
