"""A run that was cut off goes on where it was, and ends in the bytes in which it would have ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import NET_FILE
from torch import nn

import wieldy
from wieldy.core.errors import ConfigError
from wieldy.core.ledger import NAME, PARTIAL, Ledger
from wieldy.core.lock import alone_in
from wieldy.flow.run import resume
from wieldy.flow.state import TRAINING, Recovery
from wieldy.methods.prune.zeros import ZerosConfig
from wieldy.runtime.session import usable_cores
from wieldy.train.fit import FitConfig
from wieldy.zoo.data.digits import optical_digits

RECIPE = """
model: net.py:make
data: optical-digits
budget: {bytes: 12000, max_drop_points: 90}
method: {name: zeros, sparsity: 0.8}
recovery: {fit: {epochs: 6}}
"""


pytestmark = pytest.mark.usefixtures("one_process")


class Cut(Exception):
    """Stands for a crash."""


@pytest.fixture(scope="module")
def data() -> wieldy.Data:
    whole = optical_digits()
    return wieldy.Data(whole.train.take(np.arange(600)), whole.validate, whole.test)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def shrunk(data: wieldy.Data, out: Path, **more: Any) -> bytes:
    """Shrink the network and return the package's bytes."""
    budget = wieldy.Budget(bytes_ratio=0.9, max_drop_points=90)
    how = Recovery(fit=FitConfig(epochs=3, learning_rate=0.02))
    method = ZerosConfig(sparsity=0.8)
    return wieldy.shrink(net(), data, budget, out=out, method=method, recovery=how, **more).read_bytes()


def cut_off(data: wieldy.Data, out: Path, monkeypatch: pytest.MonkeyPatch, *, entries: int) -> None:
    """Begin a run whose ledger crashes once it has so many entries."""
    append = Ledger._append

    def crashing(self: Ledger, kind: str, key: Any, value: Any) -> None:
        if len(self._entries) >= entries:
            raise Cut
        append(self, kind, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_append", crashing)
        with pytest.raises(Cut):
            shrunk(data, out)


@pytest.mark.parametrize("entries", [2, 5])
def test_wherever_it_was_cut_off_it_ends_in_the_same_bytes(
    data: wieldy.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    cut_off(data, tmp_path / "run", monkeypatch, entries=entries)
    resumed = shrunk(data, tmp_path / "run", resume=True)
    assert not (tmp_path / "run" / TRAINING).exists()
    assert not (tmp_path / "run" / PARTIAL).exists()
    assert resumed == shrunk(data, tmp_path / "whole", replay=tmp_path / "run")
    record, page = ((tmp_path / run / "record.json").read_bytes() for run in ("run", "whole"))
    assert record == page


def test_what_was_measured_and_trained_is_not_done_again(
    data: wieldy.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(data, tmp_path, monkeypatch, entries=6)
    before = (tmp_path / PARTIAL).read_bytes()
    shrunk(data, tmp_path, resume=True)
    after = (tmp_path / NAME).read_bytes()
    assert after.startswith(before)
    keys = [line.split(b'"kind"')[0] for line in after.splitlines()]
    assert len(keys) == len(set(keys))


def test_other_data_settings_and_networks_are_refused_by_name(
    data: wieldy.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(data, tmp_path, monkeypatch, entries=3)
    fewer = wieldy.Data(data.train.take(np.arange(599)), data.validate, data.test)
    with pytest.raises(ConfigError, match="its data changed"):
        shrunk(fewer, tmp_path, resume=True)
    with pytest.raises(ConfigError, match="its recipe changed"):
        shrunk(data, tmp_path, resume=True, seed=1)
    with pytest.raises(ConfigError, match="its threads changed"):
        shrunk(data, tmp_path, resume=True, threads=1 if usable_cores() > 1 else 2)


def test_a_flipped_byte_in_the_ledger_is_named_by_its_line(
    data: wieldy.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(data, tmp_path, monkeypatch, entries=3)
    lines = bytearray((tmp_path / PARTIAL).read_bytes())
    lines[40] ^= 1
    (tmp_path / PARTIAL).write_bytes(lines)
    with pytest.raises(ConfigError, match="line 1 is damaged"):
        shrunk(data, tmp_path, resume=True)


def test_two_runs_never_write_into_one_folder(data: wieldy.Data, tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(ConfigError, match="another run works in it"):
        shrunk(data, tmp_path)


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run that was cut off"):
        resume(tmp_path)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET_FILE)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


def command(*words: object) -> list[str]:
    return [str(Path(sys.executable).with_name("wieldy")), *map(str, words)]


def begun(words: list[str], out: Path, *, epochs: int) -> subprocess.Popen[str]:
    """Start a command and wait until so many epochs are noted in its folder."""
    running = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's `&` ignores it
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and running.poll() is None:
        if (out / PARTIAL).is_file() and (out / PARTIAL).read_text().count('"kind": "epoch"') >= epochs:
            return running
        time.sleep(0.01)
    raise AssertionError(running.communicate())


def test_a_run_that_was_interrupted_and_then_killed_goes_on(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = begun(command("run", recipe, "--out", out), out, epochs=2)
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"wieldy resume {out}" in said
    assert "Traceback" not in said
    running = begun(command("resume", out), out, epochs=4)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL
    done = subprocess.run(command("resume", out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    package = (out / "small.wieldy").read_bytes()
    whole = tmp_path / "whole"
    subprocess.run(command("run", recipe, "--out", whole, "--replay", out), capture_output=True, check=True)
    assert (whole / "small.wieldy").read_bytes() == package
    again = subprocess.run(command("resume", out), capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (0, done.stdout)
