"""A weight is infinite."""

from pathlib import Path

import numpy as np
from forged import sound_parts

ERROR = "NotFiniteError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.tensors["conv.bias"] = np.full(8, np.inf, np.float32)
    parts.write(path)
