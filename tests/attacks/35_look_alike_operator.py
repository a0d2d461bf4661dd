"""An operator in whose name one letter is Cyrillic."""

from pathlib import Path

from forged import sound_parts

ERROR = "OperatorError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("relu")["op"] = "aten.r\N{CYRILLIC SMALL LETTER IE}lu.default"
    parts.write(path)
