"""A program of a million empty lists."""

from pathlib import Path

from forged import sound_parts

ERROR = "OversizeError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.program["nodes"] = [[]] * 2_000_000
    parts.write(path)
