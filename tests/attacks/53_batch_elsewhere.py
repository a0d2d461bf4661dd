"""An input whose open axis is not the first."""

from pathlib import Path

from forged import sound_parts

ERROR = "ProgramError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.program["inputs"]["x"]["shape"] = [1, None, 6, 6]
    parts.manifest["inputs"][0]["shape"] = [1, None, 6, 6]
    parts.write(path)
