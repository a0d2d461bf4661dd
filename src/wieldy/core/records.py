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


NO_GAIN = 0.97  # a ratio whose interval reaches this is called no gain


class Change(Frozen):
    """One layer that a method altered."""

    layer: str
    method: str
    before: dict[str, int]  # shape-like facts, e.g. {"out_channels": 64, "in_channels": 32}
    after: dict[str, int]
    seed: int
    figures: dict[str, float] = Field(default_factory=dict)  # what the method found, e.g. {"damping": 0.01}
    note: str = ""  # what else there is to know


class Refused(Frozen):
    """One layer that was left alone, and why."""

    layer: str
    method: str
    reason: str


class Evidence(Frozen):
    """A statement about a package, what was measured for it, and under which assumptions.

    Attributes:
        kind: which question it answers, such as `metric` or `classes`; it says what `numbers` hold.
        claim: in words.
        numbers: figures and `Interval` dicts; where nothing was measured, `reason` alone.
        digests: what was compared, by SHA-256.
    """

    kind: str
    claim: str
    verdict: Verdict
    numbers: dict[str, Any] = Field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    digests: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def not_measured(cls, kind: str, claim: str, reason: str) -> "Evidence":
        """Return what is said where a question was not looked into, and why."""
        return cls(kind=kind, claim=claim, verdict="unknown", numbers={"reason": reason})

    @property
    def measured(self) -> bool:
        """Whether anything was."""
        return set(self.numbers) != {"reason"}


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
    """Two packages timed against each other.

    `ratio` is the median, over processes, of the median over rounds of (milliseconds of `small` /
    milliseconds of `original`): smaller is better. Its interval reaches from the least to the largest of the
    processes; with one process it is a bootstrap interval over its rounds, which is too narrow.
    """

    ratio: Interval
    original_ms: float  # medians; the ratio is not their quotient
    small_ms: float
    rounds: int  # in each process
    threads: int
    batch: int
    tier: str
    processes: int = 1
    original_precision: str = "f32"
    small_precision: str = "f32"
    cpu: str = ""

    @property
    def turns(self) -> str:
        """How often both ran, in words."""
        if self.processes == 1:
            return f"{self.rounds} paired rounds in one process"
        return f"{self.processes} processes of {self.rounds} paired rounds"


class WhatIf(Frozen):
    """One way to make a network faster, and what was measured.

    Attributes:
        candidate: such as `channels -50%`, `int8` or `csr 90% zeros`.
        timing: against the network as it stands, dense; None where the candidate cannot be built.
        predicted_ratio: what the cost table says of zeros.
        reason: why it cannot be built.
    """

    candidate: str
    timing: Timing | None = None
    predicted_ratio: float | None = None
    reason: str = ""

    @property
    def gains(self) -> bool:
        """Whether it is faster beyond doubt."""
        return self.timing is not None and self.timing.ratio.high < NO_GAIN


class LayerTime(Frozen):
    """Median time of one executed operation of the runtime."""

    layers: tuple[str, ...]  # the layers that the runtime fused into it, in order
    kind: str
    kernel: str
    milliseconds: float


class LayerRow(Frozen):
    """One layer of a network: what it costs, by shape."""

    layer: str
    op: str
    shape: tuple[int | None, ...]
    macs: int
    parameters: int
    bytes: int


class Candidate(Frozen):
    """One point that the search measured: a share of channels removed, and what it gave."""

    fraction: float  # share of the channels' rank order that was removed
    multiple: int  # channels kept in each group are a multiple of this where the group allows it
    parameters: int
    macs: int
    timing: Timing
    chosen: bool = False


class MixPoint(Frozen):
    """One mix of methods that was saved, timed, trained briefly and judged on the validation set."""

    mix: str  # in words
    track: str  # which kinds were allowed
    timing: Timing  # original against the mix
    forecast_ratio: float  # what was forecast before it was timed
    macs: int
    bytes: int
    parameters: int
    damage: float  # how far its answers are from the original's
    score: float  # the metric
    chosen: bool = False


class NetworkCard(Frozen):
    """A saved network by its figures."""

    path: str
    sha256: str
    bytes: int
    parameters: int
    macs: int
    zeros: int = 0  # of the parameters, those that the file leaves out

    @property
    def nonzeros(self) -> int:
        """How many parameters the file holds."""
        return self.parameters - self.zeros


class Epoch(Frozen):
    """The metric on the validation set after one epoch of recovery."""

    epoch: int
    metric: float


class RunRecord(Frozen):
    """Everything that a run found; the page and the terminal show nothing else."""

    title: str
    verdict: Literal["met", "missed"]
    reasons: tuple[str, ...]  # one plain sentence for each goal: what was asked, what was measured
    budget: dict[str, Any]
    method: dict[str, Any]
    quantize: dict[str, Any] = Field(default_factory=dict)  # settings of the rounding, where it was asked for
    seed: int
    original: NetworkCard
    package: NetworkCard
    timing: Timing  # original in fp32 against package
    switches: tuple[tuple[str, Timing], ...] = ()  # what a switch alone gains, e.g. bf16 on the original
    candidates: tuple[Candidate, ...] = ()
    mixes: tuple[MixPoint, ...] = ()
    layers_original: tuple[LayerRow, ...] = ()
    layers_package: tuple[LayerRow, ...] = ()
    times_original: tuple[LayerTime, ...] = ()
    times_package: tuple[LayerTime, ...] = ()
    changes: tuple[Change, ...] = ()
    refused: tuple[Refused, ...] = ()
    recovery: tuple[Epoch, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    data: dict[str, Any] = Field(default_factory=dict)  # sizes of the sets, metric, notes
    environment: dict[str, str] = Field(default_factory=dict)
    reproduce: tuple[str, ...] = ()  # commands
    not_tested: tuple[str, ...] = ()


class Plan(Frozen):
    """Which channels of which group go, and what was measured on the way to that choice."""

    method: dict[str, Any]  # name and settings
    remove: dict[str, tuple[int, ...]]  # group -> units
    budget: dict[str, Any] = Field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    mixes: tuple[MixPoint, ...] = ()  # of several methods, where they were weighed
