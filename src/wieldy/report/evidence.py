"""Evidence read back into typed figures. What has another shape is shown as it is, never dropped."""

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wieldy.core.errors import ConfigError
from wieldy.core.records import Evidence, Interval


class Numbers(BaseModel):
    """Base: figures of one kind of evidence; further keys are welcome."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class MetricNumbers(Numbers):
    """The metric of both networks, and the points lost."""

    metric: str
    examples: int
    original: Interval
    package: Interval
    drop_points: Interval
    allowed_points: float | None = None


class Flip(Numbers):
    """One example on which the two networks decide differently."""

    index: int
    target: int
    original: int
    package: int


class PredictionNumbers(Numbers):
    """Which predictions changed."""

    fixed: int
    broken: int
    flips: int
    flip_share: Interval
    p_value: float
    first_flipped: tuple[Flip, ...] = ()


class ClassNumbers(Numbers):
    """One class: accuracy of both and the change."""

    name: str = Field(alias="class")
    examples: int
    original: float
    package: float
    change_points: Interval
    p_adjusted: float | None = None


class ClassesNumbers(Numbers):
    """All classes."""

    classes: tuple[ClassNumbers, ...] = Field(min_length=1)


class BinNumbers(Numbers):
    """Examples of about equal confidence."""

    count: int
    confidence: float
    accuracy: float


class CalibrationNumbers(Numbers):
    """Expected calibration error of both, and the bins it is made of."""

    original: float
    package: float
    bins_original: tuple[BinNumbers, ...]
    bins_package: tuple[BinNumbers, ...]


class RuntimeNumbers(Numbers):
    """How far the runtime's logits are from torch's, on the same file."""

    largest: float
    mean: float
    largest_relative: float
    predictions_that_differ: int | None = None


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

    examples: int
    outputs: tuple[OutputNumbers, ...] = Field(min_length=1)


N = TypeVar("N", bound=Numbers)


@dataclass(frozen=True, slots=True)
class Found:
    """The first evidence of each kind with its figures, and all that is left."""

    metric: tuple[Evidence, MetricNumbers] | None
    predictions: tuple[Evidence, PredictionNumbers] | None
    classes: tuple[Evidence, ClassesNumbers] | None
    calibration: tuple[Evidence, CalibrationNumbers] | None
    outputs: tuple[Evidence, OutputsNumbers] | None
    runtime: tuple[Evidence, RuntimeNumbers] | None
    others: tuple[Evidence, ...]


def sort_evidence(evidence: tuple[Evidence, ...]) -> Found:
    """Recognise each piece of evidence by the figures that it holds."""
    rest = list(evidence)
    metric = _take(rest, MetricNumbers)
    predictions = _take(rest, PredictionNumbers)
    classes = _take(rest, ClassesNumbers)
    calibration = _take(rest, CalibrationNumbers)
    outputs = _take(rest, OutputsNumbers)
    runtime = _take(rest, RuntimeNumbers)
    return Found(metric, predictions, classes, calibration, outputs, runtime, tuple(rest))


def _take(rest: list[Evidence], kind: type[N]) -> tuple[Evidence, N] | None:
    """Remove the first evidence whose figures are of this kind."""
    for index, item in enumerate(rest):
        numbers = _read(item.numbers, kind)
        if numbers is not None:
            return rest.pop(index), numbers
    return None


def _read(numbers: dict[str, Any], kind: type[N]) -> N | None:
    try:
        return kind.model_validate(numbers)
    except (ValidationError, ConfigError):
        return None
