"""A tensor in blocks of levels keeps a block that it does not have."""

from pathlib import Path

from forged import sound_parts

ERROR = "OutsideError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts("int8_1x4")
    parts.tensors["conv.weight.gaps"] = parts.tensors["conv.weight.gaps"].copy()
    parts.tensors["conv.weight.gaps"][-1] = 200
    parts.write(path)
