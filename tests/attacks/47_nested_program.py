"""A program that is nested a hundred thousand deep."""

from pathlib import Path

from forged import sound_parts

ERROR = "ProgramError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    parts.program = b'{"inputs": ' + b"[" * 100_000
    parts.write(path)
