"""A sparse tensor keeps a column that it does not have."""

from pathlib import Path

from forged import with_last_gap

ERROR = "OutsideError"


def forge(path: Path) -> None:
    """Write the file."""
    with_last_gap("csr", 200).write(path)
