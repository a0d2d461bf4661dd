"""The header of the tensors says that it has terabytes."""

from pathlib import Path

from forged import sound_parts

ERROR = "TensorsError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.tensors = (1 << 42).to_bytes(8, "little") + b"{}"
    parts.write(path)
