"""The directory says that the manifest has two gigabytes."""

from pathlib import Path

from forged import sound

ERROR = "OversizeError"


def forge(path: Path) -> None:
    """Write the file."""
    data = bytearray(sound())
    first = data.index(b"PK\x01\x02")
    data[first + 20 : first + 28] = b"\xff\xff\xff\x7f" * 2
    path.write_bytes(data)
