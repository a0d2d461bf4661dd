"""A gap between columns whose number never ends."""

from pathlib import Path

import numpy as np
from forged import sound_parts

ERROR = "PackingError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts("csr")
    parts.tensors["conv.weight.gaps"] = np.full_like(parts.tensors["conv.weight.gaps"], 255)
    parts.write(path)
