"""A tensor in blocks of levels keeps a block that it does not have."""

from pathlib import Path

from forged import with_last_gap

ERROR = "OutsideError"


def forge(path: Path) -> None:
    """Write the file."""
    with_last_gap("int8_1x4", 200).write(path)
