"""Two nodes of the same name."""

from pathlib import Path

from forged import sound_parts

ERROR = "NamingError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("relu")["name"] = "conv"
    parts.write(path)
