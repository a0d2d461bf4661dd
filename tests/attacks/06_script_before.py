"""A script stands before the package: the file is two things at once."""

from pathlib import Path

from forged import sound

ERROR = "NotAPackageError"


def forge(path: Path) -> None:
    """Write the file."""
    path.write_bytes(b"#!/bin/sh\n" + sound())
