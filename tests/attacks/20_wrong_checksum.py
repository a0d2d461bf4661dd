"""A weight was changed; the zip's checksum was not."""

from pathlib import Path

from forged import sound

ERROR = "DigestError"


def forge(path: Path) -> None:
    """Write the file."""
    data = bytearray(sound())
    data[data.index(b"PK\x01\x02") - 1] ^= 1
    path.write_bytes(data)
