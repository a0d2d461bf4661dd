"""A number that is infinite once it is read."""

from pathlib import Path

from forged import sound_parts

ERROR = "ProgramError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("relu")["op"] = "aten.leaky_relu.default"
    parts.node("relu")["inputs"]["negative_slope"] = 0.125
    text = parts.contents()["program.json"]
    parts.program = text.replace(b"0.125", b"1e999")
    parts.write(path)
