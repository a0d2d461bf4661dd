"""A whole run under torchrun: one folder, one verdict, and the figures of one process that measures."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import tiny
from torchrun import begun, ended

from wieldy.core.ledger import PARTIAL, Ledger
from wieldy.core.records import RunRecord
from wieldy.flow.together import SharedLedger, shared
from wieldy.train.ranks import Ranks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gloo's loopback is set up for Linux here")
RECIPE = (
    "model: net.py:make\ndata: optical-digits\nbudget: {bytes_ratio: 0.9, max_drop_points: 90}\n"
    "method: {name: zeros}\ntier: avx2\nthreads: 1\nbatch: 8\n"
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(tiny.NET_FILE)
    (tmp_path / "recipe.yaml").write_text(RECIPE + "recovery: {fit: {epochs: 2}}\n")
    return tmp_path / "recipe.yaml"


def test_a_recipe_runs_under_torchrun_as_it_does_alone(recipe: Path) -> None:
    out = recipe.parent / "out"
    code, said, error = ended(begun("-m", "wieldy", "run", recipe, "--out", out))
    assert code == 0, error
    assert said.count("MET: recipe") == 1  # one process speaks
    record = RunRecord.from_json((out / "record.json").read_text())
    assert record.verdict == "met"
    assert [epoch.epoch for epoch in record.recovery] == [1, 2]
    assert not list(out.glob("*partial*"))
    assert len(Ledger(out).of_kind("timing")) == len(set(map(str, Ledger(out).of_kind("timing"))))


def test_ctrl_c_ends_all_processes_and_says_how_to_go_on(recipe: Path) -> None:
    out = recipe.parent / "out"
    recipe.write_text(RECIPE + "recovery: {fit: {epochs: 200}}\n")
    running = begun("-m", "wieldy", "run", recipe, "--out", out)
    end = time.monotonic() + 120
    while not list(out.glob("training/*")) and time.monotonic() < end:
        time.sleep(0.1)
    os.kill(running.pid, signal.SIGINT)
    code, _, error = ended(running)
    assert code != 0
    assert f"go on with: wieldy resume {out}" in error
    assert (out / PARTIAL).is_file()


def test_one_process_needs_no_shared_ledger() -> None:
    ledger = Ledger(None)
    assert shared(ledger) is ledger


def test_what_trains_is_computed_by_all_and_what_is_measured_by_the_first_alone() -> None:
    class Second(Ranks):
        """The second of two processes, to which the first hands 5, whatever is asked of it."""

        def __init__(self) -> None:
            self.rank, self.world, self.answers = 1, 2, [False, 5]

        def from_first(self, compute):  # type: ignore[no-untyped-def]
            return self.answers.pop(0)

    asked: list[str] = []
    ledger = SharedLedger(Ledger(None), Second())
    assert ledger.remember("timing", {}, lambda: asked.append("timing")) == 5
    assert asked == []
    ledger = SharedLedger(Ledger(None), Second())
    assert ledger.remember("mix", {}, lambda: asked.append("mix")) == 5
    assert asked == ["mix"]
    assert ledger.of_kind("mix") == [({}, 5)]
