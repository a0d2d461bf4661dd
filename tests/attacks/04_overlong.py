"""More bytes follow after the end."""

from pathlib import Path

from forged import sound

ERROR = "DigestError"


def forge(path: Path) -> None:
    """Write the file."""
    path.write_bytes(sound() + b"tail")
