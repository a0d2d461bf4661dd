"""Tables of what was measured, from benchmarks/results."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from wieldy.claims.runner import SYSTEMS

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
INT8_FORMS = {
    "f32": "float32", "int8": "8 bits", "int7": "7 bits", "nncf": "NNCF, 8 bits", "nncf7": "NNCF, 7 bits",
    "bf16": "bf16",
    "int8_in_f32": "the levels of 8 bits in float32",
}  # fmt: skip
INT8_TIMES = {
    "int8": "over float32", "over_nncf": "over NNCF's", "bf16": "bf16 over float32",
    "int8_package": "8 bits over float32",
}  # fmt: skip
INT8_HEADER = [
    "network, judged on",
    "form",
    "right, or as float32",
    "points lost",
    "NNCF's of as many bits minus this, points",
]
ANY_HEADER = [
    "network", "parameters, multiply-accumulates", "operators traced", "largest relative error", "ms",
    "30 % of each group: parameters left", "int8: layers, cosine", "rank: layers that gain",
]  # fmt: skip
BY_MAGNITUDE = ("magnitude channels", "magnitude zeros")
IN_FULL = 0.9
IN_LEVELS = ("block_1x4", "block_4x4")  # they have tables of their own: measured_levels.py
PEERS = {"over ONNX Runtime": "onnxruntime", "over DeepSparse": "deepsparse"}
ENGINE_HEADER = [
    "network",
    "form",
    "setting",
    "speedup",
    "ours ms",
    "fp32",
    "int8",
    "bf16",
    "over best",
    *PEERS,
]


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def any_network() -> str:
    """Full-size networks, machine by machine: what was traced, pruned, rounded and factored."""
    parts = []
    for path in sorted(RESULTS.glob("any-*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))
        machine = measured["environment"]
        rows = [_any_row(name, row) for name, row in measured["networks"].items()]
        head = f"### {machine['cpu']}, {machine['tier']}, {plural(machine['threads'], 'thread')}\n"
        parts += [head, table(ANY_HEADER, rows)]
    return "\n".join(parts) or "not measured yet\n"


def _any_row(name: str, row: dict[str, Any]) -> list[str]:
    pruned, int8, rank = (row[key] for key in ("pruned", "int8", "rank"))
    errors = [*row["error"].values(), *pruned.get("error", {}).values()]
    timing = next((step["timing"] for step in (pruned, int8, rank) if "timing" in step), None)
    return [
        name,
        f"{row['parameters'] / 1e6:.2f} M, {row['macs'] / 1e9:.2f} G",
        f"{row['operators']} in {row['trace_seconds']:.1f} s",
        f"{max(errors):.0e}",
        f"{timing['original_ms']:.2f} (batch {timing['batch']})" if timing else "",
        _any_step(pruned, lambda: f"{100 * pruned['parameters'] / row['parameters']:.0f} %"),
        _any_step(int8, lambda: f"{int8['layers']} of {int8['of']}, cosine {int8['cosine']['median']:.3f}"),
        _any_step(rank, lambda: f"{rank['layers']} of {rank['of']}"),
    ]


def _any_step(step: dict[str, Any], text: Callable[[], str]) -> str:
    if "refused" in step:
        return f"refused: {step['refused']}"
    if "timing" not in step:
        return text()
    return f"{text()}: **{step['timing']['ratio']['value']:.2f}** ({step['timing']['small_ms']:.2f} ms)"


def claims() -> str:
    """Every claim, with the newest measured result where there is one."""
    measured = (result_of("claims.json") or {"systems": {}})["systems"]
    rows = []
    for system, (text, _) in SYSTEMS.items():
        if system not in measured:
            rows.append([f"`{system}`", text, "not measured yet", "", "", ""])
            continue
        tier = measured[system]["environment"]["tier"]
        for claim in measured[system]["claims"]:
            figures = f"{claim['measured']:.3g} {claim['relation']} {claim['threshold']:g}"
            verdict = claim["verdict"] + (f" ({claim['reason']})" if claim["reason"] else "")
            rows.append([f"`{system}`", claim["what"], figures, verdict, tier, claim["source"]])
    return table(["claim", "what", "measured", "verdict", "tier", "source"], rows)


def importance() -> str:
    """Methods side by side at the same milliseconds, for each tier that was measured."""
    parts = []
    for path in sorted(RESULTS.glob("importance-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        machine = result["environment"]
        rows = []
        for name in dict.fromkeys(row["method"] for row in result["rows"]):
            of_method = [row for row in result["rows"] if row["method"] == name]
            cells = [
                f"`{name}`",
                str(len(of_method)),
                spread([row["ratio"]["value"] for row in of_method], 3),
            ]
            for key, factor in (("parameters_ratio", 100), ("before_recovery", 100), ("after_recovery", 100)):
                cells.append(spread([factor * row[key] for row in of_method], 1))
            rows.append([*cells, spread([row["drop_points"] for row in of_method], 2)])
        header = [
            "method",
            "seeds",
            "ratio",
            "parameters %",
            "before recovery %",
            "after recovery %",
            "points lost",
        ]
        head = f"Tier `{machine['tier']}`, {machine['cpu']}, {machine['threads']} threads, batch 1, fp32: "
        parts.append(f"{head}original {100 * result['original_accuracy']:.2f} %.\n\n{table(header, rows)}")
    return "\n".join(parts) or "not measured yet\n"


def prune() -> str:
    """Pruning methods at equal bytes or milliseconds, for each tier that was measured."""
    parts = []
    for path in sorted(RESULTS.glob("prune-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        threads = plural(int(result["environment"]["threads"]), "thread")
        cpus = ", ".join(dict.fromkeys(row["cpu"] for row in result["rows"]))
        parts.append(
            f"### {result['tier']}, {threads}, {result['seconds'] / 60:.0f} minutes in all, on {cpus}\n"
        )
        by_subject: dict[str, list[dict[str, Any]]] = {}
        for row in result["rows"]:
            by_subject.setdefault(row["subject"], []).append(row)
        parts += [_prune_table(rows, subject) for subject, rows in by_subject.items()]
    return "\n".join(parts) or "not measured yet\n"


def _prune_table(rows: list[dict[str, Any]], subject: str) -> str:
    lines = []
    peer, of_peer = _better_magnitude(rows)
    goal = "milliseconds" if "timing" in rows[0] else "bytes"
    columns = {f"{goal} %": "share", "bytes %": "bytes_ratio"}  # the same where bytes are the goal
    for name in dict.fromkeys(row["method"] for row in rows):
        found = [row for row in rows if row["method"] == name]
        cells = [spread([100 * row[key] for row in found], 1) for key in columns.values()]
        over = [row["drop_points"] - of_peer[row["seed"]] for row in found if row["seed"] in of_peer]
        missed = sum(not row["reached"] for row in found)
        note = f"goal missed with {plural(missed, 'seed')}" if missed else ""
        lines.append((mean(row["drop_points"] for row in found), [
            name, str(len(found)), *cells, spread([row["drop_points"] for row in found], 2),
            spread(over, 2), note,
        ]))  # fmt: skip
    header = ["method", "seeds", *columns, "points lost", f"minus those of {peer}", ""]
    head = f"**{subject}**: equal {goal}, {rows[0]['epochs']} epochs each, least lost first\n\n"
    return head + table(header, [line for _, line in sorted(lines, key=lambda item: item[0])])


def _better_magnitude(rows: list[dict[str, Any]]) -> tuple[str, dict[int, float]]:
    """Return which way of going by magnitude loses less, and what it loses with each seed."""
    ways = [
        (name, {row["seed"]: row["drop_points"] for row in rows if row["method"] == name})
        for name in BY_MAGNITUDE
    ]
    measured = [way for way in ways if way[1]]
    return min(measured, key=lambda way: mean(way[1].values()), default=ways[0])


def spread(values: list[float], digits: int) -> str:
    """Return a mean, and between what the values lie where there are several."""
    if not values:
        return ""
    between = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{between}"


def engine() -> str:
    """The engine beside OpenVINO's dense forms, machine by machine and tier by tier."""
    parts = []
    for path in sorted(RESULTS.glob("engine-*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))
        cpu, minutes = measured["environment"]["cpu"], measured["seconds"] / 60
        parts.append(f"### {cpu}\n\n{len(measured['rows'])} rows, {minutes:.0f} minutes in all.\n")
        in_floats = [row for row in measured["rows"] if row["format"] not in IN_LEVELS]
        for tier in dict.fromkeys(row["tier"] for row in in_floats):
            parts += _tier([row for row in in_floats if row["tier"] == tier], tier)
    return "\n".join(parts) or "not measured yet\n"


def _tier(rows: list[dict[str, Any]], tier: str) -> list[str]:
    """Return the tables of one tier: 90 % zeros in full, then all shares of zeros side by side."""
    full = [row for row in rows if row["sparsity"] == IN_FULL]
    header = [
        name for name in ENGINE_HEADER if name not in PEERS or any(f"{PEERS[name]}_ms" in row for row in full)
    ]
    lines = [
        [cell for cell, name in zip(line, ENGINE_HEADER, strict=True) if name in header]
        for line in _engine(full)
    ]
    by_share: dict[tuple[str, str], dict[float, str]] = {}
    for row in (row for row in rows if _is_plain(row)):
        cells = by_share.setdefault((row["net"], row["format"]), {})
        cells[row["sparsity"]] = f"{row['speedup']:.2f}"
    shares = sorted({share for cells in by_share.values() for share in cells})
    return [
        f"**Tier `{tier}`**, {IN_FULL:.0%} zeros\n\n{table(header, lines)}",
        _dense_wins(full),
        f"**Tier `{tier}`**, speedup by share of zeros\n\n"
        + table(
            ["network", "form", *(f"{share:.0%}" for share in shares)],
            [[net, f"`{form}`", *(cells.get(share, "") for share in shares)]
             for (net, form), cells in by_share.items()],
        ),
    ]  # fmt: skip


def _is_plain(row: dict[str, Any]) -> bool:
    return (row["batch"], row["threads"], row["scope"]) == (1, 2, "layer")


def _engine(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            row["net"], f"`{row['format']}`",
            f"batch {row['batch']}, {plural(row['threads'], 'thread')}"
            + (", one threshold" if row["scope"] == "network" else ""),
            f"{row['speedup']:.2f} [{row['speedup_low']:.2f}, {row['speedup_high']:.2f}]",
            *(f"{row[key]:.2f}" if row[key] else "" for key in ("ours_ms", "fp32_ms", "int8_ms", "bf16_ms")),
            f"{row['speedup_over_best']:.2f} ({row['best_dense']})",
            *(f"{row[f'speedup_over_{peer}']:.2f}" if f"{peer}_ms" in row else "" for peer in PEERS.values()),
        ]
        for row in rows
    ]  # fmt: skip


def plural(count: int, name: str) -> str:
    """Return a number of things in words."""
    return f"{count} {name}" + "s" * (count != 1)


def _dense_wins(rows: list[dict[str, Any]]) -> str:
    lost = [
        f"{row['net']} ({row['best_dense']})"
        for row in rows
        if _is_plain(row) and row["speedup_over_best_high"] < 1
    ]
    if not lost:
        return "At 90 % zeros no dense form is faster than ours here.\n"
    return f"At 90 % zeros a dense form is faster here for {', '.join(dict.fromkeys(lost))}.\n"


def costs() -> str:
    """Errors and crossovers of the cost table, tier by tier."""
    parts = []
    for path in sorted(RESULTS.glob("costs-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        errors = ", ".join(
            f"{form} {found['median']:.0%} ({found['layers']})" for form, found in result["errors"].items()
        )
        rows = [
            [
                row["net"], f"`{row['form']}`",
                *(f"{row[key]:.2f}" for key in ("predicted", "network", "added", "median_chain")),
            ]
            for row in result["crossovers"]
        ]  # fmt: skip
        cpu = result["environment"]["cpu"]
        head = f"**Tier `{result['tier']}`**, {cpu}: median error over layers: {errors}.\n\n"
        parts.append(
            head
            + table(
                [
                    "convolutions of",
                    "form",
                    "crossover predicted",
                    "measured, whole network",
                    "chains added up",
                    "chain by chain, median difference",
                ],
                rows,
            )
        )
    return "\n".join(parts) or "not measured yet\n"


def int8() -> str:
    """Eight bits beside float32 and NNCF: quality, then milliseconds, machine by machine."""
    parts = []
    for path in sorted(RESULTS.glob("int8-*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))
        tier = path.stem.removeprefix("int8-")
        quality, times = [], []
        for name, found in measured["subjects"].items():
            quality += _int8_quality(name, found, tier)
            for measured_on, row in found["times"].items():
                times.append([name, measured_on, *(_ratio(row.get(key)) for key in INT8_TIMES)])
        parts += [
            f"### {measured['environment']['cpu']}, {tier}\n",
            table(INT8_HEADER, quality),
            table(["network", "tier", *INT8_TIMES.values()], times),
        ]
    return "\n".join(parts) or "not measured yet\n"


def ranges() -> str:
    """What each rule for the ranges of eight bits keeps, machine by machine."""
    parts = []
    for path in sorted(RESULTS.glob("ranges-*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))
        networks = measured["networks"]
        rows = [
            [f"{name}, {of['unit']} ({of['examples']:,})", *map(_kept, of["rules"].values()), of["chosen"]]
            for name, of in networks.items()
        ]
        head = ["network, judged by", *next(iter(networks.values()))["rules"], "chosen on the examples"]
        parts += [
            f"### {measured['environment']['cpu']}, {path.stem.removeprefix('ranges-')}\n",
            table(head, rows),
        ]
    return "\n".join(parts) or "not measured yet\n"


def _kept(interval: dict[str, float]) -> str:
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def _int8_quality(name: str, found: dict[str, Any], tier: str) -> list[list[str]]:
    rows = []
    for kind, judged in found["quality"].items():
        for form in (form for form in INT8_FORMS if form in judged):
            row = judged[form]
            keys = ("drop_points", "nncf_minus_this_points")
            points = [_points(row[key]) if key in row else "" for key in keys]
            judges = f"{name}, {kind} ({judged['examples']:,})"
            rows.append([judges, INT8_FORMS[form], _share(row["share"]), *points])
    for form, same in found["same_on_avx2"].items():
        rows.append([name, f"{INT8_FORMS[form]}, the same on avx2 as on {tier}", _share(same), "", ""])
    return rows


def _share(interval: dict[str, float]) -> str:
    return f"{100 * interval['value']:.2f} %"


def _points(interval: dict[str, float]) -> str:
    return f"{interval['value']:.2f} [{interval['low']:.2f}, {interval['high']:.2f}]"


def _ratio(timing: dict[str, Any] | None) -> str:
    return f"{timing['ratio']['value']:.2f} (batch {timing['batch']})" if timing else ""


def large_surgery() -> str:
    """What surgery on a network of full size takes."""
    result = result_of("large_surgery.json")
    if result is None:
        return "not measured yet\n"
    machine, error = result["environment"], result["relative_error"]
    row = [
        result["net"], f"{machine['cpu']}, {plural(int(machine['threads']), 'thread')}",
        f"{result['layers']}, of which {result['stepwise']} stepwise", f"{result['zeros']:.1%}",
        str(result["examples"]), f"{result['seconds'] / 60:.1f}", f"{result['peak_gib']:.1f}",
        f"{error['median']:.2g}, at most {error['largest']:.2g}",
    ]  # fmt: skip
    head = [
        "network", "CPU", "layers", "zeros", "examples", "minutes", "GiB at most",
        "relative error of outputs",
    ]  # fmt: skip
    return table(head, [row])


def soak() -> str:
    """What memory did under load."""
    result = json.loads((RESULTS / "soak.json").read_text(encoding="utf-8"))
    rows = [
        [
            name, f"{result['minutes']:g}", f"{run['requests']:,}", f"{run['rss_first_mb']:.1f}",
            f"{run['rss_max_mb']:.1f}", f"{run['drift_percent']:.3f} %",
            "yes" if run["outputs_equal"] else "no",
        ]
        for name, run in (("alone", result["alone"]), (f"beside {result['rivals']} others", result["beside"]))
    ]  # fmt: skip
    head = ["process", "minutes", "requests", "MB at first", "MB at most", "drift", "outputs equal"]
    return table(head, rows)


def result_of(name: str) -> dict[str, Any] | None:
    """Return what a benchmark wrote, if it ran."""
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
