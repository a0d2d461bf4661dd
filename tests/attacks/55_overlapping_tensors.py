"""Two tensors that claim the same bytes."""

from pathlib import Path

from forged import safetensors, sound_parts

ERROR = "TensorsError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    entry = {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}
    parts.tensors = safetensors(bytes(32), **{"conv.bias": entry, "conv.weight": entry})
    parts.write(path)
