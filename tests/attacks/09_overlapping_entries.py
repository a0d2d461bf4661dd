"""Two entries of the directory claim the same bytes."""

from pathlib import Path

from forged import sound

ERROR = "DigestError"


def forge(path: Path) -> None:
    """Write the file."""
    data = bytearray(sound())
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    path.write_bytes(data)
