"""A name that shows in another order than it stands."""

from pathlib import Path

from forged import sound_parts

ERROR = "NamingError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("conv")["module"] = "conv\u202egnp.exe"
    parts.write(path)
