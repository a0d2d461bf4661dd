"""A format whose name is that of another but for one letter."""

from pathlib import Path

from forged import sound_parts

ERROR = "TensorsError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.manifest["formats"]["conv.weight"] = "d\N{CYRILLIC SMALL LETTER IE}nse"
    parts.write(path)
