"""An operator of ATen that maps a file into memory."""

from pathlib import Path

from forged import sound_parts

ERROR = "OperatorError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("relu")["op"] = "aten.from_file.default"
    parts.node("relu")["inputs"] = {"filename": "/etc/passwd"}
    parts.write(path)
