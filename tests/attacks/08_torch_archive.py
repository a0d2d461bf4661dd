"""An archive as torch.save writes it, with a pickle inside."""

from pathlib import Path

from forged import zipped

ERROR = "NotAPackageError"


def forge(path: Path) -> None:
    """Write the file."""
    path.write_bytes(zipped([("archive/data.pkl", b"\x80\x04."), ("archive/version", b"3")]))
