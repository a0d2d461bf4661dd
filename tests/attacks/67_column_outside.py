"""A sparse tensor keeps a column that it does not have."""

from pathlib import Path

from forged import sound_parts

ERROR = "OutsideError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts("csr")
    parts.tensors["conv.weight.gaps"] = parts.tensors["conv.weight.gaps"].copy()
    parts.tensors["conv.weight.gaps"][-1] = 200
    parts.write(path)
