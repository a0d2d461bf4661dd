"""Sixty-four megabytes of zeros that the program does not name."""

from pathlib import Path

import numpy as np
from forged import sound_parts

ERROR = "OversizeError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.tensors["hidden"] = np.zeros(1 << 24, np.float32)
    parts.write(path)
