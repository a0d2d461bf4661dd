"""A linear layer that takes more inputs than it is given."""

from pathlib import Path

import numpy as np
from forged import sound_parts

ERROR = "MisfitError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.tensors["fc.weight"] = np.ones((3, 9), np.float32)
    parts.program["tensors"]["fc.weight"]["shape"] = [3, 9]
    parts.write(path)
