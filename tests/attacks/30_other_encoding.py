"""A manifest in UTF-16, which some readers of JSON would follow."""

from pathlib import Path

from forged import sound_parts

ERROR = "ManifestError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.manifest = parts.contents()["manifest.json"].decode().encode("utf-16")
    parts.write(path)
