"""A tensor of another dtype than the program says."""

from pathlib import Path

import numpy as np
from forged import sound_parts

ERROR = "DisagreementError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.tensors["conv.bias"] = np.ones(8, np.int64)
    parts.write(path)
