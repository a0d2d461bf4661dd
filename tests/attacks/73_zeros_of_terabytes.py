"""A sparse tensor of nothing but zeros that claims terabytes."""

from pathlib import Path

import numpy as np
from forged import sound_parts

ERROR = "OversizeError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts("csr")
    parts.program["tensors"]["conv.weight"]["shape"] = [8, 1 << 38]
    parts.tensors |= {
        "conv.weight.values": np.zeros((0, 1), np.float32),
        "conv.weight.counts": np.zeros(8, np.uint32),
        "conv.weight.gaps": np.zeros(0, np.uint8),
    }
    parts.write(path)
