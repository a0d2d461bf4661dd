"""An argument that names a file instead of a tensor."""

from pathlib import Path

from forged import sound_parts

ERROR = "ProgramError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("conv")["inputs"]["weight"] = {"file": "/etc/passwd"}
    parts.write(path)
