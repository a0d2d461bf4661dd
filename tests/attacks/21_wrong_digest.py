"""A weight was changed, and the zip's checksum with it; the manifest was not."""

from pathlib import Path

from forged import sound_parts

ERROR = "DigestError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.honest = False
    parts.tensors["conv.bias"] = parts.tensors["conv.bias"] + 1
    parts.write(path)
