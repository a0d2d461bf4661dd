"""Many values that are computed from nothing when the package is opened."""

from pathlib import Path

from forged import sound_parts

ERROR = "OversizeError"


def forge(path: Path) -> None:
    """Write the file."""
    parts = sound_parts()
    shape = [1, 1 << 20, 1 << 4]
    full = {"size": shape, "fill_value": 1.0}
    parts.program["nodes"] += [
        {"name": f"full{k}", "op": "aten.full.default", "module": "", "shape": shape, "inputs": full}
        for k in range(100)
    ]
    parts.write(path)
