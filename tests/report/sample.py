"""A complete record, made up: the network has the shapes of the embedded one, the figures are invented."""

from typing import Any

from wieldy.core.records import (
    Candidate,
    Change,
    Epoch,
    Evidence,
    Interval,
    LayerRow,
    LayerTime,
    MixPoint,
    NetworkCard,
    Refused,
    RunRecord,
    Timing,
)

SCRIPT = "<script>alert(1)</script>"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    SCRIPT,
    "Ankle boot",
)
CHANGES = (-0.4, 0.1, -0.6, -0.2, 0.5, 0.0, -3.1, -0.3, 0.2, 0.3)
CPU = "AMD EPYC 9R14 96-Core Processor"


def interval(value: float, half: float) -> Interval:
    return Interval(value=value, low=value - half, high=value + half)


def timing(ratio: float, half: float = 0.008, original_ms: float = 0.6214, **fields: Any) -> Timing:
    known: dict[str, Any] = {"rounds": 20, "threads": 2, "batch": 1, "tier": "avx512", "cpu": CPU}
    known |= {"small_ms": original_ms * ratio * 1.003} | fields
    return Timing(ratio=interval(ratio, half), original_ms=original_ms, **known)


def blocks(widths: tuple[int, int, int]) -> list[tuple[str, str, int, int, int, int]]:
    """Layer, operation, channels in and out, kernel and side of a residual network on 28x28 pictures."""
    found = [("stem", "conv2d", 1, widths[0], 3, 28), ("bn", "batch_norm", 0, widths[0], 0, 28)]
    found.append(("relu", "relu", 0, widths[0], 0, 28))
    wide = widths[0]
    for stage, (width, side) in enumerate(zip(widths, (28, 14, 7), strict=True), 1):
        for block in range(2):
            path = f"stage{stage}.{block}"
            found += [
                (f"{path}.conv1", "conv2d", wide, width, 3, side),
                (f"{path}.bn1", "batch_norm", 0, width, 0, side),
            ]
            found += [(path, "relu", 0, width, 0, side), (f"{path}.conv2", "conv2d", width, width, 3, side)]
            found.append((f"{path}.bn2", "batch_norm", 0, width, 0, side))
            if wide != width:
                found.append((f"{path}.shortcut.0", "conv2d", wide, width, 1, side))
                found.append((f"{path}.shortcut.1", "batch_norm", 0, width, 0, side))
            found += [(path, "add", 0, width, 0, side), (path, "relu", 0, width, 0, side)]
            wide = width
    return [*found, ("mean", "mean", 0, wide, 0, 1), ("classifier", "linear", wide, 10, 1, 1)]


def layer_rows(widths: tuple[int, int, int]) -> tuple[LayerRow, ...]:
    rows = []
    for layer, op, inputs, outputs, kernel, side in blocks(widths):
        weights = inputs * outputs * kernel**2 + (10 if op == "linear" else 0)
        stored = weights if op != "batch_norm" else 4 * outputs
        parameters = weights if op != "batch_norm" else 2 * outputs
        shape = (None, outputs) if side == 1 else (None, outputs, side, side)
        macs = inputs * outputs * kernel**2 * side**2
        rows.append(
            LayerRow(layer=layer, op=op, shape=shape, macs=macs, parameters=parameters, bytes=4 * stored)
        )
    return tuple(rows)


def layer_times(widths: tuple[int, int, int], amx: bool = False) -> tuple[LayerTime, ...]:
    """One operation for each convolution, named by the tracer's nodes as the runtime names them."""
    rows, counts, found = layer_rows(widths), dict[str, int](), []
    for row in rows:
        index = counts.get(row.op, 0)
        counts[row.op] = index + 1
        node = f"{row.op}_{index}" if index else row.op
        if row.op in ("conv2d", "mean", "linear"):
            kind = {"conv2d": "Convolution", "mean": "ReduceMean", "linear": "FullyConnected"}[row.op]
            kernel = "brgconv_avx512_f32" if row.op == "conv2d" else "jit_avx512_f32"
            if "shortcut" in row.layer:
                kernel = "brgconv_avx512_1x1_f32"
            if amx and row.op == "linear":
                kernel = "gemm_mlas_f32"
            found.append((node, kind, kernel, row.macs))
        elif found:
            found[-1] = (f"{found[-1][0]},{node}", *found[-1][1:])
    return tuple(
        LayerTime(
            layers=tuple(nodes.split(",")), kind=kind, kernel=kernel, milliseconds=0.0061 + macs * 5.1e-9
        )
        for nodes, kind, kernel, macs in found
    )


def candidates() -> tuple[Candidate, ...]:
    found = []
    for multiple, lift in ((8, 0.0), (16, -0.03)):
        for step in range(1, 9):
            fraction = step / 10
            ratio = 1 - 0.98 * fraction + 0.274 * fraction**2 + lift
            found.append(
                Candidate(
                    fraction=fraction,
                    multiple=multiple,
                    parameters=int(696042 * (1 - fraction) ** 1.6),
                    macs=int(79_000_000 * (1 - fraction) ** 1.5),
                    timing=timing(ratio, 0.012 + 0.004 * (step % 3)),
                    chosen=(step, multiple) == (6, 16),
                )
            )
    return tuple(found)


def bins(shift: float) -> list[dict[str, float]]:
    middle = [(k + 0.5) / 15 for k in range(4, 15)]
    return [
        {
            "count": 40 + 9 * k**2,
            "confidence": m,
            "accuracy": min(1.0, max(0.0, m - shift * (1.2 - m) + 0.03 * (k % 2))),
        }
        for k, m in enumerate(middle)
    ]


def metric_evidence(drop: float = 0.42, allowed: float = 0.5) -> Evidence:
    return Evidence(
        claim=f"accuracy on the test set falls by at most {allowed:g} points",
        verdict="proved" if drop <= allowed else "refuted",
        numbers={
            "metric": "accuracy",
            "examples": 10000,
            "original": Interval(value=0.9468, low=0.94223, high=0.95101).model_dump(),
            "package": Interval(value=0.9426, low=0.93787, high=0.94699).model_dump(),
            "drop_points": interval(drop, 0.27).model_dump(),
            "allowed_points": allowed,
        },
        assumptions=(
            "the test set is drawn as the inputs in use are",
            "the verdict is on the measured value",
        ),
        digests={"package": "a3" * 32, "original": "4020e2587ec742fe" * 4},
    )


def figures_of_evidence() -> tuple[dict[str, Any], ...]:
    """Figures on predictions, classes, calibration and the runtime, under the keys that `examine` writes."""
    flips = [
        {"index": 17 * k + 3, "target": k % 10, "original": k % 10, "package": (k + 6) % 10}
        for k in range(24)
    ]
    predictions = {
        "fixed": 112,
        "broken": 154,
        "flips": 301,
        "flip_share": Interval(value=0.0301, low=0.02693, high=0.03363).model_dump(),
        "p_value": 0.01164,
        "first_flipped": flips,
    }
    rows = [
        {
            "class": name,
            "examples": 1000,
            "original": 0.95,
            "package": 0.95 + change / 100,
            "change_points": interval(change, 0.9 + abs(change) * 0.3).model_dump(),
            "p_value": 0.4,
            "p_adjusted": 0.0031 if change < -3 else 1.0,
        }
        for name, change in zip(CLASSES, CHANGES, strict=True)
    ]
    calibration = {
        "original": 0.02318,
        "package": 0.01877,
        "bins_original": bins(0.11),
        "bins_package": bins(0.05),
    }
    runtime = {
        "largest": 8.5830688e-06,
        "mean": 9.1e-07,
        "largest_relative": 5.0123e-07,
        "predictions_that_differ": 0,
    }
    return predictions, {"classes": rows, "worse": ["Shirt"]}, calibration, runtime


def other_evidence() -> tuple[Evidence, ...]:
    predictions, classes, calibration, runtime = figures_of_evidence()
    return (
        Evidence(
            claim="as many predictions were fixed as broken (McNemar, exact, at 5 %)",
            verdict="refuted",
            numbers=predictions,
            assumptions=("examples are independent",),
        ),
        Evidence(
            claim="no class got worse (McNemar by class, Holm over classes, at 5 %)",
            verdict="refuted",
            numbers=classes,
            assumptions=("a small class can lose much before it shows",),
        ),
        Evidence(
            claim="the calibration error grows by at most 0.02",
            verdict="proved",
            numbers=calibration,
            assumptions=("15 bins of equal width; outputs are logits",),
        ),
        Evidence(
            claim="runtime and torch agree to 0.0001 of the largest logit",
            verdict="proved",
            numbers=runtime,
            assumptions=("fp32 on both sides",),
        ),
        Evidence(
            claim="the package answers inputs of another kind as the original does",
            verdict="unknown",
            numbers={"auroc": interval(0.91, 0.02).model_dump(), "inputs": 4000},
            assumptions=("one foreign data set stands for all",),
        ),
    )


def findings() -> dict[str, Any]:
    """What was measured, layer by layer and as a whole."""
    old, new = (32, 64, 128), (16, 32, 64)
    return {
        "timing": timing(0.481, 0.0085),
        "switches": (("bf16 on the original", timing(0.803, 0.011, small_precision="bf16")),),
        "candidates": candidates(),
        "layers_original": layer_rows(old),
        "layers_package": layer_rows(new),
        "times_original": layer_times(old),
        "times_package": layer_times(new, amx=True),
        "changes": tuple(
            Change(
                layer=row.layer,
                method="taylor",
                seed=7,
                before={"out_channels": row.shape[1] or 0, "in_channels": 32},
                after={"out_channels": (row.shape[1] or 0) // 2, "in_channels": 16},
            )
            for row in layer_rows(old)
            if row.op == "conv2d"
        ),
        "refused": (
            Refused(
                layer="classifier", method="taylor", reason="its outputs are the classes; they must stay"
            ),
        ),
        "recovery": tuple(Epoch(epoch=k, metric=0.943 - 0.021 / k**1.2) for k in range(1, 13)),
        "evidence": (metric_evidence(), *other_evidence()),
    }


def surroundings() -> dict[str, Any]:
    """What was asked for, on which data, with which versions."""
    return {
        "budget": {"latency_ratio": 0.5, "bytes_ratio": None, "max_drop_points": 0.5},
        "method": {
            "method": "taylor",
            "multiples": [8, 16],
            "recovery": {"epochs": 12, "learning_rate": 0.02},
        },
        "seed": 20240117,
        "data": {
            "name": "Fashion-MNIST",
            "train": 58000,
            "validate": 2000,
            "test": 10000,
            "metric": "accuracy",
            "classes": list(CLASSES),
            "note": "the validation set is a split of the training set",
        },
        "environment": {"wieldy": "0.1.0", "openvino": "2026.4.1", "system": "Linux 6.8.0-1021 x86_64"},
        "reproduce": (
            "wieldy run --model residual28 --budget latency=50% --max-drop 0.5 --seed 20240117",
            "wieldy verify runs/demo/residual28.wieldy --against runs/demo/original.wieldy --data fashion",
        ),
        "not_tested": (
            "Corrupted or shifted inputs, and inputs of another kind.",
            "Adversarial inputs.",
            "Any other CPU, thread count or batch than those named here.",
            "Power, memory and start-up time.",
        ),
    }


def full_record(**fields: Any) -> RunRecord:
    """Everything that a run can leave behind."""
    known: dict[str, Any] = {
        "title": "residual28 on Fashion-MNIST & friends",
        "verdict": "met",
        "reasons": (
            "Time: at most 0.50 of the original's milliseconds was asked; 0.48 [0.47, 0.49] was measured.",
            "Quality: at most 0.5 points may be lost; 0.42 [0.15, 0.69] were lost on 10,000 test examples.",
        ),
        "original": NetworkCard(
            path="runs/demo/original.wieldy",
            sha256="4020e2587ec742fe" * 4,
            bytes=2_830_126,
            parameters=696_042,
            macs=79_028_480,
        ),
        "package": NetworkCard(
            path="runs/demo/residual28.wieldy",
            sha256="a3" * 32,
            bytes=748_211,
            parameters=174_778,
            macs=19_842_304,
        ),
    }
    return RunRecord(**(known | findings() | surroundings() | fields))


def crowded_layers(long: str) -> tuple[tuple[LayerTime, ...], tuple[LayerRow, ...]]:
    times = tuple(
        LayerTime(
            layers=(f"{long}.{k}",),
            kind="Convolution",
            kernel="jit_" + "k" * 40,
            milliseconds=1234.5 / (k + 1),
        )
        for k in range(60)
    )
    rows = tuple(
        LayerRow(
            layer=f"{long}.{k}",
            op="conv2d",
            shape=(None, 4096, 512, 512),
            macs=10**13,
            parameters=10**10,
            bytes=4 * 10**10,
        )
        for k in range(60)
    )
    return times, rows


def crowded_record() -> RunRecord:
    """Names without a break, many layers, many classes, large figures: what breaks a layout."""
    long = "backbone.encoder.layer_" + "x" * 60
    times, rows = crowded_layers(long)
    classes = [
        {
            "class": f"{k} " + "ä<&>\"'" * 8,
            "examples": 50,
            "original": 0.5,
            "package": 0.5,
            "change_points": interval(k - 40.0, 8).model_dump(),
            "p_adjusted": 0.001,
        }
        for k in range(90)
    ]
    switches = tuple(
        (f"{name} {long}", timing(ratio)) for name, ratio in (("a", 0.3), ("b", 0.481), ("c", 1.2))
    )
    return full_record(
        title="T" * 120,
        verdict="missed",
        reasons=(long * 2,),
        timing=timing(123.4, 3.0, original_ms=98765.4, cpu=long),
        switches=switches,
        times_original=times,
        times_package=times[:50],
        layers_original=rows,
        layers_package=rows[:50],
        evidence=(Evidence(claim=long, verdict="refuted", numbers={"classes": classes, long: long}),),
        environment={long: long},
        reproduce=("wieldy run " + long * 4,),
        not_tested=(long,),
        data={"note": long * 3},
    )


def mixes() -> tuple[MixPoint, ...]:
    """Ways down of a planner, one mix on each of them beaten."""
    found = []
    for track, scores in {
        "channels alone": (0.91, 0.897), "rank alone": (0.8875,), "zeros alone": (0.906,),
        "all in f32": (0.942, 0.9215), "all in int8": (0.943, 0.9385, 0.9275, 0.915),
    }.items():  # fmt: skip
        for step, score in enumerate(scores):
            ratio = 0.55 - 0.07 * step
            found.append(MixPoint(
                mix=f"{40 + 8 * step} channels less in 6 groups, 50% to 95% zeros in 12 layers, eight bits",
                track=track, timing=timing(ratio), forecast_ratio=ratio + 0.01, macs=46_945_632,
                bytes=398_131, parameters=359_074, damage=0.95 - score, score=score, chosen=score == 0.9275,
            ))  # fmt: skip
    return tuple(found)


def mixed_record() -> RunRecord:
    """What a planner that mixes methods leaves behind."""
    return full_record(candidates=(), mixes=mixes(), method={"method": "mix"})


def minimal_record() -> RunRecord:
    """Only what a record must have."""
    card = NetworkCard(path="a.wieldy", sha256="0" * 64, bytes=100, parameters=0, macs=0)
    return RunRecord(
        title="",
        verdict="missed",
        reasons=(),
        budget={},
        method={},
        seed=0,
        original=card,
        package=card,
        timing=timing(1.04, 0.02, cpu=""),
    )
