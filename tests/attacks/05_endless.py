"""Four gigabytes of nothing follow after the end."""

from pathlib import Path

from forged import sound

ERROR = "TruncatedError"


def forge(path: Path) -> None:
    """Write the file."""
    with path.open("wb") as file:
        file.write(sound())
        file.truncate(4 << 30)
