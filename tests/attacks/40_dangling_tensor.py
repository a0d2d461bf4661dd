"""A node that reads a tensor that is not stored."""

from pathlib import Path

from forged import sound_parts

ERROR = "UndefinedError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("conv")["inputs"]["weight"] = {"tensor": "nothing"}
    parts.write(path)
