"""Writing a file, or a line of it, whole or not at all."""

import errno
import os
import tempfile
from pathlib import Path

from wieldy.core.errors import StorageError


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a crash leaves the old file or the new one.

    Raises:
        StorageError: the folder is missing, not writable or full. What stood at `path` is intact.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_atomic(folder / "a.txt", b"new")
        >>> (folder / "a.txt").read_bytes()
        b'new'
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".wieldy-", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp gives 0600; what ships is meant to be read
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise StorageError(
            f"{path}: could not be written ({error.strerror or error}); {len(data):,} bytes were needed. "
            "What stood there before is unchanged. Free some space or choose another folder."
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def append_line(path: Path, line: bytes) -> None:
    """Append a line whole, or leave the file as it was.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise StorageError(
            f"{path}: could not be written ({error.strerror}); what it held is intact. "
            "Free some space or choose another folder."
        ) from None
