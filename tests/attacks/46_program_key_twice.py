"""A tensor is named twice in the program."""

from pathlib import Path

from forged import sound_parts

ERROR = "ProgramError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    text = parts.contents()["program.json"]
    parts.program = text.replace(b'"tensors": {', b'"tensors": {"fc.weight": {}, ')
    parts.write(path)
