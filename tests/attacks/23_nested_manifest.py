"""A manifest that is nested a hundred thousand deep."""

from pathlib import Path

from forged import sound_parts

ERROR = "ManifestError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.manifest = b"[" * 100_000
    parts.write(path)
