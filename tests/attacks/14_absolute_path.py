"""An entry with an absolute path."""

from pathlib import Path

from forged import sound_parts, zipped

ERROR = "EntriesError"


def forge(path: Path) -> None:
    """Write the file."""
    path.write_bytes(zipped([*sound_parts().contents().items(), ("/etc/passwd", b"")]))
