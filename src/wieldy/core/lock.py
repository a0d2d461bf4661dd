"""The machine-wide lock: many may work at a time, but whoever measures does so alone."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no flock; there a measurement is not guarded
    fcntl = None  # type: ignore[assignment]


@contextmanager
def working() -> Iterator[None]:
    """Train or compute beside other workers, but not while one of them measures."""
    with _held(exclusive=False):
        yield


@contextmanager
def measuring() -> Iterator[None]:
    """Measure while no other worker of ours trains or measures."""
    with _held(exclusive=True):
        yield


@contextmanager
def _held(*, exclusive: bool) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    with _open() as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield  # closing the file gives the lock back


def _open() -> IO[bytes]:
    path = Path(tempfile.gettempdir()) / "wieldy-measure.lock"
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except PermissionError:  # made by another user: flock needs no right to write
        return path.open("rb")
