"""A name in letters that Python would read as others."""

from pathlib import Path

from forged import sound_parts

ERROR = "NamingError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("conv")["module"] = "\N{MATHEMATICAL BOLD SMALL C}onv"
    parts.write(path)
