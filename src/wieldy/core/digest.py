"""SHA-256 of bytes, files, arrays and values."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 1 << 20


def of_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data` in hexadecimal.

    Example:
        >>> of_bytes(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            total.update(piece)
    return total.hexdigest()


def of_value(value: Any) -> str:
    """Return the SHA-256 of a JSON value, whatever the order of its keys."""
    return of_bytes(canonical(value))


def of_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of named arrays: names, dtypes, shapes and contents."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")  # ascontiguousarray would give a scalar an axis
        total.update(canonical([name, array.dtype.str, list(array.shape)]))
        total.update(array.tobytes())
    return total.hexdigest()


def canonical(value: Any) -> bytes:
    """Return `value` as JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
