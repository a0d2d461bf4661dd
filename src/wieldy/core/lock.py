"""The machine-wide lock: many may work at a time, but whoever measures does so alone.

Two files are locked in turn. Who measures holds the gate while waiting, so that workers who come and go
cannot keep it waiting for ever. Work may be entered again inside work of the same thread. Measuring inside
work, or anything inside measuring, would wait for itself, so it is an error.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from wieldy.core.errors import ConfigError, InternalError

if sys.platform != "win32":  # Windows has no flock; there a measurement is not guarded
    import fcntl


_here = threading.local()  # `held`: what this thread holds, innermost last


@contextmanager
def working() -> Iterator[None]:
    """Train or compute beside other workers, but not while one of them measures."""
    with _held(exclusive=False):
        yield


@contextmanager
def measuring() -> Iterator[tuple[int, ...]]:
    """Measure while no other worker of ours trains or measures.

    Yields the files that hold the lock: a process that inherits them holds it too, and so goes on being alone
    should this one be killed.
    """
    with _held(exclusive=True) as files:
        yield files


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder that one run writes into; the system lets go of it even if the run is killed.

    Raises:
        ConfigError: another run holds it.
    """
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(
            f"{folder}: another run works in it. Wait for it, or choose another folder."
        ) from None
    finally:
        os.close(handle)


@contextmanager
def _held(*, exclusive: bool) -> Iterator[tuple[int, ...]]:
    held: list[bool] = _here.__dict__.setdefault("held", [])
    if held and (exclusive or held[-1]):
        raise InternalError("lock: measuring must neither contain other work nor lie within it.")
    if sys.platform == "win32" or held:
        yield ()
        return
    how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    with _open("wieldy-gate.lock") as gate, _open("wieldy-measure.lock") as file:
        fcntl.flock(gate, how)
        fcntl.flock(file, how)
        if not exclusive:
            fcntl.flock(gate, fcntl.LOCK_UN)
        held.append(exclusive)
        try:
            yield gate.fileno(), file.fileno()  # closing the files gives the locks back
        finally:
            held.pop()


def _open(name: str) -> IO[bytes]:
    path = Path(tempfile.gettempdir()) / name
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except PermissionError:  # made by another user: flock needs no right to write
        return path.open("rb")
