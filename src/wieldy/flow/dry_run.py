"""What a run would do and for how long, told by timing one of each of its pieces here."""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from wieldy.assure.equivalence import LEFT_OUT, examine
from wieldy.core.data import Arrays, Data, part
from wieldy.core.first import First
from wieldy.core.progress import Silent, Task
from wieldy.flow.mixed import BRIEF_SECONDS, MOST_EXAMPLES
from wieldy.flow.shrink import check_data, check_settings, first_input, own_timing
from wieldy.flow.state import ORIGINAL, Run
from wieldy.flow.training import rehearsal, trained
from wieldy.graph.cost import total_macs, total_parameters
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.registry import METHODS
from wieldy.package.save import save
from wieldy.plan.judge import LONGER
from wieldy.plan.planner import CURVE_PROCESSES, TRIES
from wieldy.plan.search import MULTIPLES, STEPS, STEPS_NEAR
from wieldy.plan.sensitivity import BLOCKS, CHANNELS, MOST, SECONDS, SHARES, ZEROS
from wieldy.runtime.tier import has_bf16
from wieldy.runtime.timing import PROCESSES
from wieldy.train.fit import evaluate

BATCHES = 3  # that are trained to tell how long all take
MOST_LEVELS = {  # of each layer
    "channels": len(CHANNELS), "rank": len(SHARES), "zeros": len(ZEROS), "blocks": len(BLOCKS),
}  # fmt: skip
RATES_TRIED, FINALISTS = 3, 2  # for each way down, and of all those that train longer; on average
RANKING_BATCHES = 40  # ten rounds of 512 examples
TRIED = TRIES / 2  # of the mixes that may be timed on the way to a goal, those that are, on average
ROUNDINGS = 8  # passes over the calibration examples, as judgements
EXAMINATIONS = 4  # passes over the test set: both networks, in torch and in the runtime
LOOKED_AT = 4  # examples that are corrupted, attacked and bounded to tell how long all take


@dataclass(frozen=True)
class Step:
    """One step of a run, and about how long it takes."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Pieces:
    """How long one of each piece of a run takes here, in seconds."""

    process: float  # of a timing
    batch: float  # of training
    judging: float  # of the validation set
    closer: float  # of all that is looked at closely


def forecast(run: Run, model: nn.Module) -> tuple[str, tuple[Step, ...]]:
    """Return what is known of a network, and the steps that a run would take.

    Nothing of it is written into the run's folder.

    Raises:
        InputError: whatever the run itself would refuse before it begins.
    """
    check_settings(run)
    network = trace(model, first_input(run.data))
    check_data(network, run.data)
    goals = f"{run.budget.goals()}, {run.budget.max_drop_points:g} points"
    return f"{facts_of(model, network, run.data)}; {goals}", _steps(run, network, _pieces(run, network))


def facts_of(model: nn.Module, network: GraphNetwork, data: Data) -> str:
    """Return in words how large a model is, and how many examples there are."""
    program = network.program
    return (
        f"{type(model).__name__}: {total_parameters(program):,} parameters, {total_macs(program):,} "
        f"multiply-accumulates; {data.train.size:,} training, {data.validate.size:,} validation and "
        f"{data.test.size:,} test examples"
    )


def _pieces(run: Run, network: GraphNetwork) -> Pieces:
    """Time one process, some batches of training and one judgement."""
    process = _seconds(lambda: own_timing(run, network))
    batch_size = run.recovery.fit.batch_size
    brief = rehearsal(run, BATCHES * batch_size)
    judged = First(run.data.validate, 1)
    brief.data = Data(brief.data.train, judged, run.data.test, metric=run.data.metric)
    training = _seconds(lambda: trained(brief, network, copy.deepcopy(network), {}))
    judging = _seconds(lambda: evaluate(network, run.data.validate, run.data))
    steps = brief.data.train.steps(batch_size)
    return Pieces(process, training / steps, judging, _closer_look(run, network))


class _Stopwatch(Silent):
    """A Progress that notes how many seconds each step took, by its name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Task]:  # noqa: ARG002 - a Progress's signature
        """Start the clock."""
        self._since = time.perf_counter()
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:  # noqa: ARG002 - a Task's signature
        """Stop the time of the step that ends, and start that of the next."""
        now = time.perf_counter()
        self.seconds[note], self._since = now - self._since, now


def _closer_look(run: Run, network: GraphNetwork) -> float:
    """Examine some examples of the network against itself, and return how long all of them would take.

    What a look costs before the first example is counted as though each of these had cost it: small networks
    take less than is told.
    """
    inputs, targets = next(iter(run.data.test.batches(LOOKED_AT)))
    some = Arrays(part(inputs, slice(LOOKED_AT)), part(targets, slice(LOOKED_AT)), run.data.metric.labels)
    data = Data(
        run.data.train, run.data.validate, some, metric=run.data.metric, normalisation=run.data.normalisation
    )
    asked: dict[str, int] = {kind: getattr(run.checks, kind) for kind in LEFT_OUT}
    looked_at = {kind: min(most, some.size) for kind, most in asked.items()}
    checks = run.checks.model_copy(update={**looked_at, "floors": {}})
    clock = _Stopwatch()
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        path = save(network, Path(folder) / ORIGINAL)
        examine(path, path, data, checks=checks, seed=run.seed, progress=clock)
    return sum(clock.seconds[kind] * asked[kind] / most for kind, most in looked_at.items() if most)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _steps(run: Run, network: GraphNetwork, pieces: Pieces) -> tuple[Step, ...]:
    """Return the steps of a run with their times."""
    stages = [
        replace(run, method=of.method, recovery=of.recovery, budget=of.budget, stages=()) for of in run.stages
    ]
    switches = 2 if has_bf16(run.tier) else 0
    ending = (1 + switches) * PROCESSES * pieces.process
    ending += EXAMINATIONS * pieces.judging * run.data.test.size / run.data.validate.size + pieces.closer
    return (
        *(step for stage in stages or [run] for step in _of_method(stage, network, pieces)),
        *([Step("rounding to eight bits", ROUNDINGS * pieces.judging)] if run.quantize else []),
        Step("measuring and examining the saved files", ending),
    )


def _of_method(run: Run, network: GraphNetwork, pieces: Pieces) -> tuple[Step, ...]:
    """Return the steps of one method: finding what goes, and training what is left."""
    training = run.recovery.fit.epochs * (
        run.data.train.steps(run.recovery.fit.batch_size) * pieces.batch + pieces.judging
    )
    return (*_choosing(run, network, pieces), Step("training what is left", training))


def _choosing(run: Run, network: GraphNetwork, pieces: Pieces) -> tuple[Step, ...]:
    """Return the steps by which a run finds what goes."""
    if run.planning is not None:
        layers = len(network.program.weighted_layers())
        levels = sum(MOST_LEVELS[kind] for kind in run.planning.kinds) * layers
        few = run.planning.examples or MOST_EXAMPLES
        brief = few / run.recovery.fit.batch_size * pieces.batch
        brief = (brief if run.planning.examples else min(BRIEF_SECONDS, brief)) + pieces.judging
        asking = levels * 2 * MOST * pieces.judging / run.data.validate.size
        tracks = len(run.planning.kinds) + (2 if run.planning.eight_bits else 1)
        weighing = tracks * (TRIED * PROCESSES * pieces.process + RATES_TRIED * brief)
        weighing += FINALISTS * LONGER * brief
        curve = run.planning.curve * (CURVE_PROCESSES * pieces.process + brief)
        return (
            Step("asking what each layer can spare", min(SECONDS, asking)),
            Step("weighing methods against each other", weighing),
            Step("measuring the trade-off", curve),
        )
    if METHODS[type(run.method)].shape != "score":
        return ()
    looks = METHODS[type(run.method)].needs_stats
    points = STEPS + 1 + (STEPS_NEAR + 1) * (len(MULTIPLES) - 1)
    return (
        Step("ranking channels", RANKING_BATCHES * pieces.batch if looks else 0.0),
        Step("searching by measured milliseconds", (points + 2 * PROCESSES) * pieces.process),
    )
