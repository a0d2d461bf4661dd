"""A stretch of the weights is missing, and all that follows has moved."""

from pathlib import Path

from forged import sound

ERROR = "DigestError"


def forge(path: Path) -> None:
    """Write the file."""
    data = sound()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + data[middle + 64 :])
