"""The last bytes are missing."""

from pathlib import Path

from forged import sound

ERROR = "TruncatedError"


def forge(path: Path) -> None:
    """Write the file."""
    path.write_bytes(sound()[:-10])
