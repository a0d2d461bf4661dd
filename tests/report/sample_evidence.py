"""Evidence of every kind, made up, under the keys that `examine` writes."""

from typing import Any

import numpy as np

from wieldy.assure.pictures import data_uri
from wieldy.core.records import Evidence, Interval

SCRIPT = "<script>alert(1)</script>"
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", SCRIPT, "Ankle boot",
)  # fmt: skip
CHANGES = (-0.4, 0.1, -0.6, -0.2, 0.5, 0.0, -3.1, -0.3, 0.2, 0.3)
CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
EPSILONS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)


def interval(value: float, half: float) -> Interval:
    return Interval(value=value, low=value - half, high=value + half)


def both(original: float, package: float, half: float) -> dict[str, Any]:
    ends = {"original": original, "package": package, "change": package - original}
    return {name: interval(value, half).model_dump() for name, value in ends.items()}


def picture(seed: int) -> str:
    """A blob of light on black, 28 pixels wide."""
    rows, columns = np.mgrid[-1:1:28j, -1:1:28j]  # type: ignore[misc]
    tall, wide = 0.2 + 0.6 * np.random.default_rng(seed).random(2)
    return data_uri(np.exp(-((rows / tall) ** 4) - (columns / wide) ** 4)[None])


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
        kind="metric",
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


def predictions() -> dict[str, Any]:
    flips: list[dict[str, Any]] = []
    for k in range(30):
        target, before, after = k % 10, (k if k % 3 else k + 4) % 10, (k + 6 if k % 3 != 1 else k) % 10
        before = (before + 1) % 10 if before == after else before
        flips.append({"index": 17 * k + 3, "target": target, "original": before, "package": after})
        if k < 24:
            flips[-1]["picture"] = picture(k)
    return {
        "fixed": 112,
        "broken": 154,
        "flips": 301,
        "flip_share": Interval(value=0.0301, low=0.02693, high=0.03363).model_dump(),
        "p_value": 0.01164,
        "first_flipped": flips,
    }


def classes() -> dict[str, Any]:
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
    return {"classes": rows, "worse": ["Shirt"]}


def slices() -> dict[str, Any]:
    rows = [
        {
            "slice": name,
            "examples": examples,
            "original": 0.94,
            "package": 0.94 + change / 100,
            "change_points": interval(change, 1.4).model_dump(),
            "p_value": 0.5,
            "p_adjusted": 0.0004 if change < -10 else 1.0,
            "flip_share": interval(flips, 0.012).model_dump(),
            "flips_p_value": 0.2,
            "flips_p_adjusted": 0.0001 if flips > 0.1 else 1.0,
        }
        for name, examples, change, flips in (
            ("dark pictures", 2210, -0.9, 0.041),
            ("stamped in a corner", 500, -12.4, 0.158),
            ("left of the middle", 3120, 0.2, 0.028),
        )
    ]
    return {"slices": rows, "worse": ["stamped in a corner"]}


def calibration() -> dict[str, Any]:
    return {
        "original": 0.02318,
        "package": 0.01877,
        "bins_original": bins(0.11),
        "bins_package": bins(0.05),
        "change": interval(-0.00441, 0.0061).model_dump(),
        "brier": both(0.0812, 0.0864, 0.0021),
        "temperature": {
            "original": 1.2514,
            "package": 1.1127,
            "fitted_on": "1,000 validation examples",
            "ece_original": 0.0093,
            "ece_package": 0.0101,
            "bins_original": bins(0.03),
            "bins_package": bins(0.02),
        },
    }


def confidence() -> dict[str, Any]:
    sides = both(0.9512, 0.9387, 0.0018)
    return {
        "original": sides["original"],
        "package": sides["package"],
        "shift": sides["change"],
        "moved": 0.0214,
        "quantiles": {
            "shares": [0.05, 0.25, 0.5, 0.75, 0.95],
            "original": [0.612, 0.941, 0.9931, 0.9991, 0.99999],
            "package": [0.571, 0.922, 0.9874, 0.9983, 0.99996],
        },
    }


def corruptions() -> dict[str, Any]:
    rows = []
    for k, name in enumerate(CORRUPTIONS):
        before = [0.93 - (0.02 + 0.012 * (k % 7)) * level**1.3 for level in range(1, 6)]
        after = [share - 0.004 * level * (k % 5 - 1) for level, share in enumerate(before, 1)]
        drop = 100 * float(np.mean(before) - np.mean(after))
        rows.append(
            {
                "corruption": name,
                "original": before,
                "package": after,
                "drop_points": interval(drop, 0.9).model_dump(),
            }
        )
    return {
        "examples": 200,
        "severities": [1, 2, 3, 4, 5],
        "clean": {"original": 0.945, "package": 0.94},
        "rows": rows,
        "mean": {"original": 0.8123, "package": 0.8001, "drop_points": interval(1.22, 0.64).model_dump()},
    }


def outside() -> dict[str, Any]:
    scores = {"msp": (0.931, 0.928), "energy": (0.952, 0.921), "max-logit": (0.949, 0.944)}
    return {
        "sets": [
            {
                "set": name,
                "examples": 500,
                "scores": [
                    {
                        "score": score,
                        "original": before - lower,
                        "package": after - lower,
                        "change": interval(after - before, 0.008).model_dump(),
                    }
                    for score, (before, after) in scores.items()
                ],
            }
            for name, lower in (("digits", 0.0), ("noise", 0.21))
        ]
    }


def attacks() -> dict[str, Any]:
    rows = []
    for strength, name in ((2.0, "fgsm"), (3.0, "pgd"), (3.4, "apgd")):
        for epsilon in EPSILONS:
            before = 0.94 * float(np.exp(-strength * 20 * epsilon))
            rows.append(
                {
                    "attack": name,
                    "epsilon": epsilon,
                    "original": before,
                    "package": before * 0.96,
                    "drop_points": interval(4 * before, 2.1).model_dump(),
                }
            )
    return {
        "examples": 200,
        "norm": "linf",
        "steps": 20,
        "rows": rows,
        "clean": {"original": 0.945, "package": 0.94},
        "noise": {"epsilon": 8 / 255, "original": 0.93, "package": 0.925},
        "limit": {"epsilon": 0.5, "original": 0.0, "package": 0.005},
        "twin": {
            "original": Interval(value=1.0, low=0.9996, high=1.0).model_dump(),
            "package": Interval(value=0.9998, low=0.9993, high=1.0).model_dump(),
        },
    }


def bounds() -> dict[str, Any]:
    rows = [
        {"epsilon": epsilon, "original": before, "package": after}
        for epsilon, before, after in zip(EPSILONS, (0.8, 0.5, 0.1, 0.0), (0.7, 0.5, 0.2, 0.0), strict=True)
    ]
    width = {"ibp": 812.4, "crown": 3.217, "both": 3.102}
    return {"examples": 10, "rows": rows, "mean_width": width, "epsilon": 2 / 255}


def runtime() -> dict[str, Any]:
    return {
        "largest": 8.5830688e-06,
        "mean": 9.1e-07,
        "largest_relative": 5.0123e-07,
        "predictions_that_differ": 0,
    }


def outputs() -> dict[str, Any]:
    worst = [{"index": 31.0, "error": 0.912}, {"index": 7.0, "error": 0.401}]
    rows = [{"output": "boxes", "error": [0.02, 0.09, 0.91], "cosine": [0.9998, 0.97, 0.41], "worst": worst}]
    return {"examples": 5000, "outputs": rows}


def floors() -> tuple[Evidence, ...]:
    share = Interval(value=0.0301, low=0.02693, high=0.03363).model_dump()
    return (
        Evidence(
            kind="floor",
            claim="share of predictions changed: at most 0.05",
            verdict="proved",
            numbers={"figure": "flips", "limit": 0.05, "value": 0.0301, "interval": share},
            assumptions=("the verdict is on the measured value",),
        ),
        Evidence(
            kind="floor",
            claim="points lost by the worst class: at most 2",
            verdict="refuted",
            numbers={"figure": "class", "limit": 2.0, "value": 3.1},
        ),
        Evidence(
            kind="floor",
            claim="share of certified examples lost, at worst: at most 0.1",
            verdict="unknown",
            numbers={"figure": "certified", "limit": 0.1, "value": None},
            assumptions=("the network is too large",),
        ),
    )


MEASURED: dict[str, tuple[str, Any, Any, str]] = {  # claim, verdict, figures, assumption
    "predictions": (
        "as many predictions were fixed as broken (McNemar, exact, at 5 %)",
        "refuted",
        predictions,
        "examples are independent",
    ),
    "classes": (
        "no class got worse (McNemar by class, Holm over classes, at 5 %)",
        "refuted",
        classes,
        "a small class can lose much before it shows",
    ),
    "slices": (
        "no slice got worse, and on none do more predictions flip than elsewhere",
        "refuted",
        slices,
        "slices were named before the package was seen",
    ),
    "calibration": (
        "the calibration error grows by at most 0.02",
        "proved",
        calibration,
        "15 bins of equal width; outputs are logits",
    ),
    "confidence": (
        "the mean confidence shifts by at most 0.02",
        "proved",
        confidence,
        "confidence is the largest softmax probability",
    ),
    "runtime": (
        "runtime and torch agree to 0.0001 of the largest logit",
        "proved",
        runtime,
        "fp32 on both sides",
    ),
    "outside": (
        "no score tells foreign inputs apart worse than before",
        "refuted",
        outside,
        "one foreign data set stands for all",
    ),
    "corruptions": (
        "under corruption at most 1 point is lost on average",
        "refuted",
        corruptions,
        "corruptions are those of ImageNet-C, on pixels between 0 and 1",
    ),
    "attacks": (
        "robust accuracy falls by at most 5 points",
        "proved",
        attacks,
        "attacks find an upper bound of the robust accuracy",
    ),
    "bounds": (
        "as many examples are certified as before",
        "unknown",
        bounds,
        "bounds are rounded outwards in float64",
    ),
}


def measured(kind: str) -> Evidence:
    claim, verdict, numbers, assumption = MEASURED[kind]
    return Evidence(kind=kind, claim=claim, verdict=verdict, numbers=numbers(), assumptions=(assumption,))


def all_evidence() -> tuple[Evidence, ...]:
    """Every kind that class logits allow, one of a kind that nobody knows, and floors."""
    foreign = Evidence(
        kind="watermark",
        claim="the owner's mark survives",
        verdict="unknown",
        numbers={"share": interval(0.91, 0.02).model_dump(), "keys": [1, 2, {"three": 3}]},
        assumptions=("one key stands for all",),
    )
    return (metric_evidence(), *map(measured, MEASURED), foreign, *floors())


def of_outputs() -> tuple[Evidence, ...]:
    """What is known of a network whose outputs are no class logits, and of what nothing was measured."""
    return (
        metric_evidence(),
        Evidence(
            kind="outputs",
            claim="half of the examples keep every output",
            verdict="proved",
            numbers=outputs(),
        ),
        Evidence.not_measured("slices", "no slice got worse", "the data names no slices"),
        Evidence.not_measured(
            "corruptions", "at most 1 point is lost", "inputs of shape (4) are no pictures"
        ),
    )
