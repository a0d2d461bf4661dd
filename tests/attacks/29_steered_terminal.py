"""The name of a class holds signs that steer a terminal."""

from pathlib import Path

from forged import sound_parts

ERROR = "NamingError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.manifest["classes"] = ["cat\x1b[2J\x1b]0;owned\x07", "dog", "emu"]
    parts.write(path)
