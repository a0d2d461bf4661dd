"""A node that reads what nobody computes."""

from pathlib import Path

from forged import sound_parts

ERROR = "UndefinedError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("relu")["inputs"]["self"] = {"value": "nothing"}
    parts.write(path)
