"""A complete record, made up: the network has the shapes of the embedded one, the figures are invented."""

from typing import Any

from sample_evidence import CLASSES, SCRIPT, all_evidence, interval, metric_evidence, of_outputs, slices

from wieldy.core.records import (
    Candidate,
    Change,
    Epoch,
    Evidence,
    LayerRow,
    LayerTime,
    MixPoint,
    NetworkCard,
    Refused,
    RunRecord,
    Timing,
)

__all__ = ["CLASSES", "SCRIPT", "all_evidence", "interval", "metric_evidence"]  # from here as well
CPU = "AMD EPYC 9R14 96-Core Processor"


def timing(ratio: float, half: float = 0.008, original_ms: float = 0.6214, **fields: Any) -> Timing:
    known: dict[str, Any] = {"rounds": 20, "threads": 2, "batch": 1, "tier": "avx512", "cpu": CPU}
    known |= {"small_ms": original_ms * ratio * 1.003} | fields
    return Timing(ratio=interval(ratio, half), original_ms=original_ms, **known)


def blocks(widths: tuple[int, int, int]) -> list[tuple[str, str, int, int, int, int]]:
    """Layer, operation, channels in and out, kernel and side of a residual network on 28x28 pictures."""
    found = [("stem", "conv2d", 1, widths[0], 3, 28), ("bn", "batch_norm", 0, widths[0], 0, 28)]
    found.append(("relu", "relu", 0, widths[0], 0, 28))
    wide, count = widths[0], 0
    for stage, (width, side) in enumerate(zip(widths, (28, 14, 7), strict=True), 1):
        for block in range(2):
            path = f"stage{stage}.{block}"
            found += [
                (f"{path}.conv1", "conv2d", wide, width, 3, side),
                (f"{path}.bn1", "batch_norm", 0, width, 0, side),
                (f"relu_{2 * count + 1}", "relu", 0, width, 0, side),
                (f"{path}.conv2", "conv2d", width, width, 3, side),
                (f"{path}.bn2", "batch_norm", 0, width, 0, side),
            ]
            if wide != width:
                found.append((f"{path}.shortcut.0", "conv2d", wide, width, 1, side))
                found.append((f"{path}.shortcut.1", "batch_norm", 0, width, 0, side))
            found += [
                (f"add_{count}" if count else "add", "add", 0, width, 0, side),
                (f"relu_{2 * count + 2}", "relu", 0, width, 0, side),
            ]
            wide, count = width, count + 1
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
    """One operation for each convolution, with the layers that follow it."""
    found: list[tuple[list[str], str, str, int]] = []
    for row in layer_rows(widths):
        if row.op in ("conv2d", "mean", "linear"):
            kind = {"conv2d": "Convolution", "mean": "ReduceMean", "linear": "FullyConnected"}[row.op]
            kernel = "brgconv_avx512_f32" if row.op == "conv2d" else "jit_avx512_f32"
            if "shortcut" in row.layer:
                kernel = "brgconv_avx512_1x1_f32"
            if amx and row.op == "linear":
                kernel = "gemm_mlas_f32"
            found.append(([row.layer], kind, kernel, row.macs))
        elif found:
            found[-1][0].append(row.layer)
    return tuple(
        LayerTime(layers=tuple(layers), kind=kind, kernel=kernel, milliseconds=0.0061 + macs * 5.1e-9)
        for layers, kind, kernel, macs in found
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


def changes(widths: tuple[int, int, int]) -> tuple[Change, ...]:
    """Half of the channels everywhere, and more in some layers."""
    found = [
        Change(
            layer=row.layer,
            method="taylor",
            seed=7,
            before={"out_channels": row.shape[1] or 0, "in_channels": 32},
            after={"out_channels": (row.shape[1] or 0) // 2, "in_channels": 16},
        )
        for row in layer_rows(widths)
        if row.op == "conv2d"
    ]
    weights = {"weights": 9216, "nonzero": 9216}
    return (
        *found,
        Change(
            layer="stage3.0.conv2", method="zeros", before=weights, after=weights | {"nonzero": 922}, seed=7
        ),
        Change(layer="stage3.1.conv2", method="svd", before={"rank": 64}, after={"rank": 16}, seed=7),
        Change(layer="stage3.1.conv1", method="int8", before={"bits": 32}, after={"bits": 8}, seed=7),
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
        "changes": changes(old),
        "refused": (
            Refused(
                layer="classifier", method="taylor", reason="its outputs are the classes; they must stay"
            ),
        ),
        "recovery": tuple(Epoch(epoch=k, metric=0.943 - 0.021 / k**1.2) for k in range(1, 13)),
        "evidence": all_evidence(),
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
        evidence=(
            Evidence(kind="classes", claim=long, verdict="refuted", numbers={"classes": classes, long: long}),
            Evidence(kind=long, claim=long, verdict="unknown", numbers={long: long}, assumptions=(long,)),
            Evidence(
                kind="floor", claim=long, verdict="refuted", numbers={"figure": long, "limit": 1, "value": 2}
            ),
            Evidence.not_measured("slices", long, long),
        ),
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


def hostile_evidence(words: str) -> tuple[Evidence, ...]:
    """Evidence whose every text is `words`."""
    numbers = slices()
    numbers["slices"][0]["slice"] = numbers["worse"][0] = words
    return (
        Evidence(kind="slices", claim=words, verdict="refuted", numbers=numbers, assumptions=(words,)),
        Evidence(kind=words, claim=words, verdict="unknown", numbers={words: [{words: words}]}),
        Evidence(kind="floor", claim=words, verdict="refuted", numbers={"figure": words, "limit": 1}),
        Evidence.not_measured("attacks", words, words),
    )


def hostile_layers(words: str) -> tuple[LayerRow, ...]:
    """One layer whose name and operation are `words`, another that a spreadsheet would take for a formula."""
    shape = (None, 4)
    return (
        LayerRow(layer=words, op=words, shape=shape, macs=4, parameters=4, bytes=16),
        LayerRow(layer="=1+1", op="@SUM(A1)", shape=shape, macs=4, parameters=4, bytes=16),
    )


def hostile_changes(words: str) -> tuple[Change, ...]:
    return (Change(layer=words, method=words, before={words: 2}, after={words: 1}, seed=0, note=words),)


def other_record() -> RunRecord:
    """A run whose network yields no class logits, and of which some questions were not looked into."""
    return full_record(evidence=of_outputs(), recovery=())


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
