"""A tensor that the program names is not there."""

from pathlib import Path

from forged import sound_parts

ERROR = "TensorsError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    del parts.tensors["conv.bias"]
    parts.write(path)
