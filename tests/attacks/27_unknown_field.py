"""A field that the contract does not have."""

from pathlib import Path

from forged import sound_parts

ERROR = "ManifestError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.manifest["run_on_open"] = "rm -rf ~"
    parts.write(path)
