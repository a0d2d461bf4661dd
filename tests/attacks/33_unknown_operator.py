"""An operator that runs a command."""

from pathlib import Path

from forged import sound_parts

ERROR = "OperatorError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("relu")["op"] = "os.system"
    parts.write(path)
