"""The container: one uncompressed zip, of which exactly one sequence of bytes is sound for given parts."""

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from wieldy.core.errors import DigestError, NotAPackageError, SchemaError, TruncatedError
from wieldy.package.manifest import MANIFEST, PARTS

NAMES = (MANIFEST, *PARTS)
START = b"PK\x03\x04"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold; ours say nothing
UNIX = 3  # the same bytes on every system
RIGHTS = 0o644 << 16


def wrap(contents: Mapping[str, bytes]) -> bytes:
    """Return the zip that holds the manifest and the parts: same contents, same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in NAMES:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = UNIX
            entry.external_attr = RIGHTS
            archive.writestr(entry, contents[name])
    return buffer.getvalue()


def load(path: Path) -> bytes:
    """Return the bytes of a file that starts as a package does."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "there is no such file"
        raise NotAPackageError(f"{path}: {found}; a package is one file. Check the path.")
    try:
        with path.open("rb") as file:
            start = file.read(len(START))
            if start == START:
                return start + file.read()
    except OSError as error:
        raise NotAPackageError(f"{path}: cannot be read ({error.strerror}). Check its rights.") from None
    if START.startswith(start):
        raise TruncatedError(f"{path}: holds only {len(start)} bytes. Fetch the file again.")
    raise NotAPackageError(
        f"{path}: is no wieldy package (a zip that holds {MANIFEST}); it is another kind of file."
    )


def unwrap(path: Path, data: bytes) -> dict[str, bytes]:
    """Return the manifest and the parts in `data`, which must be byte for byte what `wrap` makes of them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            contents = _entries(path, archive)
    except zipfile.BadZipFile as error:
        if "CRC" in str(error):
            raise DigestError(f"{path}: {error}: bytes were changed. Fetch the file again.") from None
        raise TruncatedError(
            f"{path}: its end is missing or damaged ({error}). Fetch the file again."
        ) from None
    except (OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error) as error:
        raise DigestError(f"{path}: is damaged ({error}). Fetch the file again.") from None
    if wrap(contents) != data:
        raise DigestError(
            f"{path}: bytes outside its parts are not what was saved: they were changed, moved or added. "
            "Fetch the file again."
        )
    return contents


def _entries(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Return what the zip holds; each part must be stored as it is, once, under a name of ours."""
    names = archive.namelist()
    if MANIFEST not in names:
        raise NotAPackageError(f"{path}: is a zip, but no wieldy package: it holds no {MANIFEST}.")
    if sorted(names) != sorted(NAMES):
        raise SchemaError(f"{path}: must hold {', '.join(NAMES)}, once each; got {', '.join(names)[:200]}.")
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:  # so nothing grows beyond the file's own size
            raise SchemaError(f"{path}: {entry.filename} must be stored uncompressed.")
    return {entry.filename: archive.read(entry) for entry in archive.infolist()}
