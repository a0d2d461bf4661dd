import errno
import os
import subprocess
import sys

import pytest

from wieldy.core.errors import StorageError
from wieldy.core.files import write_atomic

TOO_LARGE = """
import resource, sys
from pathlib import Path
from wieldy.core.errors import StorageError
from wieldy.core.files import write_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path(sys.argv[1]), b"x" * 5000)
except StorageError as error:
    print(error)
"""


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "net.wieldy"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["net.wieldy"]


def test_others_may_read_what_is_written(tmp_path):
    write_atomic(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_name_as_long_as_the_file_system_takes_is_written(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_write_beyond_the_limit_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "net.wieldy"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", TOO_LARGE, path], capture_output=True, text=True)
    assert "net.wieldy: could not be written (File too large); 5,000 bytes were needed" in done.stdout, (
        done.stderr
    )
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["net.wieldy"]


@pytest.mark.parametrize("step", ["fsync", "fdopen"])
def test_a_full_disk_at_any_step_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "net.wieldy"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(StorageError, match=r"No space left on device.*unchanged"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["net.wieldy"]


def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    path = tmp_path / "net.wieldy"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["net.wieldy"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"none/a: could not be written \(No such file"):
        write_atomic(tmp_path / "none" / "a", b"")


def test_a_folder_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(StorageError, match="Is a directory"):
        write_atomic(tmp_path / "a", b"new")
    assert sorted(os.listdir(tmp_path)) == ["a"]
