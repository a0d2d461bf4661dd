"""A tensor that begins before the file."""

from pathlib import Path

from forged import safetensors, sound_parts

ERROR = "TensorsError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    entry = {"dtype": "F32", "shape": [8], "data_offsets": [-32, 0]}
    parts.tensors = safetensors(bytes(32), **{"conv.bias": entry})
    parts.write(path)
