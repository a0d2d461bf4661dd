"""Reading a package: it is hostile until checked. Nothing in it is ever executed."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from wieldy.core import digest
from wieldy.core.errors import (
    ConfigError,
    DigestError,
    NotAPackageError,
    SchemaError,
    TruncatedError,
)
from wieldy.formats import FORMATS
from wieldy.graph.program import Program
from wieldy.package.manifest import MANIFEST, PARTS, PROGRAM, SCHEMA_VERSION, TENSORS, Manifest

MANIFEST_LIMIT_BYTES = 16 << 20
ZIP_START = b"PK\x03\x04"


@dataclass(frozen=True)
class Package:
    """A package whose digests, program and tensors were checked."""

    path: Path
    sha256: str
    manifest: Manifest
    program: Program
    tensors: Mapping[str, NDArray[Any]]

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the tensors by name."""
        return self.tensors


def read(path: str | Path) -> Package:
    """Read and check a package.

    Raises:
        NotAPackageError: there is no such file, or it is of another kind.
        TruncatedError: its end is missing.
        DigestError: a part's bytes are not those that the manifest names.
        SchemaError: a part breaks the contract: an unknown operator, a wrong shape, a future version.

    Cost: reads the file once; the tensors are held in memory.
    """
    path = Path(path)
    contents = _contents(path)
    manifest = _manifest(path, contents)
    for name in PARTS:
        part = manifest.parts.get(name)
        if part is None or name not in contents:
            raise SchemaError(f"{path}: must hold {name}, listed in its manifest; it does not.")
        if len(contents[name]) != part.bytes or digest.of_bytes(contents[name]) != part.sha256:
            raise DigestError(
                f"{path}: {name} is not what was saved (its SHA-256 differs from the manifest's). "
                "The file was changed or damaged; fetch it again."
            )
    program = Program.from_json(contents[PROGRAM])
    tensors = _tensors(path, contents[TENSORS], program, manifest)
    _agree(path, manifest, program)
    return Package(path, digest.of_file(path), manifest, program, tensors)


def _contents(path: Path) -> dict[str, bytes]:
    """Return the parts of the zip; each must be stored as it is, once, under a name of ours."""
    try:
        with path.open("rb") as file:
            start = file.read(len(ZIP_START))
    except OSError as error:
        raise NotAPackageError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    if start != ZIP_START:
        raise NotAPackageError(f"{path}: is no wieldy package (a zip that holds {MANIFEST}); it is another kind of file.")
    try:
        with zipfile.ZipFile(path) as archive:
            return _entries(path, archive)
    except zipfile.BadZipFile as error:
        text = str(error)
        if "CRC" in text:
            raise DigestError(f"{path}: {text}: bytes were changed. Fetch the file again.") from None
        raise TruncatedError(f"{path}: its end is missing or damaged ({text}). Fetch the file again.") from None
    except (OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise TruncatedError(f"{path}: is damaged ({error}). Fetch the file again.") from None


def _entries(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    size = path.stat().st_size
    for entry in archive.infolist():
        if entry.filename in contents or entry.filename not in (MANIFEST, *PARTS):
            if MANIFEST not in archive.namelist():
                raise NotAPackageError(f"{path}: is a zip, but no wieldy package: it holds no {MANIFEST}.")
            raise SchemaError(f"{path}: must hold {MANIFEST}, {', '.join(PARTS)}, once each; got {entry.filename!r}.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
            raise SchemaError(f"{path}: {entry.filename} must be stored uncompressed and fit the file.")
        contents[entry.filename] = archive.read(entry)
    return contents


def _manifest(path: Path, contents: dict[str, bytes]) -> Manifest:
    data = contents.get(MANIFEST)
    if data is None:
        raise NotAPackageError(f"{path}: is a zip, but no wieldy package: it holds no {MANIFEST}.")
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise SchemaError(f"{path}: its manifest must be under {MANIFEST_LIMIT_BYTES:,} bytes; got {len(data):,}.")
    try:
        manifest = Manifest.from_json(data)
    except ConfigError as error:
        raise SchemaError(f"{path}: its manifest breaks the contract: {error}") from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise SchemaError(
            f"{path}: has schema version {manifest.schema_version}; this wieldy reads {SCHEMA_VERSION}. Upgrade wieldy."
        )
    return manifest


def _tensors(path: Path, data: bytes, program: Program, manifest: Manifest) -> dict[str, NDArray[Any]]:
    try:
        stored = load_tensors(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise SchemaError(f"{path}: {TENSORS} is no sound safetensors file ({error}).") from None
    if set(stored) != set(program.tensors) or set(manifest.formats) != set(program.tensors):
        raise SchemaError(f"{path}: its tensors must be those that the program names; they differ.")
    tensors = {}
    for name, spec in program.tensors.items():
        kind = manifest.formats[name]
        if kind not in FORMATS:
            raise SchemaError(f"{path}: {name} has the format {kind!r}; known are {', '.join(FORMATS)}. Upgrade wieldy.")
        array = FORMATS[kind].decode({"": stored[name]})
        if array.shape != spec.shape or array.dtype.name != spec.dtype:
            raise SchemaError(
                f"{path}: {name} must be {spec.dtype} {spec.shape}; got {array.dtype.name} {array.shape}."
            )
        if not np.isfinite(array).all():
            raise SchemaError(f"{path}: {name} holds NaN or infinity; weights must be finite.")
        tensors[name] = array
    return tensors


def _agree(path: Path, manifest: Manifest, program: Program) -> None:
    """The manifest's account of inputs and outputs must be the program's."""
    cards = tuple((card.name, card.shape, card.dtype) for card in manifest.inputs)
    specs = tuple((name, spec.shape, spec.dtype) for name, spec in program.inputs.items())
    if cards != specs or manifest.outputs != program.outputs:
        raise SchemaError(f"{path}: manifest and program disagree on inputs or outputs.")


def check(path: str | Path) -> Package:
    """Check digests, structure and contents of a package without running it; see `read` for what is raised.

    Returns:
        The package: its `manifest`, `sha256`, `program` and `tensors`.
    """
    return read(path)

