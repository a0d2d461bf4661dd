"""A manifest of 100 MB."""

from pathlib import Path

from forged import sound_parts

ERROR = "OversizeError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.manifest["wieldy"] = "9" * 100_000_000
    parts.write(path)
