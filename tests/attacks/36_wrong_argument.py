"""An argument of another kind than the operator takes."""

from pathlib import Path

from forged import sound_parts

ERROR = "OperatorError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.node("conv")["inputs"]["groups"] = "__import__('os')"
    parts.write(path)
