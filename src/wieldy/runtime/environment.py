"""What a run ran on, and the fingerprint that its ledger is tied to."""

import platform
from importlib import metadata

from wieldy.core.version import VERSION
from wieldy.runtime.tier import cpu_name, current_tier

NAMED = ("torch", "openvino", "numpy", "safetensors")


def environment(threads: int) -> dict[str, str]:
    """Return machine, tier, threads and versions, for the page."""
    versions = {name: metadata.version(name) for name in NAMED}
    machine = {
        "cpu": cpu_name(),
        "tier": current_tier(),
        "threads": str(threads),
        "system": platform.platform(),
    }
    return machine | {"python": platform.python_version(), "wieldy": VERSION} | versions
