"""NaN where a number must be finite."""

from pathlib import Path

from forged import sound_parts

ERROR = "ProgramError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("relu")["op"] = "aten.leaky_relu.default"
    parts.node("relu")["inputs"]["negative_slope"] = float("nan")
    parts.write(path)
