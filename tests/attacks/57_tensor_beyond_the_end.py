"""A tensor that ends after the file."""

from pathlib import Path

from forged import safetensors, sound_parts

ERROR = "TensorsError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    entry = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    parts.tensors = safetensors(bytes(32), **{"conv.bias": entry})
    parts.write(path)
