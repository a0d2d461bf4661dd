"""A contract of the future, with fields that nobody knows yet."""

from pathlib import Path

from forged import sound_parts

ERROR = "VersionError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.manifest |= {"schema_version": 2, "kernels": ["spmm"]}
    parts.write(path)
