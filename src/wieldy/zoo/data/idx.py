"""The IDX container of the MNIST family: big-endian header, then raw bytes."""

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wieldy.core import digest
from wieldy.core.errors import DataError

UBYTE = 0x08


def read_idx(path: Path, sha256: str) -> NDArray[np.uint8]:
    """Return the array in a gzipped IDX file of unsigned bytes.

    Args:
        path: a .gz file.
        sha256: of the unpacked contents, since packers differ.

    Raises:
        DataError: the file is no gzip, no IDX of bytes, or holds other contents.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: is no readable gzip file ({error}). Fetch it again.") from None
    if digest.of_bytes(data) != sha256:
        raise DataError(f"{path}: its contents are not the published ones (SHA-256 differs). Fetch it again.")
    try:
        zero, kind, dimensions = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
    except struct.error:
        raise DataError(f"{path}: is too short for an IDX file.") from None
    if zero or kind != UBYTE:
        raise DataError(f"{path}: is no IDX file of unsigned bytes.")
    start = 4 + 4 * dimensions
    if len(data) - start != prod(shape):
        raise DataError(
            f"{path}: must hold {prod(shape):,} bytes after its header; got {len(data) - start:,}."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
