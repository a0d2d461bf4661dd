"""Whatever happens while a file is written, what is there afterwards is the old file or the new one."""

import errno
import io
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import byhand
import pytest
from processes import in_a_process

from wieldy.core.errors import StorageError
from wieldy.package.read import read
from wieldy.package.save import pack, save

OLD, NEW = byhand.adder(), byhand.conv_net(channels=4096)
BYTES = len(pack(NEW))
PLACES = 50

KILLED = """
import os, signal, sys
from pathlib import Path
import byhand
from wieldy.core import files
from wieldy.package import save as module

path, places = Path(sys.argv[1]), int(sys.argv[2])
old, new = byhand.adder(), byhand.conv_net(channels=4096)
before, after = module.pack(old), module.pack(new)


def steps(at=None):
    writing, other, count = [], [], 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes = inside = frame.f_code is files.write_atomic.__code__
        (writing if inside else other).append(count)
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return trace

    sys.settrace(trace)
    try:
        module.save(new, path)
    finally:
        sys.settrace(None)
    return writing, other


def spread(found, count):
    return [found[k * (len(found) - 1) // (count - 1)] for k in range(count)]


steps()  # what is done but once is done
writing, other = steps()
for at in spread(writing, places * 4 // 5) + spread(other, places // 5):
    path.write_bytes(before)
    child = os.fork()
    if child == 0:
        steps(at)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = path.read_bytes()
    print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else "ended", found == before, found == after)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(OLD, tmp_path / "net.wieldy")


def test_a_save_that_is_killed_in_fifty_places_leaves_the_old_file_or_the_new_one(path: Path) -> None:
    lines, _ = in_a_process(KILLED, path, PLACES, PYTHONPATH=str(Path(__file__).parents[1]))
    assert len(lines) == PLACES
    killed, old, new = zip(*(line.split() for line in lines), strict=True)
    assert set(killed) == {str(int(signal.SIGKILL))}
    assert all("True" in pair for pair in zip(old, new, strict=True))
    assert {"True", "False"} == set(old) == set(new), "it must have been killed before and after"


class Full(io.FileIO):
    """A file on a disk with room for so many bytes."""

    room = 0

    def write(self, data: Any) -> int:
        fitting = memoryview(data).cast("B")[: self.room]
        self.room -= len(fitting)
        if not fitting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fitting) or 0


@pytest.mark.parametrize("room", [0, 1, 4096, BYTES // 2, BYTES - 1])
def test_a_disk_that_is_full_after_any_byte_leaves_the_old_file(
    path: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(handle: int, mode: str) -> io.BufferedWriter:
        raw = Full(handle, mode)
        raw.room = room
        return io.BufferedWriter(raw)

    monkeypatch.setattr(os, "fdopen", opened)
    refused_and_unchanged(path)


def refused_and_unchanged(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(StorageError, match="No space left on device"):
        save(NEW, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    assert read(path).program == OLD.program


@pytest.mark.parametrize(
    "step", ["tempfile.mkstemp", "os.fdopen", "os.fsync", "pathlib.Path.chmod", "pathlib.Path.replace"]
)
def test_an_error_at_any_step_leaves_the_old_file(
    path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(step, full)
        refused_and_unchanged(path)
    save(NEW, path)
    assert path.read_bytes() == pack(NEW)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own at `folder`."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no right to mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full_leaves_the_old_file(tmp_path: Path) -> None:
    blocks = len(pack(OLD)) // 4096 + 2
    assert 4096 * blocks < BYTES
    with mounted(tmp_path, f"size={4096 * blocks}"):
        refused_and_unchanged(save(OLD, tmp_path / "net.wieldy"))


def test_a_file_system_that_is_read_only_is_named(tmp_path: Path) -> None:
    with mounted(tmp_path, "ro"), pytest.raises(StorageError, match=r"could not be written \(Read-only"):
        save(NEW, tmp_path / "net.wieldy")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_that_is_read_only_is_named_and_the_file_in_it_is_left(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        with pytest.raises(StorageError, match=r"could not be written \(Permission denied"):
            save(NEW, path)
    finally:
        path.parent.chmod(0o700)
    assert read(path).program == OLD.program
