"""The IDX container of the MNIST family: big-endian header, then raw bytes."""

import gzip
import struct
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
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: is no readable gzip file ({error}). Fetch it again.") from None
    if digest.of_bytes(data) != sha256:
        raise DataError(f"{path}: its contents are not the published ones (SHA-256 differs). Fetch it again.")
    zero, kind, dimensions = struct.unpack_from(">HBB", data)
    if zero or kind != UBYTE:
        raise DataError(f"{path}: is no IDX file of unsigned bytes.")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
