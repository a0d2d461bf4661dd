"""Tables of what was measured of whole runs: mixes, runs that were killed, many processes."""

import json
from statistics import median
from typing import Any

from measured import RESULTS, plural, result_of, spread, table

from wieldy.core.records import MixPoint
from wieldy.report.mixes import curve_of


def mix() -> str:
    """The planner's mix beside each method alone, for each tier, and its curve beside uniform pruning."""
    parts = []
    for path in sorted(RESULTS.glob("mix-*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = found["rows"]
        threads = plural(int(found["environment"]["threads"]), "thread")
        cpus = ", ".join(dict.fromkeys(row["cpu"] for row in rows))
        head = f"### {found['tier']}, {threads}, on {cpus}\n\n"
        head += f"At most {rows[0]['goal']:.0%} of the milliseconds, {rows[0]['epochs']} epochs each:\n\n"
        parts.append(head + _mix_rows(rows))
        parts += [
            _curve(row, found["uniform"])
            for row in rows
            if (row["method"], row["seed"]) == ("mix", 0) and row.get("curve")
        ]
    return "\n".join(parts) or "not measured yet\n"


def _mix_rows(rows: list[dict[str, Any]]) -> str:
    lines = []
    for name in dict.fromkeys(row["method"] for row in rows):
        of = [row for row in rows if row["method"] == name]
        reached = [row for row in of if "timing" in row]
        met = sum(row["reached"] for row in of)
        cells = ["", "", "", ""]
        if reached:
            cells = [
                spread([row["timing"]["ratio"]["value"] for row in reached], 3),
                spread([row["drop_points"]["value"] for row in reached], 2),
                spread([100 * row["bytes_ratio"] for row in reached], 1),
                spread([row["search_s"] / 60 for row in reached if row["first_of_seed"]], 1),
            ]
        lines.append([name, str(len(of)), *cells, f"{met} of {len(of)}"])
    head = [
        "what may be mixed",
        "seeds",
        "of the ms",
        "points lost",
        "bytes %",
        "search, minutes",
        "goal met",
    ]
    return table(head, lines)


def _curve(row: dict[str, Any], uniform: list[dict[str, Any]]) -> str:
    rivals = sorted((of["timing"]["ratio"]["value"], of["score"]) for of in uniform)
    lines = []
    errors = []
    curve = [point.mix for point in curve_of([MixPoint.model_validate(of) for of in row["curve"]])]
    for point in row["curve"]:
        ratio = point["timing"]["ratio"]["value"]
        errors.append(abs(point["forecast_ratio"] - ratio) / ratio)
        rival = max((score for at, score in rivals if at <= ratio * 1.02), default=None)
        beside = ["" if rival is None else f"{rival:.4f}"] if rivals else []
        lines.append([
            f"{ratio:.3f}", point["mix"], f"{point['score']:.4f}", *beside, f"{point['damage']:.4f}",
            point["track"], "" if point["mix"] in curve else "beaten",
        ])  # fmt: skip
    rival_head = ["uniform, no slower"] if rivals else []
    head = ["of the ms", "mix", "validation", *rival_head, "damage", "way down", ""]
    said = "Beside each the best of uniform pruning that is no slower (by more than 2 %). " if rivals else ""
    return (
        "Trade-off of seed 0, each point after its brief training; beaten: a quicker mix does less damage. "
        f"{said}What was forecast before a point was timed is off by {median(errors):.1%} in the median.\n\n"
        f"{table(head, lines)}"
    )


def kills() -> str:
    """Runs that were killed and resumed."""
    found = result_of("kills.json")
    if found is None:
        return "not measured yet\n"
    trials = found["trials"]
    twice = sum(len(trial["killed_at_s"]) > 1 for trial in trials)
    at_s = [seconds for trial in trials for seconds in trial["killed_at_s"]]
    row = [
        str(len(trials)), str(twice), f"{found['whole_s']:.0f} s", f"{min(at_s):.1f} to {max(at_s):.1f} s",
        f"{found['equal']} of {len(trials)}", str(found["seed"]),
    ]  # fmt: skip
    head = ["runs killed", "of them twice", "a whole run", "killed after", "ended in the same bytes", "seed"]
    return table(head, [row])


def sweeps() -> str:
    """One sweep through processes and through Ray."""
    found = result_of("sweeps.json")
    if found is None:
        return "not measured yet\n"
    names = {"joblib": "processes", "ray": "Ray", "ray, a worker killed": "Ray, a worker killed on the way"}
    equal = "yes" if found["equal"] else "no"
    touched = str(len(found["ended_points_touched"]))
    rows = [
        [names[name], str(len(found["points"])), str(found["jobs"]), f"{seconds:.0f} s",
         *(("", "") if name == "joblib" else (equal, touched if "killed" in name else ""))]
        for name, seconds in found["seconds"].items()
    ]  # fmt: skip
    head = ["through", "points", "jobs", "took", "same packages and accuracies", "finished points run again"]
    return table(head, rows)


def ranks() -> str:
    """Fine-tuning by several processes beside one."""
    found = result_of("ranks.json")
    if found is None:
        return "not measured yet\n"
    seconds, accuracy = found["seconds"], found["accuracy"]
    row = [
        str(found["world"]), *(f"{found['furthest'][name]:.1e}" for name in found["furthest"]),
        f"{accuracy['one']:.4f}", f"{accuracy['together']:.4f}", f"{found['points_apart']:+.2f}",
        f"{seconds['one']:.0f} s", f"{seconds['together']:.0f} s",
    ]  # fmt: skip
    head = [
        "processes", *(f"ten steps, {name}: weights apart" for name in found["furthest"]),
        f"accuracy of one, {found['epochs']} epochs", "of all", "points apart", "one took", "all took",
    ]  # fmt: skip
    return table(head, [row])


def exports() -> str:
    """Packages in the formats of others beside ours."""
    found = result_of("exports.json")
    if found is None:
        return "not measured yet\n"
    rows = []
    for name, row in found["rows"].items():
        sizes = [f"{row['bytes'][form]:,}" for form in ("package", "onnx", "openvino")]
        apart = [
            f"{item['relative']:.0e}"
            + (
                f", {item['same_answers']:,} of {item['examples']:,}"
                if item["same_answers"] is not None
                else ""
            )
            for form in ("onnx", "openvino")
            for item in row["found"][form]
        ]
        back = row.get("back")
        rows.append([name, *sizes, *apart, "" if back is None else f"{back:.0e}"])
    head = [
        "network", "bytes of the package", "ONNX", "OpenVINO's", "ONNX in ONNX Runtime: apart, same answers",
        "ONNX in OpenVINO", "OpenVINO's in OpenVINO", "imported again: apart",
    ]  # fmt: skip
    return table(head, rows)


def fuzz() -> str:
    """How long packages were altered at random, and what came of it."""
    found = result_of("fuzz.json")
    if found is None:
        return "not measured yet\n"
    first, last = found["seeds"]
    outcomes = [[name, f"{count:,}"] for name, count in found["outcomes"].items()]
    said = (
        f"{sum(found['outcomes'].values()):,} packages of seeds {first} to {last} in {found['minutes']:.0f} "
        f"minutes, {found['findings']} findings.\n\n"
    )
    return said + table(["refused as, or", "packages"], outcomes)


def mobilenet() -> str:
    """MobileNetV2 without its training set."""
    rows, words = [], []
    for path in sorted(RESULTS.glob("mobilenet-*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        words.append(
            f"On {found['tier']}: {' '.join(found['reasons'])} The search took {found['search_s'] / 60:.0f} "
            "minutes.\n\n"
        )
        for name in ("crops", "photos", "right"):
            of = found[name]
            apart = of["mix_less_uniform"]
            rows.append([
                found["tier"], {"crops": "as the original, crops", "photos": "as the original, photos",
                "right": "right, photos"}[name], f"{of['mix']:.1%}", f"{of['uniform']:.1%}",
                f"{100 * apart['value']:+.1f} [{100 * apart['low']:+.1f}, {100 * apart['high']:+.1f}]",
                *(f"{found[key]['ratio']['value']:.3f}" for key in ("mix_timing", "uniform_timing")),
                found["mix"],
            ])  # fmt: skip
    head = ["tier", "judged", "mix", "uniform", "points apart", "mix, of the ms", "uniform", "the mix"]
    return "".join(words) + table(head, rows) if rows else "not measured yet\n"
