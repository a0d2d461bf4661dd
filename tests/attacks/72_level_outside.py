"""A level that a symmetric grid does not have."""

from pathlib import Path

import numpy as np
from forged import sound_parts

ERROR = "PackingError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts("int8")
    parts.tensors["conv.weight.levels"] = np.full((8, 1, 3, 3), -128, np.int8)
    parts.write(path)
