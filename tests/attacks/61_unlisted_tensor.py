"""A tensor that the program does not name."""

from pathlib import Path

import numpy as np
from forged import sound_parts

ERROR = "TensorsError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.tensors["hidden"] = np.zeros(3, np.float32)
    parts.write(path)
