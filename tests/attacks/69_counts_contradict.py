"""Counts of kept columns that do not add up to what is stored."""

from pathlib import Path

from forged import sound_parts

ERROR = "PackingError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts("csr")
    counts = parts.tensors["conv.weight.counts"].copy()
    counts[:] = 0xFFFFFFFF
    parts.tensors["conv.weight.counts"] = counts
    parts.write(path)
