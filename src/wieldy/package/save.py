"""Writing a package: the same network gives the same bytes, and a crash leaves the old file or the new one."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors

from wieldy.core import digest
from wieldy.core.errors import SchemaError
from wieldy.core.files import write_atomic
from wieldy.core.version import VERSION
from wieldy.formats import FORMATS
from wieldy.graph.program import Program
from wieldy.package.manifest import MANIFEST, PARTS, PROGRAM, TENSORS, InputCard, Manifest, Part, Provenance

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold; ours say nothing


class Saveable(Protocol):
    """What can be saved: a GraphNetwork, or an opened package."""

    @property
    def program(self) -> Program:
        """The nodes."""

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the tensors by name."""


def save(
    network: Saveable,
    path: str | Path,
    *,
    provenance: Provenance | None = None,
    classes: tuple[str, ...] = (),
    tiers: tuple[str, ...] = (),
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
) -> Path:
    """Write `network` to `path` as one package.

    Args:
        network: what `wieldy.trace` or `wieldy.load` returned.
        path: the file; an existing one is replaced only when the new one is complete.
        provenance: what was done to the network.
        classes: names of the classes in the order of the outputs.
        tiers: instruction tiers on which its speed was measured.
        mean, std: of the normalisation that inputs went through, for whoever uses the package.

    Returns:
        `path`.

    Raises:
        StorageError: the disk is full, or the folder is missing or read-only.
        SchemaError: a tensor is NaN or infinite, or of a dtype that packages do not hold.

    Cost: one copy of the weights in memory.
    """
    data = pack(network, provenance=provenance, classes=classes, tiers=tiers, mean=mean, std=std)
    write_atomic(Path(path), data)
    return Path(path)


def pack(
    network: Saveable,
    *,
    provenance: Provenance | None = None,
    classes: tuple[str, ...] = (),
    tiers: tuple[str, ...] = (),
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
) -> bytes:
    """Return the bytes that `save` would write."""
    program, arrays = network.program, network.arrays()
    stored: dict[str, NDArray[Any]] = {}
    for name in program.tensors:
        array = np.asarray(arrays[name])
        if array.dtype.name not in ("float32", "int64") or not np.isfinite(array).all():
            raise SchemaError(f"{name}: stored tensors must be finite float32 or int64; got {array.dtype} or NaN.")
        for suffix, part in FORMATS["dense"].encode(array).items():
            stored[name + suffix] = part
    contents = {PROGRAM: program.to_json().encode(), TENSORS: save_tensors(stored)}
    manifest = Manifest(
        wieldy=VERSION,
        parts={name: Part(sha256=digest.of_bytes(data), bytes=len(data)) for name, data in contents.items()},
        formats=dict.fromkeys(sorted(program.tensors), "dense"),
        inputs=tuple(
            InputCard(name=name, shape=spec.shape, dtype=spec.dtype, mean=mean, std=std)
            for name, spec in program.inputs.items()
        ),
        outputs=program.outputs,
        classes=classes,
        tiers=tiers,
        provenance=provenance or Provenance(),
    )
    text = manifest.model_dump_json(indent=1)
    return _zip({MANIFEST: text.encode()} | {name: contents[name] for name in PARTS})


def _zip(contents: dict[str, bytes]) -> bytes:
    """One uncompressed zip with fixed dates and rights."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3  # the same bytes on every system
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()
