"""The file is empty."""

from pathlib import Path

ERROR = "TruncatedError"


def forge(path: Path) -> None:
    """Write the file."""
    path.write_bytes(b"")
