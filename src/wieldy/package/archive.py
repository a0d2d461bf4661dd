"""The container: one uncompressed zip, of which exactly one sequence of bytes is sound for given parts."""

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from wieldy.core.errors import DigestError, EntriesError, NotAPackageError, OversizeError, TruncatedError
from wieldy.package.manifest import MANIFEST, PARTS

NAMES = (MANIFEST, *PARTS)
START = b"PK\x03\x04"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold; ours say nothing
UNIX = 3  # the same bytes on every system
RIGHTS = 0o644 << 16
RECORDS_BYTES = 4096  # more than the zip's own records take
CHUNK_BYTES = 1 << 20
BROKEN = (
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)  # zipfile on bad bytes


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


class Container:
    """A file that is laid out as a package is. Its parts are read one by one, none larger than it may be."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        try:
            with self._damage_named():
                self._zip = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise TruncatedError(
                f"{path}: its end is missing or damaged ({error}). Fetch the file again."
            ) from None
        self._sizes = _sizes(path, self._zip)
        if file.seek(0, io.SEEK_END) > sum(self._sizes.values()) + RECORDS_BYTES:
            raise self._changed()

    def part(self, name: str, most_bytes: int) -> bytes:
        """Return a part.

        Raises:
            OversizeError: it is larger than `most_bytes`.
            DigestError: its bytes are not what was saved.
        """
        if self._sizes[name] > most_bytes:
            raise OversizeError(
                f"{self._path}: {name} may have {most_bytes:,} bytes by what the package says; it has "
                f"{self._sizes[name]:,}."
            )
        try:
            with self._damage_named():
                return self._zip.read(name)
        except zipfile.BadZipFile as error:
            raise DigestError(f"{self._path}: {error}: bytes were changed. Fetch the file again.") from None

    def checked(self, contents: Mapping[str, bytes]) -> bytes:
        """Return the bytes of the whole file, which must be what `wrap` makes of the parts."""
        data = wrap(contents)
        self._file.seek(0)
        for start in range(0, len(data) + 1, CHUNK_BYTES):
            if self._file.read(CHUNK_BYTES) != data[start : start + CHUNK_BYTES]:
                raise self._changed()
        return data

    def _changed(self) -> DigestError:
        return DigestError(
            f"{self._path}: bytes outside its parts are not what was saved: they were changed, moved or "
            "added. Fetch the file again."
        )

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except BROKEN as error:
            raise DigestError(f"{self._path}: is damaged ({error}). Fetch the file again.") from None


@contextmanager
def opened(path: Path) -> Iterator[Container]:
    """Open a file that starts as a package does.

    Raises:
        NotAPackageError: there is no such file, or it is of another kind.
        TruncatedError: its end is missing.
        EntriesError: it holds other parts than a package does.
        DigestError: there are bytes that belong to no part.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "there is no such file"
        raise NotAPackageError(f"{path}: {found}; a package is one file. Check the path.")
    try:
        file = path.open("rb")
    except OSError as error:
        raise NotAPackageError(f"{path}: cannot be read ({error.strerror}). Check its rights.") from None
    with file:
        start = file.read(len(START))
        if start != START and START.startswith(start):
            raise TruncatedError(f"{path}: holds only {len(start)} bytes. Fetch the file again.")
        if start != START:
            raise NotAPackageError(
                f"{path}: is no wieldy package (a zip that holds {MANIFEST}); it is another kind of file."
            )
        yield Container(path, file)


def _sizes(path: Path, archive: zipfile.ZipFile) -> dict[str, int]:
    """Return the bytes of each part; it must be stored as it is, once, under a name of ours."""
    names = archive.namelist()
    if MANIFEST not in names:
        raise NotAPackageError(f"{path}: is a zip, but no wieldy package: it holds no {MANIFEST}.")
    if sorted(names) != sorted(NAMES):
        shown = ", ".join(names).encode("ascii", "backslashreplace").decode()[:200]
        raise EntriesError(f"{path}: must hold {', '.join(NAMES)}, once each; got {shown}.")
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:  # so nothing grows beyond the file's own size
            raise EntriesError(f"{path}: {entry.filename} must be stored uncompressed.")
    return {entry.filename: entry.file_size for entry in archive.infolist()}
