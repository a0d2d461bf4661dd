"""The tensors of a package: what its safetensors file holds, and the arrays that they stand for."""

import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from wieldy.core import strict_json
from wieldy.core.errors import DisagreementError, NotFiniteError, OversizeError, SchemaError, TensorsError
from wieldy.formats import FORMATS
from wieldy.graph.program import Program
from wieldy.package.manifest import TENSORS

Arrays = dict[str, NDArray[Any]]
UNFOLDED_BYTES, UNFOLDED_RATIO = 64 << 20, 256  # what zeros that are not stored may claim
LENGTH = struct.Struct("<Q")  # of the header, before it
HEADER_BYTES, ENTRY_BYTES, ELEMENT_BYTES = (
    1 << 16,
    1 << 14,
    16,
)  # the largest element: int64, and a sparse one
FIELDS = {"dtype", "shape", "data_offsets"}


def unfold(path: Path, data: bytes, program: Program, kinds: Mapping[str, str]) -> Arrays:
    """Return the tensors that `program` names.

    Args:
        path: of the package, for messages.
        data: the safetensors file.
        program: names them, with their shapes.
        kinds: how each is stored.

    Raises:
        TensorsError: they are not the ones that are stored, or the file is none.
        OversizeError: they claim more than what is stored may unfold to.
        PackingError, OutsideError: parts of one contradict each other.
        NotFiniteError: one holds NaN or infinity.
        DisagreementError: one is of another dtype or shape than the program says.
    """
    stored = _stored(path, data)
    _check_kinds(path, program, kinds, stored)
    _check_claims(path, program, kinds, len(data))
    tensors = {}
    for name, spec in program.tensors.items():
        form = FORMATS[kinds[name]]
        parts = {suffix: stored[name + suffix] for suffix in form.suffixes}
        try:
            array = form.decode(parts, tuple(int(size or 0) for size in spec.shape))
        except SchemaError as error:
            raise type(error)(f"{path}: {name}: {error}") from None
        if array.shape != spec.shape or array.dtype.name != spec.dtype:
            raise DisagreementError(
                f"{path}: {name} must be {spec.dtype} {spec.shape}; got {array.dtype.name} {array.shape}."
            )
        if not np.isfinite(array).all():
            raise NotFiniteError(f"{path}: {name} holds NaN or infinity; weights must be finite.")
        tensors[name] = array
    return tensors


def most_bytes(program: Program) -> int:
    """Return how many bytes the tensors of a program may take in any format, and some to spare."""
    return HEADER_BYTES + sum(
        ENTRY_BYTES + ELEMENT_BYTES * prod(int(size or 0) for size in spec.shape)
        for spec in program.tensors.values()
    )


def _stored(path: Path, data: bytes) -> Arrays:
    """Return the arrays of a safetensors file that holds nothing else, not even what the library skips."""
    try:
        (length,) = LENGTH.unpack_from(data)
        header = strict_json.loads(data[LENGTH.size : LENGTH.size + length])
        unknown = [name for name, entry in header.items() if set(entry) != FIELDS]
        if unknown:
            raise ValueError(f"{unknown[0]!r:.80} must have {', '.join(sorted(FIELDS))} and nothing else")
        return load_tensors(data)
    except (SafetensorError, struct.error, KeyError, ValueError, TypeError, AttributeError, RecursionError,
            OverflowError) as error:  # fmt: skip
        raise TensorsError(f"{path}: {TENSORS} is no sound safetensors file ({error!s:.200}).") from None


def _check_kinds(path: Path, program: Program, kinds: Mapping[str, str], stored: Arrays) -> None:
    """What is stored must be the parts of the tensors that the program names, in formats that are known."""
    unknown = [name for name, kind in kinds.items() if kind not in FORMATS]
    if unknown:
        raise TensorsError(
            f"{path}: {unknown[0]} has the format {kinds[unknown[0]]!r}; known are {', '.join(FORMATS)}. "
            "Upgrade wieldy."
        )
    parts = [name + suffix for name, kind in kinds.items() for suffix in FORMATS[kind].suffixes]
    if set(kinds) != set(program.tensors) or sorted(parts) != sorted(stored):
        raise TensorsError(f"{path}: its tensors must be those that the program names; they differ.")


def _check_claims(path: Path, program: Program, kinds: Mapping[str, str], stored_bytes: int) -> None:
    unfolded = sum(
        4 * prod(int(size or 0) for size in program.tensors[name].shape)
        for name, kind in kinds.items()
        if kind != "dense"
    )
    if unfolded > UNFOLDED_BYTES + UNFOLDED_RATIO * stored_bytes:
        raise OversizeError(
            f"{path}: its sparse tensors may unfold to {UNFOLDED_RATIO} times what is stored and "
            f"{UNFOLDED_BYTES:,} bytes; they claim {unfolded:,} bytes from {stored_bytes:,}."
        )
