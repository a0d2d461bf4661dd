"""A node that yields another shape than it says."""

from pathlib import Path

from forged import sound_parts

ERROR = "MisfitError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("conv")["inputs"]["padding"] = [0, 0]
    parts.write(path)
