"""A key stands twice in the manifest, so that two readers may see two values."""

from pathlib import Path

from forged import sound_parts

ERROR = "ManifestError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    text = parts.contents()["manifest.json"]
    parts.manifest = b'{"kind": "wieldy", ' + text[1:]
    parts.write(path)
