"""Writing a package: the same network gives the same bytes; a crash leaves the old file or the new one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors

from wieldy.core import digest
from wieldy.core.errors import (
    ConfigError,
    DisagreementError,
    NamingError,
    NotFiniteError,
    PackingError,
    SchemaError,
)
from wieldy.core.files import write_atomic
from wieldy.core.version import VERSION
from wieldy.formats import BY_BLOCK, FORMATS
from wieldy.formats.dense import DTYPES, DenseFormat
from wieldy.formats.integer import IntegerFormat
from wieldy.formats.sparse import SparseFormat
from wieldy.graph.program import Program
from wieldy.graph.program_json import program_to_json
from wieldy.graph.soundness import check_program
from wieldy.package.archive import wrap
from wieldy.package.manifest import MANIFEST, PROGRAM, TENSORS, InputCard, Manifest, Part, Provenance


class Saveable(Protocol):
    """What can be saved: a GraphNetwork, or an opened package."""

    @property
    def program(self) -> Program:
        """The nodes."""

    @property
    def formats(self) -> Mapping[str, str]:
        """How tensors were stored in the package that it comes from."""

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
    formats: Mapping[str, str] | None = None,
) -> Path:
    """Write `network` to `path` as one package.

    Args:
        network: what `wieldy.trace` or `wieldy.load` returned.
        path: the file; an existing one is replaced only when the new one is complete.
        provenance: what was done to the network.
        classes: names of the classes in the order of the outputs.
        tiers: instruction tiers on which its speed was measured.
        mean, std: of the normalisation that inputs went through, for whoever uses the package.
        formats: how tensors are stored, by name, as in `wieldy.formats.FORMATS`, all others dense; default:
            as in the package that the network was loaded from, where that is still smaller than dense.

    Returns:
        `path`.

    Raises:
        StorageError: the disk is full, or the folder is missing or read-only.
        ConfigError: `formats` names a tensor or a format that does not exist.
        SchemaError: a tensor is NaN or infinite, of a dtype that packages do not hold, or not of the
            shape that the program states.

    Cost: one copy of the weights in memory.
    """
    data = pack(
        network, provenance=provenance, classes=classes, tiers=tiers, mean=mean, std=std, formats=formats
    )
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
    formats: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes that `save` would write."""
    program, arrays = network.program, network.arrays()
    check_program(program)
    kinds = _formats(program, _remembered(network, arrays) if formats is None else formats)
    stored: dict[str, NDArray[Any]] = {}
    for name, spec in program.tensors.items():
        array = np.asarray(arrays[name])
        if array.dtype.name not in DTYPES or not np.isfinite(array).all():
            found = "NaN or infinity" if array.dtype.name in DTYPES else array.dtype
            raise NotFiniteError(f"{name}: stored tensors must be finite {' or '.join(DTYPES)}; got {found}.")
        if (array.shape, array.dtype.name) != (spec.shape, spec.dtype):
            raise DisagreementError(
                f"{name}: must be {spec.dtype} {spec.shape}, as the program states; "
                f"got {array.dtype} {array.shape}."
            )
        stored |= _stored(name, array, kinds[name], stored)
    contents = {PROGRAM: program_to_json(program).encode(), TENSORS: save_tensors(stored)}
    manifest = Manifest(
        wieldy=VERSION,
        parts={name: Part(sha256=digest.of_bytes(data), bytes=len(data)) for name, data in contents.items()},
        formats=dict(sorted(kinds.items())),
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
    return wrap(contents | {MANIFEST: text.encode()})


def _remembered(network: Saveable, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the formats that a network was loaded with, where they still save bytes and lose no digit."""
    found: dict[str, str] = {}
    for name, kind in network.formats.items():
        form, array = FORMATS[kind], arrays.get(name)
        if array is None or isinstance(form, DenseFormat) or not np.isfinite(array).all():
            continue
        if isinstance(form, IntegerFormat):
            found |= {name: kind} if form.holds(array) else {}
            continue
        exact = kind
        if isinstance(form, SparseFormat) and not form.holds(array):
            exact = BY_BLOCK[form.block]
        if FORMATS[exact].byte_count(array) < array.nbytes:
            found[name] = exact
    return found


def _formats(program: Program, asked: Mapping[str, str]) -> dict[str, str]:
    """Return every tensor's format."""
    for name, kind in asked.items():
        if name not in program.tensors or kind not in FORMATS:
            raise ConfigError(
                f"formats: {name!r}: {kind!r} must be a tensor of the network and one of "
                f"{', '.join(FORMATS)}. `wieldy inspect` names the tensors."
            )
    return {name: asked.get(name, "dense") for name in program.tensors}


def _stored(
    name: str, array: NDArray[Any], kind: str, taken: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return the parts of one tensor under the names that they are stored by."""
    if array.dtype.name not in FORMATS[kind].dtypes:
        held = " or ".join(FORMATS[kind].dtypes)
        raise PackingError(f"{name}: {kind} holds {held}; got {array.dtype}. Store it dense.")
    try:
        parts = FORMATS[kind].encode(array)
    except SchemaError as error:
        raise type(error)(f"{name}: {error}") from None
    named = {name + suffix: part for suffix, part in parts.items()}
    clash = named.keys() & taken.keys()
    if clash:
        raise NamingError(f"{min(clash)}: names both a tensor and a part of another. Rename the tensor.")
    return named
