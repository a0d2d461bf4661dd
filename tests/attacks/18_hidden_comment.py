"""A comment of the zip carries bytes of its own."""

from pathlib import Path

from forged import sound_parts, zipped

ERROR = "DigestError"


def forge(path: Path) -> None:
    """Write the file."""
    path.write_bytes(zipped([*sound_parts().contents().items()], comment=b"hidden"))
