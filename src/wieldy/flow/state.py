"""What one run carries from step to step, and the files that it leaves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from wieldy.assure.checks import Checks
from wieldy.assure.signature import evidence_path
from wieldy.core.config import Frozen
from wieldy.core.data import Data
from wieldy.core.errors import ConfigError, StorageError
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress
from wieldy.core.records import Change, Plan, Refused
from wieldy.graph.network import GraphNetwork
from wieldy.methods.contract import MethodConfig
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.plan.budget import Budget
from wieldy.plan.mix import KINDS, Kind
from wieldy.runtime.measure import Quiet
from wieldy.train.fit import FitConfig
from wieldy.train.watch import Log

ORIGINAL, PACKAGE = "original.wieldy", "small.wieldy"
EVIDENCE = evidence_path(Path(PACKAGE)).name
RECORD, PAGE = "record.json", "report.html"
TRAINING = "training"  # the state of trainings, while a run is unfinished
MEASURED = ("timing", "layers", "pace")
Account = tuple[tuple[Change, ...], tuple[Refused, ...]]  # what became of every layer
NOT_TESTED = (
    "other machines than this one, and tiers that are not named here",
    "memory use and start-up time",
)


class Recovery(Frozen):
    """How the small network learns again after channels went."""

    fit: FitConfig = FitConfig(epochs=5, learning_rate=0.01)
    distill_weight: float = Field(default=1.0, ge=0)  # 0: without the original's help
    temperature: float = 4.0
    feature_weight: float = Field(default=10.0, ge=0)  # of its hidden values; 0: its answers alone
    augment: bool = False  # mirror and shift, for pictures where neither changes the label
    rounds: int = Field(
        default=1, ge=1
    )  # in which the channels that go do; each trains its part of the epochs
    early_stop: int | None = Field(default=None, ge=1)  # epochs in a row that may fail to be better
    rounded_epochs: int = Field(default=0, ge=0)  # the last of them, with all rounded, where it shall be

    @model_validator(mode="after")
    def _trains_before_it_rounds(self) -> Self:
        if self.rounded_epochs >= self.fit.epochs:
            raise ValueError(
                "rounded_epochs must be fewer than fit.epochs, whose last they are; got "
                f"{self.rounded_epochs} of {self.fit.epochs}"
            )
        return self

    def seeded(self, seed: int) -> Self:
        """Return these settings with another seed for the training."""
        return self.model_copy(update={"fit": self.fit.model_copy(update={"seed": seed})})


class Planning(Frozen):
    """What a run's planner may mix, and how it weighs.

    Attributes:
        kinds: channels, rank, zeros, and blocks (zeros in blocks of four input channels, in eight bits).
        eight_bits: whether all may be rounded, too.
        keep: layers that stay as they are: names, types such as `Conv2d`, or `re:` and an expression.
        examples: of the training set, for the brief training by which mixes are judged; None: as many as
            train here in five seconds, up to 5,120.
        curve: points of the trade-off that are measured around the choice.
    """

    kinds: tuple[Kind, ...] = KINDS
    eight_bits: bool = True
    keep: tuple[str, ...] = ()
    examples: int | None = Field(default=None, ge=1)
    curve: int = Field(default=8, ge=0)

    def settings(self) -> dict[str, Any]:
        """Return these settings as records hold them, a name first."""
        return {"name": "mix"} | self.model_dump()


@dataclass(frozen=True)
class Stage:
    """One of several methods that a run goes through, with its goals and the training after it."""

    method: MethodConfig
    budget: Budget
    recovery: Recovery


@dataclass
class Run:
    """Everything that one run carries from step to step."""

    folder: Path
    data: Data
    budget: Budget
    method: MethodConfig
    recovery: Recovery
    seed: int
    threads: int
    tier: str
    batch: int | None
    title: str
    recipe: dict[str, Any]
    reproduce: tuple[str, ...]
    ledger: Ledger
    progress: Progress
    quantize: IntegerConfig | None = None  # how the small network is rounded, if it is
    watch: Log | None = None  # is handed the scalars of every training
    planning: Planning | None = None  # instead of one method, the planner's own mix
    accept: Callable[[GraphNetwork], bool] | None = None  # may refuse a mix
    stages: tuple[Stage, ...] = ()  # instead of one method, several in order
    teacher: GraphNetwork | None = None  # of what is trained; None: the network that a method began with
    zeros_stay: bool = False  # whether weights that are zero before a training are so after it
    quiet: Quiet = field(default_factory=Quiet)  # what the original takes while nobody else is there
    checks: Checks = field(default_factory=Checks)  # how closely the saved files are looked at
    brief: bool = False  # whether trainings are rehearsals, whose state need not outlive a crash

    @property
    def settings(self) -> dict[str, Any]:
        """What every measurement is taken with."""
        return {"threads": self.threads, "batch": self.batch, "tier": self.tier, "ledger": self.ledger}

    @property
    def epochs(self) -> int:
        """How many a network trains before it is rounded, if it is."""
        rounded = self.recovery.rounded_epochs if self.quantize else 0
        return self.recovery.fit.epochs - rounded

    @property
    def checkpoints(self) -> Path | None:
        """Where the state of its trainings is kept while it is unfinished."""
        return None if self.brief else self.folder / TRAINING


@dataclass(frozen=True)
class Reduced:
    """A smaller network, what was planned, what became of every layer, and how its weights are stored."""

    network: GraphNetwork
    plan: Plan
    accounted: Account
    formats: dict[str, str] | None = None


def opened_ledger(folder: Path, replay: str | Path | None, *, resumed: bool = False) -> Ledger:
    """Return a fresh ledger in `folder`, holding the measurements of the run to be replayed, if any.

    Args:
        resumed: return the one that an unfinished run left there instead.
    """
    if resumed:
        return Ledger(folder, unfinished=True)
    if replay is None:
        return Ledger(folder, fresh=True)
    if not (Path(replay) / "ledger.jsonl").is_file():
        raise ConfigError(
            f"{replay}: holds no ledger.jsonl, so there is nothing to replay. Name a run's folder."
        )
    earlier = Ledger(Path(replay))
    ledger = Ledger(folder, fresh=True)
    ledger.adopt(earlier, MEASURED)
    return ledger


def prepared(folder: Path) -> Path:
    """Make the folder of a run.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror}). Choose another folder.") from None
    return folder
