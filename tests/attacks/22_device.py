"""The path names a device that never ends."""

from pathlib import Path

ERROR = "NotAPackageError"


def forge(path: Path) -> None:
    """Write the file."""
    path.symlink_to("/dev/zero")
