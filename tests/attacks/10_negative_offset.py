"""The directory says that a part begins before the file."""

from pathlib import Path

from forged import sound

ERROR = "DigestError"


def forge(path: Path) -> None:
    """Write the file."""
    data = bytearray(sound())
    first = data.index(b"PK\x01\x02")
    data[first + 42 : first + 46] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
