"""Reading a package: it is hostile until checked. Nothing in it is ever executed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core import digest, strict_json
from wieldy.core.errors import (
    ConfigError,
    DigestError,
    DisagreementError,
    ManifestError,
    NamingError,
    ProgramError,
    SchemaError,
    VersionError,
)  # fmt: skip
from wieldy.formats import FORMATS
from wieldy.formats.level_blocks import LevelBlockFormat
from wieldy.formats.sparse import SparseFormat
from wieldy.formats.unified import UnifiedFormat
from wieldy.graph.program import DTYPES, Program
from wieldy.graph.program_json import program_from_json
from wieldy.graph.soundness import misleads
from wieldy.package.archive import opened
from wieldy.package.manifest import MANIFEST, PARTS, PROGRAM, SCHEMA_VERSION, TENSORS, Manifest
from wieldy.package.tensors import most_bytes, unfold

JSON_LIMIT_BYTES = 4 << 20  # of the manifest and of the program: as values they are many times as large


@dataclass(frozen=True)
class Package:
    """A package whose digests, program and tensors were checked."""

    path: Path
    sha256: str
    manifest: Manifest
    program: Program
    tensors: Mapping[str, NDArray[Any]]

    @property
    def formats(self) -> Mapping[str, str]:
        """How each tensor is stored."""
        return self.manifest.formats

    def zeros_left_out(self) -> int:
        """Return how many numbers the file does not hold because they are zero."""
        packed = (
            name
            for name, kind in self.manifest.formats.items()
            if isinstance(FORMATS[kind], SparseFormat | UnifiedFormat | LevelBlockFormat)
        )
        return sum(
            int(array.size - np.count_nonzero(array)) for array in map(self.tensors.__getitem__, packed)
        )

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the tensors by name."""
        return self.tensors


def read(path: str | Path) -> Package:
    """Read and check a package.

    Raises:
        NotAPackageError: there is no such file, or it is of another kind.
        TruncatedError: its end is missing.
        DigestError: any byte is not what was saved.
        SchemaError: a part breaks the contract: an unknown operator, a wrong shape, a future version.

    Cost: reads the file once; up to four times its size in memory while it is checked, once after that.
    """
    path = Path(path)
    with opened(path) as container:
        manifest_bytes = container.part(MANIFEST, JSON_LIMIT_BYTES)
        manifest = _manifest(path, manifest_bytes)
        program_bytes = container.part(PROGRAM, JSON_LIMIT_BYTES)
        _check_digest(path, manifest, PROGRAM, program_bytes)
        program = _program(path, program_bytes)
        tensors_bytes = container.part(TENSORS, most_bytes(program))
        _check_digest(path, manifest, TENSORS, tensors_bytes)
        contents = {MANIFEST: manifest_bytes, PROGRAM: program_bytes, TENSORS: tensors_bytes}
        sha256 = digest.of_bytes(container.checked(contents))
    _agree(path, manifest, program)
    return Package(path, sha256, manifest, program, unfold(path, tensors_bytes, program, manifest.formats))


def _check_digest(path: Path, manifest: Manifest, name: str, data: bytes) -> None:
    part = manifest.parts[name]
    if len(data) != part.bytes or digest.of_bytes(data) != part.sha256:
        raise DigestError(
            f"{path}: {name} is not what was saved (its SHA-256 differs from the manifest's). "
            "The file was changed or damaged; fetch it again."
        )


def _manifest(path: Path, data: bytes) -> Manifest:
    _check_version(path, data)
    try:
        manifest = Manifest.from_json(data)
    except ConfigError as error:
        raise ManifestError(f"{path}: its manifest breaks the contract: {error}") from None
    if set(manifest.parts) != set(PARTS):
        raise ManifestError(
            f"{path}: its manifest must list {', '.join(PARTS)}; got {', '.join(manifest.parts)[:200]}."
        )
    misleading = [text for text in (manifest.wieldy, *manifest.classes, *manifest.tiers) if misleads(text)]
    if misleading:
        raise NamingError(
            f"{path}: what its manifest says must be printable; {ascii(misleading[0])[:80]} is not."
        )
    return manifest


def _check_version(path: Path, data: bytes) -> None:
    """Look at the version first: nothing else is known of a manifest from the future."""
    try:
        found = strict_json.loads(data)["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error!s:.100}"
        raise ManifestError(
            f"{path}: its manifest is no JSON object with a schema_version ({why})."
        ) from None
    if found != SCHEMA_VERSION or type(found) is not int:
        raise VersionError(
            f"{path}: has schema version {found!r:.40}; this wieldy reads {SCHEMA_VERSION}. Upgrade wieldy."
        )


def _program(path: Path, data: bytes) -> Program:
    try:
        return program_from_json(data)
    except SchemaError as error:
        raise type(error)(f"{path}: {error}") from None


def _agree(path: Path, manifest: Manifest, program: Program) -> None:
    """The manifest's account of inputs and outputs must be the program's."""
    for name, spec in program.inputs.items():
        free, *fixed = spec.shape or (0,)
        if spec.dtype not in DTYPES or free is not None or not all(fixed):
            raise ProgramError(
                f"{path}: input {name!r} must be {' or '.join(DTYPES)} (batch, ...) with nothing but the "
                f"batch left open; got {spec.dtype} {spec.shape}."
            )
    if not program.inputs:
        raise ProgramError(f"{path}: its program must take at least one input; it takes none.")
    cards = tuple((card.name, card.shape, card.dtype) for card in manifest.inputs)
    specs = tuple((name, spec.shape, spec.dtype) for name, spec in program.inputs.items())
    if cards != specs or manifest.outputs != program.outputs:
        raise DisagreementError(f"{path}: manifest and program disagree on inputs or outputs.")


def check(path: str | Path) -> Package:
    """Check digests, structure and contents of a package without running it; see `read` for what is raised.

    Returns:
        The package: its `manifest`, `sha256`, `program` and `tensors`.
    """
    return read(path)
