"""What a run leaves behind: changes, refusals, measurements, evidence and claims, as values."""

from typing import Any, Literal

from pydantic import Field

from wieldy.core.config import Frozen

Verdict = Literal["proved", "refuted", "unknown"]
Relation = Literal["<", "<=", ">", ">=", "=="]


class Interval(Frozen):
    """A figure with the two ends of its interval at `level`.

    Example:
        >>> str(Interval(value=0.5, low=0.45, high=0.56))
        '0.5 [0.45, 0.56]'
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Change(Frozen):
    """One layer that a method altered."""

    layer: str
    method: str
    before: dict[str, int]  # shape-like facts, e.g. {"out_channels": 64, "in_channels": 32}
    after: dict[str, int]
    seed: int


class Refused(Frozen):
    """One layer that was left alone, and why."""

    layer: str
    method: str
    reason: str


class Evidence(Frozen):
    """A statement about a package, what was measured for it, and under which assumptions."""

    claim: str
    verdict: Verdict
    numbers: dict[str, Any] = Field(default_factory=dict)  # figures and Interval dicts
    assumptions: tuple[str, ...] = ()
    digests: dict[str, str] = Field(default_factory=dict)  # what was compared, by SHA-256


class Claim(Frozen):
    """A published property, measured again here.

    `expected` is the verdict on record; only a different one is a failure.
    """

    name: str
    what: str
    measured: float
    relation: Relation
    threshold: float
    source: str
    seconds: float
    expected: Verdict = "proved"
    reason: str = ""  # why the published property does not hold here, where it does not

    @property
    def verdict(self) -> Verdict:
        """Whether `measured` stands in `relation` to `threshold`."""
        return "proved" if HOLDS[self.relation](self.measured, self.threshold) else "refuted"

    @property
    def changed(self) -> bool:
        """Whether the verdict differs from the one on record."""
        return self.verdict != self.expected


HOLDS = {
    "<": float.__lt__,
    "<=": float.__le__,
    ">": float.__gt__,
    ">=": float.__ge__,
    "==": float.__eq__,
}


class Timing(Frozen):
    """Two packages timed against each other in one process.

    `ratio` is the median over rounds of (milliseconds of `small` / milliseconds of
    `original`) with a bootstrap interval: smaller is better.
    """

    ratio: Interval
    original_ms: float  # medians; the ratio is not their quotient
    small_ms: float
    rounds: int
    threads: int
    batch: int
    tier: str
    original_precision: str = "f32"
    small_precision: str = "f32"
    cpu: str = ""


class LayerTime(Frozen):
    """Median time of one executed operation of the runtime."""

    layers: tuple[str, ...]  # names of the program's nodes that the runtime fused into it
    kind: str
    kernel: str
    milliseconds: float
