"""The manifest names another output than the program."""

from pathlib import Path

from forged import sound_parts

ERROR = "DisagreementError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.manifest["outputs"] = ["relu"]
    parts.write(path)
