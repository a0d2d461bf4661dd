"""A whole number of thousands of digits."""

from pathlib import Path

from forged import sound_parts

ERROR = "ManifestError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    text = parts.contents()["manifest.json"]
    parts.manifest = text.replace(b'"schema_version": 1', b'"schema_version": 1' + b"0" * 4000)
    parts.write(path)
