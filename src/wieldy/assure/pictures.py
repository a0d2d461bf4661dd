"""A picture as text that a page can show: PNG, small, in a data URI."""

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_SIDE = 96  # pixels of what is shown


def data_uri(pixels: NDArray[Any]) -> str:
    """Return a (channels, height, width) picture of 1 or 3 channels in [0, 1] as a PNG's data URI.

    Larger pictures are thinned by a whole number until no side is longer than `MOST_SIDE`.

    Source: W3C, Portable Network Graphics (PNG) Specification, second edition, sections 5 and 11.

    Example:
        >>> data_uri(np.zeros((1, 2, 2), np.float32))[:30]
        'data:image/png;base64,iVBORw0K'
    """
    step = -(-max(pixels.shape[1:]) // MOST_SIDE)
    small = np.clip(pixels[:, ::step, ::step], 0, 1)
    rows = np.rint(small * 255).astype(np.uint8).transpose(1, 2, 0)
    height, width, channels = rows.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows.reshape(height, -1)], axis=1)  # no filter
    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
