"""The docs' tables on zeros in eight bits, from measured results."""

import json
from typing import Any

from measured import IN_LEVELS, RESULTS, plural, table

DENSE = ("fp32", "int8", "bf16")


def engine_levels() -> str:
    """Blocks of four input channels beside the dense forms of each tier, machine by machine."""
    parts = []
    for path in sorted(RESULTS.glob("engine-*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for row in measured["rows"] if row["format"] in IN_LEVELS]
        for tier in dict.fromkeys(row["tier"] for row in rows):
            head = f"**Tier `{tier}`**, {measured['environment']['cpu']}\n\n"
            columns = ["network", "form", "zeros", "setting", "ours, ms", *(f"{of}, ms" for of in DENSE),
                       "over fp32", "over the fastest dense form"]  # fmt: skip
            parts.append(head + table(columns, [_row(row) for row in rows if row["tier"] == tier]))
    return "\n".join(parts) or "not measured yet\n"


def _row(row: dict[str, Any]) -> list[str]:
    return [
        row["net"], f"`{row['format']}`", f"{row['sparsity']:.0%}",
        f"batch {row['batch']}, {plural(row['threads'], 'thread')}", f"{row['ours_ms']:.2f}",
        *(f"{row[f'{of}_ms']:.2f}" if row[f"{of}_ms"] else "" for of in DENSE), f"{row['speedup']:.2f}",
        f"{row['speedup_over_best']:.2f} [{row['speedup_over_best_low']:.2f}, "
        f"{row['speedup_over_best_high']:.2f}] ({row['best_dense']})",
    ]  # fmt: skip


def levels() -> str:
    """Trained networks with zeros in eight bits, beside the same weights stored whole."""
    rows = []
    for path in sorted(RESULTS.glob("levels-*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))
        for name, row in measured["rows"].items():
            drop, over, whole = row["drop_points"], row["timing"]["ratio"], row["over_dense_int8"]["ratio"]
            rows.append([
                f"{name}, {measured['tier']}", f"{row['sparsity']:.0%}",
                f"{drop['value']:.2f} [{drop['low']:.2f}, {drop['high']:.2f}]",
                f"{row['bytes_ratio']:.1%}", f"{1 / over['value']:.2f}",
                f"{1 / whole['value']:.2f} [{1 / whole['high']:.2f}, {1 / whole['low']:.2f}]",
                f"{row['agree_with_whole']:.2%} of {row['pictures']:,}", f"{row['flips']:.2%}",
            ])  # fmt: skip
    head = ["network, tier", "zeros", "points lost", "bytes", "times as fast as fp32", "as whole in int8",
            "same class as whole", "other class than the original"]  # fmt: skip
    return table(head, rows) if rows else "not measured yet\n"
