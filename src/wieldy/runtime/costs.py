"""Cost tables: measured on this machine and kept in the user's cache, or those that come with the package."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from wieldy.core import digest
from wieldy.core.cache import cache_folder
from wieldy.core.files import write_atomic
from wieldy.graph.cost_table import CostTable
from wieldy.runtime.tier import cpu_name

SHIPPED = Path(__file__).parent / "costs.json"
SAME_KERNELS = {"avx2_vnni": "avx2", "avx512_vnni": "avx512", "amx": "avx512"}  # in float32


def cost_table(tier: str, threads: int) -> CostTable | None:
    """Return the table of this machine for a tier, or one that comes with the package; None below avx2."""
    return kept_table(tier, threads) or _shipped().get(SAME_KERNELS.get(tier, tier))


def kept_table(tier: str, threads: int) -> CostTable | None:
    """Return the table that was measured on this machine, if any; one that is damaged counts as none."""
    try:
        return _table(json.loads(table_path(tier, threads).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def keep_table(measured: dict[str, Any], tier: str, threads: int) -> CostTable:
    """Keep a calibration in the cache, where it can be written, and return it as a table."""
    record = measured | {"cpu": cpu_name(), "tier": tier, "threads": threads}
    path = table_path(tier, threads)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(record, indent=1) + "\n").encode())
    except OSError:
        pass  # a folder that cannot be written costs twenty seconds the next time
    return _table(record)


def table_path(tier: str, threads: int) -> Path:
    """Return where the table of this machine lies."""
    machine = digest.of_bytes(cpu_name().encode())[:12]
    return cache_folder() / "costs" / f"{machine}-{tier}-{threads}.json"


@cache
def _shipped() -> dict[str, CostTable]:
    return {table["tier"]: _table(table) for table in json.loads(SHIPPED.read_text())["tables"]}


def _table(raw: dict[str, Any]) -> CostTable:
    terms = {key: tuple(map(float, values)) for key, values in raw["terms"].items()}
    return CostTable(raw["cpu"], raw["tier"], int(raw["threads"]), terms, float(raw["edge_ms_per_mb"]))
