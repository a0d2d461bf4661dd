"""Cards on how sure the package is, and on corruption, foreign inputs, attacks and bounds."""

from collections.abc import Sequence

from wieldy.core.records import Interval
from wieldy.report import panels
from wieldy.report.answers import Fields, drawn
from wieldy.report.evidence import (
    AttackNumbers,
    AttacksNumbers,
    BinNumbers,
    BoundsNumbers,
    CalibrationNumbers,
    ConfidenceNumbers,
    CorruptionNumbers,
    CorruptionsNumbers,
    OutsideNumbers,
)
from wieldy.report.figures import around, figure, fixed, percent, points, radius, shares
from wieldy.report.panels import Axes, Panel, Row, Stop
from wieldy.report.parts import Fact, Table

ATTACKS = {"fgsm": "FGSM", "pgd": "PGD", "apgd": "APGD-CE"}


def calibration(numbers: CalibrationNumbers) -> Fields:
    """Reliability, calibration error and Brier score, before and after a temperature."""
    cooled = numbers.temperature
    sides = [("as they are", numbers.bins_original, numbers.bins_package)]
    if cooled:
        sides.append(("after a temperature", cooled.bins_original, cooled.bins_package))
    rows = _scores(numbers)
    heads = ("Figure", "Original", "Package", "Growth")
    cells = tuple((name, *(words for words, _ in of)) for name, *of in rows)
    return {
        "legend": True,
        "charts": (drawn(panels.reliability, sides),),
        "told": tuple(
            Fact(f"{name}, {side}", *figure)
            for name, *figures in rows
            for side, figure in zip(("original", "package", "growth"), figures, strict=True)
            if figure[0]
        ),
        "notes": (f"Temperatures were fitted on {cooled.fitted_on}.",) if cooled and cooled.fitted_on else (),
        "tables": (Table("Calibration of both", heads, "lrrr", cells), _bins(sides)),
    }


Told = tuple[str, float | None]  # a figure in words, and as a number


def _scores(numbers: CalibrationNumbers) -> list[tuple[str, Told, Told, Told]]:
    """Return each figure of calibration for original and package, and its growth."""
    rows = [("Calibration error (ECE)", *_grown(numbers.original, numbers.package, numbers.change))]
    if brier := numbers.brier:
        rows.append(("Brier score", *_grown(brier.original.value, brier.package.value, brier.change)))
    if cooled := numbers.temperature:
        best = (fixed(cooled.original), cooled.original), (fixed(cooled.package), cooled.package)
        rows.append(("Best temperature", *best, ("", None)))
        rows.append(("ECE after it", *_grown(cooled.ece_original, cooled.ece_package, None)))
    return rows


def _grown(original: float, package: float, change: Interval | None) -> tuple[Told, Told, Told]:
    growth = package - original
    words = around(change, sign=True) if change else fixed(growth, 4, sign=True)
    return (fixed(original, 4), original), (fixed(package, 4), package), (words, growth)


def _bins(sides: Sequence[tuple[str, Sequence[BinNumbers], Sequence[BinNumbers]]]) -> Table:
    rows = [
        (f"{kind}, {title}", f"{b.count:,}", percent(b.confidence), percent(b.accuracy))
        for title, *both in sides
        for kind, bins in zip(("original", "package"), both, strict=True)
        for b in bins
    ]
    heads = ("Network", "Examples", "Confidence", "Right")
    return Table("Bins of confidence", heads, "lrrr", tuple(rows), summary="The bins as a table")


def confidence(numbers: ConfidenceNumbers) -> Fields:
    """How sure both are of their answers, and how far that moves."""
    n = numbers.quantiles
    rows = [
        Row(f"{percent(share, 0)} below", before, after, f"{percent(before)} → {percent(after)}")
        for share, before, after in zip(n.shares, n.original, n.package, strict=True)
    ]
    words = "Below which confidence so many of the examples lie, in both networks."
    low = min([0.9, *n.original, *n.package])
    chart = [drawn(panels.dumbbells, rows, "confidence", (min(low, 0.9), 1.0), _whole, words)] if rows else []
    return {
        "legend": True,
        "charts": tuple(chart),
        "facts": (
            Fact("Mean confidence, original", shares(numbers.original), 100 * numbers.original.value),
            Fact("Mean confidence, package", shares(numbers.package), 100 * numbers.package.value),
            Fact("Shift, points", around(numbers.shift, 2, 100.0, sign=True), 100 * numbers.shift.value),
            Fact("An example moves by, points", fixed(100 * numbers.moved), 100 * numbers.moved),
        ),
    }


def _whole(share: float) -> str:
    return percent(share, 0)


def corruptions(numbers: CorruptionsNumbers) -> Fields:
    """Accuracy of both under every corruption at every severity."""
    axes = Axes(("severity", "accuracy"), tuple((float(level), f"{level}") for level in numbers.severities))
    ordered = sorted(numbers.rows, key=lambda row: -row.drop_points.value)
    made = [_corruption(row, numbers.severities) for row in ordered]
    words = f"Accuracy of both networks under {len(made)} corruptions, at {len(axes.x_ticks)} severities."
    heads = ("Corruption", *(f"Severity {level}" for level in numbers.severities), "Points lost")
    rows = [
        (_name(row), *map(_arrow, row.original, row.package), points(row.drop_points, sign=True))
        for row in ordered
    ]
    table = Table("Accuracy under corruptions", heads, "l" + "r" * (len(heads) - 1), tuple(rows))
    clean, mean = numbers.clean, numbers.mean
    return {
        "legend": True,
        "charts": (drawn(panels.panels, made, axes, words, full=True),),
        "facts": (
            Fact("Mean accuracy, original", percent(mean.original, 2), 100 * mean.original),
            Fact("Mean accuracy, package", percent(mean.package, 2), 100 * mean.package),
            Fact("Points lost under corruption", points(mean.drop_points, sign=True), mean.drop_points.value),
            Fact("Uncorrupted, original → package", _arrow(clean.original, clean.package)),
        ),
        "notes": (f"{numbers.examples:,} test examples, each under every corruption; worst loss first.",),
        "tables": (table.folded(f"All {len(rows)} corruptions as a table"),),
        "is_wide": True,
    }


def _corruption(row: CorruptionNumbers, severities: Sequence[int]) -> Panel:
    stops = [
        Stop(
            float(level), a, b, f"{_name(row)}, severity {level}: original {percent(a)}, package {percent(b)}"
        )
        for level, a, b in zip(severities, row.original, row.package, strict=True)
    ]
    return Panel(_name(row), tuple(stops), *_lost(row.drop_points))


def _name(row: CorruptionNumbers) -> str:
    return row.corruption.replace("_", " ")


def _lost(drop: Interval, when: str = "") -> tuple[str, bool]:
    """What a panel says of the points lost, and whether the interval lies above zero."""
    is_bad = drop.low > 0
    words = f"{fixed(abs(drop.value), 1)} {'won' if drop.value < 0 else 'lost'}{when}"
    return f"✕ {words}" if is_bad else words, is_bad


def _arrow(before: float, after: float) -> str:
    return f"{percent(before)} → {percent(after)}"


def outside(numbers: OutsideNumbers) -> Fields:
    """How well both tell foreign inputs from the test set."""
    known = [(of, score) for of in numbers.sets for score in of.scores]
    rows = [
        Row(
            f"{of.name}, {score.score}",
            score.original,
            score.package,
            f"{fixed(score.original, 3)} → {fixed(score.package, 3)}",
            score.change.high < 0,
        )
        for of, score in known
    ]
    words = f"AUROC of both networks by {len(rows)} scores; one half is chance, 1 is perfect."
    low = min([0.5, *(end for row in rows for end in (row.original, row.package))])
    heads = ("Set", "Examples", "Score", "Original", "Package", "Change")
    cells = [
        (of.name, f"{of.examples:,}", score.score, fixed(score.original, 3), fixed(score.package, 3),
         around(score.change, 3, sign=True))
        for of, score in known
    ]  # fmt: skip
    worst = min((score.change for _, score in known), key=lambda change: change.value)
    return {
        "legend": True,
        "charts": (drawn(panels.dumbbells, rows, "AUROC", (low, 1.0), _decimal, words),),
        "facts": (Fact("Largest loss of AUROC", around(worst, 3, sign=True), worst.value),),
        "told": tuple(
            Fact(f"AUROC of {of.name} by {score.score}, package", fixed(score.package, 3), score.package)
            for of, score in known
        ),
        "notes": ("How often a foreign input scores as less sure than a test example: 0.5 is chance.",),
        "tables": (Table("AUROC", heads, "lrlrrr", tuple(cells), summary="All scores as a table"),),
    }


def _decimal(value: float) -> str:
    return fixed(value, 1)


def attacks(numbers: AttacksNumbers) -> Fields:
    """Robust accuracy of both over the radius, attack by attack."""
    by_attack: dict[str, list[AttackNumbers]] = {}
    for row in sorted(numbers.rows, key=lambda row: row.epsilon):
        by_attack.setdefault(row.attack, []).append(row)
    epsilons = sorted({row.epsilon for row in numbers.rows})
    axes = Axes(("radius ε", "robust accuracy"), ((0.0, "0"), *((e, radius(e)) for e in epsilons)))
    made = [_attack(name, rows, numbers) for name, rows in by_attack.items()]
    words = f"Accuracy of both networks under {len(made)} attacks over the radius that they are allowed."
    heads = ("Attack", "Radius", "Original", "Package", "Points lost")
    cells = [
        (_attack_name(row.attack), radius(row.epsilon), percent(row.original), percent(row.package),
         points(row.drop_points, sign=True))
        for rows in by_attack.values()
        for row in rows
    ]  # fmt: skip
    worst = max(numbers.rows, key=lambda row: row.drop_points.value)
    at = f"{_attack_name(worst.attack)} at {radius(worst.epsilon)}"
    twin = numbers.twin
    return {
        "legend": True,
        "charts": (drawn(panels.panels, made, axes, words, full=True, most=3, least=200.0, height=130.0),),
        "facts": (
            Fact(
                "Most points lost", f"{points(worst.drop_points, sign=True)} ({at})", worst.drop_points.value
            ),
            Fact("Twin agrees with the original", shares(twin.original), 100 * twin.original.value),
            Fact("Twin agrees with the package", shares(twin.package), 100 * twin.package.value),
            *_controls(numbers),
        ),
        "told": tuple(
            Fact(
                f"{_attack_name(row.attack)} at {radius(row.epsilon)}, package",
                percent(row.package),
                100 * row.package,
            )
            for rows in by_attack.values()
            for row in rows
        ),
        "notes": (
            f"{numbers.examples:,} test examples, {_norm(numbers.norm)} norm, {numbers.steps} steps. "
            "Attacks see a differentiable twin of each network.",
        ),
        "tables": (Table("Attacks", heads, "lrrrr", tuple(cells), summary="All attacks as a table"),),
        "is_wide": True,
    }


def _controls(numbers: AttacksNumbers) -> list[Fact]:
    """Whether gradients do better than noise, and whether nothing withstands a radius that is absurd."""
    named = ((numbers.noise, "Noise alone at"), (numbers.limit, "Strongest attack at"))
    return [
        Fact(f"{words} {radius(at.epsilon)}, original → package", _arrow(at.original, at.package))
        for at, words in named
        if at
    ]


def _attack(name: str, rows: Sequence[AttackNumbers], numbers: AttacksNumbers) -> Panel:
    clean = numbers.clean
    words = f"not attacked: original {percent(clean.original)}, package {percent(clean.package)}"
    stops = [Stop(0.0, clean.original, clean.package, words)]
    for row in rows:
        both = f"original {percent(row.original)}, package {percent(row.package)}"
        words = f"{_attack_name(name)} at {radius(row.epsilon)}: {both}"
        stops.append(Stop(row.epsilon, row.original, row.package, words))
    worst = max(rows, key=lambda row: row.drop_points.value)
    return Panel(_attack_name(name), tuple(stops), *_lost(worst.drop_points, " at worst"))


def _attack_name(name: str) -> str:
    return ATTACKS.get(name.lower(), name)


def _norm(name: str) -> str:
    return "L∞" if name == "linf" else name


def bounds(numbers: BoundsNumbers) -> Fields:
    """What share of the examples is certain to keep its answer, over the radius."""
    rows = sorted(numbers.rows, key=lambda row: row.epsilon)
    axes = Axes(
        ("radius ε", "certified share"), ((0.0, "0"), *((r.epsilon, radius(r.epsilon)) for r in rows))
    )
    stops = [
        Stop(
            row.epsilon,
            row.original,
            row.package,
            f"at {radius(row.epsilon)}: original {percent(row.original)}, package {percent(row.package)}",
        )
        for row in rows
    ]
    words = "Share of examples whose answer no change within the radius can turn, for both networks."
    cells = tuple((radius(row.epsilon), percent(row.original), percent(row.package)) for row in rows)
    width = numbers.mean_width
    chart = drawn(panels.panels, [Panel("", tuple(stops))], axes, words, height=150.0)
    return {
        "legend": True,
        "charts": (chart,),
        "facts": tuple(
            Fact(f"Mean width of the package’s bounds, {name}", _width(value), value)
            for name, value in (("intervals", width.ibp), ("CROWN", width.crown), ("both", width.both))
        ),
        "told": tuple(
            Fact(f"Certified at {radius(row.epsilon)}, package", percent(row.package), 100 * row.package)
            for row in rows
        ),
        "notes": (
            f"{numbers.examples:,} test examples; widths at radius {radius(numbers.epsilon)}. "
            "Proved for every input within the radius, not only for those that were tried.",
        ),
        "tables": (
            Table("Certified shares", ("Radius", "Original", "Package"), "rrr", cells, summary="As a table"),
        ),
    }


def _width(value: float | None) -> str:
    return "not computed" if value is None else figure(value)
