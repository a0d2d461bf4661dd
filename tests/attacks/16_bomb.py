"""Entries that would grow a thousandfold when unpacked."""

import zipfile
from pathlib import Path

from forged import sound_parts, zipped

ERROR = "EntriesError"


def forge(path: Path) -> None:
    """Write the file."""
    names = sound_parts().contents()
    path.write_bytes(zipped([(name, bytes(50_000_000)) for name in names], zipfile.ZIP_DEFLATED))
