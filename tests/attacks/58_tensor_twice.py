"""A tensor is there twice: which one is it?"""

from pathlib import Path

from forged import safetensors, sound_parts

ERROR = "TensorsError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    entry = '"conv.bias": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}'
    parts.tensors = safetensors(bytes(32), "{" + entry + ", " + entry + "}")
    parts.write(path)
