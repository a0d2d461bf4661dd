"""Evidence read back into typed figures, by its kind. What has another shape is shown as it is."""

from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from wieldy.core.errors import ConfigError
from wieldy.core.records import Evidence, Interval

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
PNG = "data:image/png;base64,"
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


class Numbers(BaseModel):
    """Base: figures of one kind of evidence; further keys are welcome."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Both(Numbers):
    """A figure of both networks, and package less original."""

    original: Interval
    package: Interval
    change: Interval


class Shares(Numbers):
    """A share of both networks."""

    original: Share
    package: Share


class MetricNumbers(Numbers):
    """The metric of both networks, and the points lost."""

    metric: str
    examples: Count
    original: Interval
    package: Interval
    drop_points: Interval
    allowed_points: float | None = None


class Flip(Numbers):
    """One example on which the two networks decide differently; a picture that is no PNG is left out."""

    index: int
    target: int
    original: int
    package: int
    picture: str | None = None

    @field_validator("picture", mode="before")
    @classmethod
    def _is_png(cls, picture: Any) -> str | None:
        is_one = isinstance(picture, str) and picture.startswith(PNG)
        return picture if is_one and LETTERS.issuperset(picture[len(PNG) :]) else None


class PredictionNumbers(Numbers):
    """Which predictions changed."""

    fixed: Count
    broken: Count
    flips: Count
    flip_share: Interval
    p_value: Share
    first_flipped: tuple[Flip, ...] = ()


class ClassNumbers(Numbers):
    """One class: accuracy of both and the change."""

    name: str = Field(alias="class")
    examples: Count
    original: Share
    package: Share
    change_points: Interval
    p_adjusted: Share | None = None


class ClassesNumbers(Numbers):
    """All classes."""

    classes: tuple[ClassNumbers, ...] = Field(min_length=1)
    worse: tuple[str, ...] = ()


class SliceNumbers(Numbers):
    """One slice: the metric of both, the change, and how many predictions flip where there are any."""

    name: str = Field(alias="slice")
    examples: Count
    original: float
    package: float
    change_points: Interval
    flip_share: Interval | None = None
    p_adjusted: Share | None = None
    flips_p_adjusted: Share | None = None


class SlicesNumbers(Numbers):
    """All slices."""

    slices: tuple[SliceNumbers, ...] = Field(min_length=1)
    worse: tuple[str, ...] = ()


class BinNumbers(Numbers):
    """Examples of about equal confidence."""

    count: Count
    confidence: Share
    accuracy: Share


class TemperatureNumbers(Numbers):
    """What is left of the calibration error once logits are divided by a fitted temperature."""

    original: float
    package: float
    fitted_on: str = ""
    ece_original: float
    ece_package: float
    bins_original: tuple[BinNumbers, ...]
    bins_package: tuple[BinNumbers, ...]


class CalibrationNumbers(Numbers):
    """Expected calibration error of both, the bins it is made of, Brier scores, and temperatures."""

    original: float
    package: float
    bins_original: tuple[BinNumbers, ...]
    bins_package: tuple[BinNumbers, ...]
    change: Interval | None = None
    brier: Both | None = None
    temperature: TemperatureNumbers | None = None


class QuantileNumbers(Numbers):
    """Below which confidence so many of the examples lie."""

    shares: tuple[Share, ...]
    original: tuple[Share, ...]
    package: tuple[Share, ...]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        return _of_length(self, len(self.shares), self.original, self.package)


class ConfidenceNumbers(Numbers):
    """The mean confidence of both, how far it shifts, and how far that of an example moves."""

    original: Interval
    package: Interval
    shift: Interval
    moved: float
    quantiles: QuantileNumbers


class CorruptionNumbers(Numbers):
    """One corruption: accuracy of both at each severity, and the points lost over all of them."""

    corruption: str
    original: tuple[Share, ...]
    package: tuple[Share, ...]
    drop_points: Interval


class MeanNumbers(Shares):
    """Accuracy of both over all corruptions, and the points lost."""

    drop_points: Interval


class CorruptionsNumbers(Numbers):
    """All corruptions."""

    examples: Count
    severities: tuple[int, ...] = Field(min_length=1)
    clean: Shares
    rows: tuple[CorruptionNumbers, ...] = Field(min_length=1)
    mean: MeanNumbers

    @model_validator(mode="after")
    def _fit(self) -> Self:
        return _of_length(
            self, len(self.severities), *(s for r in self.rows for s in (r.original, r.package))
        )


class ScoreNumbers(Numbers):
    """How well one score tells a foreign set from the test set."""

    score: str
    original: Share
    package: Share
    change: Interval


class OutsideSet(Numbers):
    """A foreign set."""

    name: str = Field(alias="set")
    examples: Count
    scores: tuple[ScoreNumbers, ...] = Field(min_length=1)


class OutsideNumbers(Numbers):
    """All foreign sets."""

    sets: tuple[OutsideSet, ...] = Field(min_length=1)


class AttackNumbers(Shares):
    """Robust accuracy of both under one attack at one radius."""

    attack: str
    epsilon: float = Field(ge=0)
    drop_points: Interval


class TwinNumbers(Numbers):
    """Shares of predictions on which the attacked twins agree with the saved files."""

    original: Interval
    package: Interval


class AtRadius(Shares):
    """Shares of both at one radius."""

    epsilon: float = Field(ge=0)


class AttacksNumbers(Numbers):
    """All attacks; what noise alone does, and what is left at a radius at which nothing should be."""

    examples: Count
    norm: str
    steps: Count
    rows: tuple[AttackNumbers, ...] = Field(min_length=1)
    clean: Shares
    twin: TwinNumbers
    noise: AtRadius | None = None
    limit: AtRadius | None = None


class WidthNumbers(Numbers):
    """Mean widths of the package's bounds, by how they are computed; None where they were not."""

    ibp: float | None = None
    crown: float | None = None
    both: float | None = None


class BoundsNumbers(Numbers):
    """What bounds prove."""

    examples: Count
    rows: tuple[AtRadius, ...] = Field(min_length=1)
    mean_width: WidthNumbers
    epsilon: float


class RuntimeNumbers(Numbers):
    """How far the runtime's logits are from torch's, on the same file."""

    largest: float
    mean: float
    largest_relative: float
    predictions_that_differ: Count | None = None


class OutputNumbers(Numbers):
    """How near one output is to the original's, example by example.

    `error`: median, 95th percentile and largest; `cosine`: median, 5th percentile and least.
    """

    output: str
    error: tuple[float, float, float]
    cosine: tuple[float, float, float]
    worst: tuple[dict[str, float], ...] = ()


class OutputsNumbers(Numbers):
    """All outputs of a network that yields no class logits."""

    examples: Count
    outputs: tuple[OutputNumbers, ...] = Field(min_length=1)


class FloorNumbers(Numbers):
    """The most of a loss that the user allows, and what it is."""

    figure: str
    limit: float
    value: float | None = None
    interval: Interval | None = None


KINDS: dict[str, type[Numbers]] = {
    "metric": MetricNumbers,
    "predictions": PredictionNumbers,
    "classes": ClassesNumbers,
    "slices": SlicesNumbers,
    "calibration": CalibrationNumbers,
    "confidence": ConfidenceNumbers,
    "corruptions": CorruptionsNumbers,
    "outside": OutsideNumbers,
    "attacks": AttacksNumbers,
    "bounds": BoundsNumbers,
    "outputs": OutputsNumbers,
    "runtime": RuntimeNumbers,
    "floor": FloorNumbers,
}
N = TypeVar("N", bound=Numbers)


@dataclass(frozen=True, slots=True)
class Found:
    """Evidence by what can be made of it, each in the order of the record.

    Attributes:
        read: with figures that are what the kind says.
        unmeasured: with a reason instead of figures.
        others: everything else.
    """

    read: tuple[tuple[Evidence, Numbers], ...]
    unmeasured: tuple[Evidence, ...]
    others: tuple[Evidence, ...]

    def every(self, kind: type[N]) -> list[tuple[Evidence, N]]:
        """Return all evidence with figures of one kind."""
        return [(item, numbers) for item, numbers in self.read if isinstance(numbers, kind)]

    def first(self, kind: type[N]) -> N | None:
        """Return the first figures of one kind."""
        return next((numbers for _, numbers in self.every(kind)), None)

    def has(self, kind: str) -> bool:
        """Whether there is anything of a kind, measured or not."""
        items = (*(item for item, _ in self.read), *self.unmeasured, *self.others)
        return any(item.kind == kind for item in items)


def sort_evidence(evidence: tuple[Evidence, ...]) -> Found:
    """Read each piece of evidence as its kind says."""
    read: list[tuple[Evidence, Numbers]] = []
    unmeasured, others = [], []
    for item in evidence:
        numbers = _read(item)
        if numbers is not None:
            read.append((item, numbers))
        elif not item.measured and isinstance(item.numbers["reason"], str):
            unmeasured.append(item)
        else:
            others.append(item)
    return Found(tuple(read), tuple(unmeasured), tuple(others))


def _read(item: Evidence) -> Numbers | None:
    kind = KINDS.get(item.kind)
    try:
        return kind.model_validate(item.numbers) if kind else None
    except (ValidationError, ConfigError):
        return None


def _of_length(numbers: N, length: int, *rows: tuple[float, ...]) -> N:
    if any(len(row) != length for row in rows):
        raise ValueError(f"must all have {length} entries")
    return numbers
