"""A node that says it yields terabytes."""

from pathlib import Path

from forged import sound_parts

ERROR = "OversizeError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("conv")["shape"] = [None, 8, 1 << 20, 1 << 20]
    parts.write(path)
