"""Two nodes that wait for each other."""

from pathlib import Path

from forged import sound_parts

ERROR = "UndefinedError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("relu")["inputs"]["self"] = {"value": "mean"}
    parts.write(path)
