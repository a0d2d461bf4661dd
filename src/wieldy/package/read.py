"""Reading a package: it is hostile until checked. Nothing in it is ever executed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from wieldy.core import digest
from wieldy.core.errors import ConfigError, DigestError, SchemaError
from wieldy.formats import FORMATS
from wieldy.formats.level_blocks import LevelBlockFormat
from wieldy.formats.sparse import SparseFormat
from wieldy.formats.unified import UnifiedFormat
from wieldy.graph.program import DTYPES, Program
from wieldy.package.archive import load, unwrap
from wieldy.package.manifest import MANIFEST, PARTS, PROGRAM, SCHEMA_VERSION, TENSORS, Manifest

MANIFEST_LIMIT_BYTES = 16 << 20
UNFOLDED_BYTES, UNFOLDED_RATIO = 64 << 20, 256  # what zeros that are not stored may claim


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
    data = load(path)
    contents = unwrap(path, data)
    manifest = _manifest(path, contents[MANIFEST])
    for name in PARTS:
        part = manifest.parts[name]
        if len(contents[name]) != part.bytes or digest.of_bytes(contents[name]) != part.sha256:
            raise DigestError(
                f"{path}: {name} is not what was saved (its SHA-256 differs from the manifest's). "
                "The file was changed or damaged; fetch it again."
            )
    program = _program(path, contents[PROGRAM])
    tensors = _tensors(path, contents[TENSORS], program, manifest)
    _agree(path, manifest, program)
    return Package(path, digest.of_bytes(data), manifest, program, tensors)


def _manifest(path: Path, data: bytes) -> Manifest:
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise SchemaError(
            f"{path}: its manifest must be under {MANIFEST_LIMIT_BYTES:,} bytes; got {len(data):,}."
        )
    _check_version(path, data)
    try:
        manifest = Manifest.from_json(data)
    except ConfigError as error:
        raise SchemaError(f"{path}: its manifest breaks the contract: {error}") from None
    if set(manifest.parts) != set(PARTS):
        raise SchemaError(
            f"{path}: its manifest must list {', '.join(PARTS)}; got {', '.join(manifest.parts)[:200]}."
        )
    return manifest


def _check_version(path: Path, data: bytes) -> None:
    """Look at the version first: nothing else is known of a manifest from the future."""
    try:
        found = json.loads(data)["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SchemaError(f"{path}: its manifest is no JSON object with a schema_version.") from None
    if found != SCHEMA_VERSION or type(found) is not int:
        raise SchemaError(
            f"{path}: has schema version {found!r:.40}; this wieldy reads {SCHEMA_VERSION}. Upgrade wieldy."
        )


def _program(path: Path, data: bytes) -> Program:
    try:
        return Program.from_json(data)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None


def _tensors(path: Path, data: bytes, program: Program, manifest: Manifest) -> dict[str, NDArray[Any]]:
    try:
        stored = load_tensors(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise SchemaError(f"{path}: {TENSORS} is no sound safetensors file ({error}).") from None
    kinds = _kinds(path, program, manifest, stored, len(data))
    tensors = {}
    for name, spec in program.tensors.items():
        form = FORMATS[kinds[name]]
        parts = {suffix: stored[name + suffix] for suffix in form.suffixes}
        try:
            array = form.decode(parts, tuple(int(size or 0) for size in spec.shape))
        except SchemaError as error:
            raise SchemaError(f"{path}: {name}: {error}") from None
        if array.shape != spec.shape or array.dtype.name != spec.dtype:
            raise SchemaError(
                f"{path}: {name} must be {spec.dtype} {spec.shape}; got {array.dtype.name} {array.shape}."
            )
        if not np.isfinite(array).all():
            raise SchemaError(f"{path}: {name} holds NaN or infinity; weights must be finite.")
        tensors[name] = array
    return tensors


def _kinds(
    path: Path, program: Program, manifest: Manifest, stored: Mapping[str, Any], stored_bytes: int
) -> Mapping[str, str]:
    """Return every tensor's format, if what is stored are their parts and they unfold to a sane size."""
    kinds = manifest.formats
    unknown = [name for name, kind in kinds.items() if kind not in FORMATS]
    if unknown:
        raise SchemaError(
            f"{path}: {unknown[0]} has the format {kinds[unknown[0]]!r}; known are {', '.join(FORMATS)}. "
            "Upgrade wieldy."
        )
    parts = [name + suffix for name, kind in kinds.items() for suffix in FORMATS[kind].suffixes]
    if set(kinds) != set(program.tensors) or sorted(parts) != sorted(stored):
        raise SchemaError(f"{path}: its tensors must be those that the program names; they differ.")
    unfolded = sum(
        4 * prod(int(size or 0) for size in program.tensors[name].shape)
        for name, kind in kinds.items()
        if kind != "dense"
    )
    if unfolded > UNFOLDED_BYTES + UNFOLDED_RATIO * stored_bytes:
        raise SchemaError(
            f"{path}: its sparse tensors may unfold to {UNFOLDED_RATIO} times what is stored and "
            f"{UNFOLDED_BYTES:,} bytes; they claim {unfolded:,} bytes from {stored_bytes:,}."
        )
    return kinds


def _agree(path: Path, manifest: Manifest, program: Program) -> None:
    """The manifest's account of inputs and outputs must be the program's."""
    for name, spec in program.inputs.items():
        free, *fixed = spec.shape or (0,)
        if spec.dtype not in DTYPES or free is not None or not all(fixed):
            raise SchemaError(
                f"{path}: input {name!r} must be {' or '.join(DTYPES)} (batch, ...) with nothing but the "
                f"batch left open; "
                f"got {spec.dtype} {spec.shape}."
            )
    if not program.inputs:
        raise SchemaError(f"{path}: its program must take at least one input; it takes none.")
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
