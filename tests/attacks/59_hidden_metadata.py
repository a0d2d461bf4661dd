"""Bytes hidden in the metadata of the tensors, which the library skips."""

from pathlib import Path

from forged import sound_parts
from safetensors.numpy import save

ERROR = "TensorsError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.tensors = save(parts.tensors, metadata={"hidden": "payload"})
    parts.write(path)
