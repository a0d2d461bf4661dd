"""Every pruning method beside random and magnitude: equal bytes, equal milliseconds, equal epochs.

    python benchmarks/prune.py [--subjects lenet300 lenet5 embedded] [--seeds 3] [--only lobs ssl] [--tier T]

Bench tier: Fashion-MNIST, the first 20,000 training pictures and all 10,000 test ones (`make data`). A method
has one dial; it is turned until the saved file has the bytes asked for (LeNets), or until it takes the
milliseconds asked for (the embedded network), to within the tolerance, and every try is trained anew for as
many epochs as every other method's. Where to begin is told by the tries of other seeds, else by rehearsals:
the same method on few pictures, over the whole range of its dial and then near the goal; what they promised
too much carries over to the next try.

A row is kept as soon as it is measured; started again, the script goes on where it stopped, on another CPU
too, since every figure is a ratio to the original beside it and names its CPU. Writes prune-TIER.json with
machine, tier, versions and commit; losses are kept.
"""

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from importance import commit
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from wieldy.compress.apply import apply_plan
from wieldy.compress.quantize import first_examples
from wieldy.compress.storage import smallest_formats
from wieldy.compress.surgeon import operate
from wieldy.core import rng
from wieldy.core.data import Arrays, Data
from wieldy.core.files import write_atomic
from wieldy.core.records import Plan
from wieldy.flow.reduce import SURGERY_EXAMPLES, found_in_training, hook_for
from wieldy.flow.state import prepared
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import Hook, MethodConfig
from wieldy.methods.prune.directional import DirectionalConfig
from wieldy.methods.prune.guided import GuidedConfig
from wieldy.methods.prune.lobs import LobsConfig
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.pivot import PivotConfig
from wieldy.methods.prune.random import RandomConfig
from wieldy.methods.prune.spp import SppConfig
from wieldy.methods.prune.ssl import SslConfig
from wieldy.methods.prune.taylor import TaylorConfig
from wieldy.methods.prune.zeros import ZerosConfig, sparse_layers
from wieldy.methods.registry import settings_of
from wieldy.methods.share.unify import Unify, UnifyConfig
from wieldy.package.save import save
from wieldy.plan.ranking import ranked
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import check_tier, cpu_name, current_tier
from wieldy.runtime.timing import PROCESSES
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.train.mask import Mask
from wieldy.train.recalibrate import recalibrate
from wieldy.zoo.data import fashion
from wieldy.zoo.networks.lenet import Lenet5, Lenet300, seeded
from wieldy.zoo.networks.residual import residual28

TRAINING, REHEARSAL = 20_000, 400  # pictures
TOLERANCE = 0.08  # below the goal
SOME = 3  # processes that time a rehearsal: one alone may be off by a quarter
MANY = 3 * PROCESSES  # a median of six strays by a few percent, and a miss costs another training
AIM = 1 - TOLERANCE / 2
NOISE = 0.02  # by which ratios of two tries differ though nothing else does
GRID, REFINED = 6, 3  # settings of the dial that are rehearsed: over its range, and then near the goal
Small = Callable[["Case", float], GraphNetwork]


@dataclass(frozen=True)
class Goal:
    """A network, what has to be equal, how it learns again, and how often the dial is turned."""

    name: str
    of: str  # bytes or milliseconds, over the original's
    share: float
    fit: FitConfig
    tries: int


GOALS = (
    Goal("lenet300", "bytes", 0.1, FitConfig(epochs=5, learning_rate=0.02), tries=10),
    Goal("lenet5", "bytes", 0.1, FitConfig(epochs=5, learning_rate=0.02), tries=10),
    Goal("embedded", "milliseconds", 0.5, FitConfig(epochs=3, learning_rate=0.02, precision="bf16"), tries=4),
)


@dataclass(frozen=True)
class Case:
    """One network with one seed, for one tier."""

    goal: Goal
    seed: int
    network: GraphNetwork
    data: Data
    tier: str
    accuracy: float  # on the test pictures

    def rehearsal(self) -> "Case":
        """Return the same with few pictures to train on."""
        assert isinstance(self.data.train, Arrays)
        few = self.data.train.take(np.arange(REHEARSAL))
        return replace(self, data=Data(few, few, few, classes=self.data.classes))

    @property
    def haste(self) -> float:
        """How many times fewer steps there are than in earnest; a penalty has to be that much larger."""
        assert isinstance(self.data.train, Arrays)
        return TRAINING / self.data.train.size

    def trained(self, network: GraphNetwork, hook: Hook | None = None, **how: Any) -> GraphNetwork:
        """Train as every method does, for all epochs where `how` does not say otherwise."""
        recalibrate(network, self.data.train, seed=self.seed)
        config = self.goal.fit.model_copy(update={"seed": self.seed} | how)
        return fit(network, self.data, *([hook] if hook else []), config=config)


@dataclass(frozen=True)
class Entry:
    """A method with its dial: what it is turned from and to, larger for a smaller network."""

    name: str
    small: Small
    low: float
    high: float
    penalty: bool = False  # turned by factors, and what it does grows with the steps
    rehearsal: Small | None = None  # what is as small and takes less time to find

    def dials(self) -> NDArray[np.float64]:
        """Return what is rehearsed."""
        return (np.geomspace if self.penalty else np.linspace)(self.low, self.high, GRID)

    def scale(self, dial: Any) -> NDArray[np.float64]:
        """Return dials, or one, on the scale on which they are turned."""
        return np.log(dial) if self.penalty else np.asarray(dial)

    def dial(self, place: float) -> float:
        """Return the dial at a place on that scale."""
        return float(np.exp(place)) if self.penalty else float(place)


def channels(kind: type[MethodConfig]) -> Small:
    """Channels in the order of an importance."""

    def small(case: Case, dial: float) -> GraphNetwork:
        config = kind(seed=case.seed)
        ranking = ranked(case.network, case.data, config)
        plan = Plan(method=settings_of(config), remove=ranking.removal(dial, 1))
        return case.trained(apply_plan(case.network, plan))

    return small


def zeros_by_magnitude(case: Case, dial: float) -> GraphNetwork:
    """Small weights become zero while the network trains."""
    config = ZerosConfig(sparsity=dial, seed=case.seed)
    return case.trained(copy.deepcopy(case.network), Mask(layers_of(case), config))


def zeros_at_random(case: Case, dial: float) -> GraphNetwork:
    """Weights become zero at random, at once."""
    network = copy.deepcopy(case.network)
    draw = rng.generator(case.seed, "benchmarks", "random zeros")
    with torch.no_grad():
        for layer in layers_of(case):
            weight = network.tensor(f"{layer}.weight")
            goes = draw.random(weight.numel()).argsort()[: round(dial * weight.numel())]
            weight.view(-1)[torch.from_numpy(goes)] = 0
    return case.trained(network, Mask(layers_of(case)))


def surgery(case: Case, dial: float) -> GraphNetwork:
    """Optimal brain surgery, then training."""
    scope = "layer" if case.goal.name == "embedded" else "network"
    config = LobsConfig(sparsity=dial, seed=case.seed, scope=scope)
    small, _ = operate(case.network, first_examples(case.data, SURGERY_EXAMPLES), config, layers_of(case))
    return case.trained(small, Mask(layers_of(case)))


def hooked(make: Callable[[float, int], MethodConfig]) -> Small:
    """A method that finds its structure in training, and settles after it."""

    def hook(case: Case, dial: float) -> Hook:
        return hook_for(make(dial, case.seed), threads=usable_cores(), tier=case.tier)

    return in_training(hook)


def unified(case: Case, dial: float) -> Hook:
    """Blocks of one magnitude in all layers but the last: left to itself, the method spares the first too."""
    return Unify(UnifyConfig(pruned=dial, seed=case.seed), layers_of(case)[:-1])


def in_training(hook_of: Callable[[Case, float], Hook]) -> Small:
    """Train with a hook, take out what is dead, and settle."""

    def small(case: Case, dial: float) -> GraphNetwork:
        hook = hook_of(case, dial)
        rate = case.goal.fit.learning_rate
        if hook.needs.get("momentum") == 0:  # the same step without it
            rate /= 1 - case.goal.fit.momentum

        def train(small: GraphNetwork, hook: Hook, epochs: int, settling_rate: float | None) -> GraphNetwork:
            how: dict[str, Any] = {"epochs": epochs, "learning_rate": rate} | hook.needs
            if settling_rate is not None:
                how |= {"learning_rate": settling_rate * rate, "seed": case.seed + 1}
            return case.trained(small, hook, **how)

        return found_in_training(case.network, hook, case.goal.fit.epochs, train)[0]

    return small


def layers_of(case: Case) -> tuple[str, ...]:
    """All layers of a LeNet; of the embedded network those that zeros can make faster."""
    if case.goal.of == "bytes":
        return tuple(case.network.program.weighted_layers())
    return sparse_layers(case.network)[0]


ENTRIES = (
    Entry("random channels", channels(RandomConfig), 0.05, 0.98),
    Entry("magnitude channels", channels(MagnitudeConfig), 0.05, 0.98),
    Entry("taylor channels", channels(TaylorConfig), 0.05, 0.98),
    Entry("random zeros", zeros_at_random, 0.2, 0.995),
    Entry("magnitude zeros", zeros_by_magnitude, 0.2, 0.995),
    Entry("lobs", surgery, 0.2, 0.995, rehearsal=zeros_by_magnitude),
    Entry("ssl", hooked(lambda dial, seed: SslConfig(penalty=dial, seed=seed)), 0.003, 3.0, True),
    Entry("ssl columns",
          hooked(lambda dial, seed: SslConfig(penalty=dial, seed=seed, structure="columns")), 0.003, 3, True),
    Entry("spp", hooked(lambda dial, seed: SppConfig(ratio=dial, seed=seed)), 0.2, 0.99),
    Entry("spp filters",
          hooked(lambda dial, seed: SppConfig(ratio=dial, seed=seed, structure="filters")), 0.2, 0.98),
    Entry("directional", hooked(lambda dial, seed: DirectionalConfig(sparsity=dial, seed=seed)), 0.1, 0.98),
    Entry("pivot", hooked(lambda dial, seed: PivotConfig(sparsity=dial, seed=seed)), 0.2, 0.99),
    Entry("guided",
          hooked(lambda dial, seed: GuidedConfig(penalty=dial, seed=seed, bytes_weight=1)), 0.1, 40.0, True),
    Entry("unify", in_training(unified), 0.0, 0.98),
)  # fmt: skip
STORAGE = ("unify",)  # saves bytes alone, so it stands in no comparison at equal milliseconds


def main() -> None:
    """Measure what is missing and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subjects", nargs="+", default=[goal.name for goal in GOALS])
    parser.add_argument("--only", nargs="+", default=[entry.name for entry in ENTRIES])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tier", default=current_tier())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    check_tier(asked.tier)
    torch.set_num_threads(usable_cores())
    path = prepared(asked.out) / f"prune-{asked.tier}.json"
    kept = json.loads(path.read_text()) if path.is_file() else {"rows": [], "seconds": 0.0}
    done = {(row["subject"], row["method"], row["seed"]) for row in kept["rows"]}
    goals = [goal for goal in GOALS if goal.name in asked.subjects]
    entries = [entry for entry in ENTRIES if entry.name in asked.only]
    missing = [
        (goal, seed, entry) for goal in goals for seed in range(asked.seeds) for entry in entries
        if (goal.name, entry.name, seed) not in done
        and not (goal.of == "milliseconds" and entry.name in STORAGE)
    ]  # fmt: skip
    for goal, seed, entry in missing:
        start = time.perf_counter()
        row = {"subject": goal.name, "method": entry.name, "seed": seed}
        others = {
            dial: share
            for one in kept["rows"] if (one["subject"], one["method"]) == (goal.name, entry.name)
            for dial, share, _ in one["tries"]
        }  # fmt: skip
        row |= best_row(case_of(goal, seed, asked.tier), entry, others)
        row |= {"cpu": cpu_name(), "seconds": time.perf_counter() - start, "commit": commit()}
        kept["rows"].append(row)
        kept["seconds"] += row["seconds"]
        kept |= {"tier": asked.tier, "environment": environment(usable_cores())}
        write_atomic(path, (json.dumps(kept, indent=1) + "\n").encode())
        print(json.dumps(row), flush=True)
    print(f"{path}: {len(kept['rows'])} rows, {kept['seconds'] / 60:.0f} minutes in all")


@cache
def pictures() -> Data:
    """Return the bench tier."""
    whole = fashion.full()
    assert isinstance(whole.train, Arrays)
    return Data(whole.train.take(np.arange(TRAINING)), whole.validate, whole.test, classes=whole.classes)


@cache
def case_of(goal: Goal, seed: int, tier: str) -> Case:
    """Return a trained network with its data."""
    example, data = torch.zeros(1, 1, 28, 28), pictures()
    if goal.name == "embedded":
        network = trace(residual28(), example)
    else:
        kind = Lenet300 if goal.name == "lenet300" else Lenet5
        config = FitConfig(epochs=12, learning_rate=0.05, seed=seed)
        network = trace(fit(seeded(kind, seed), data, config=config), example)
    return Case(goal, seed, network, data, tier, evaluate(network, data.test, data))


@cache
def rehearsed(goal: Goal, entry: Entry, tier: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return dials, and over the original's what each share is with few pictures; it does not rise."""
    case, aim = case_of(goal, 0, tier).rehearsal(), AIM * goal.share

    def heard(dial: float, processes: int) -> float:
        small = (entry.rehearsal or entry.small)(case, dial * case.haste if entry.penalty else dial)
        return share(saved(case, small, processes))

    shares = {float(dial): heard(float(dial), SOME) for dial in entry.dials()}
    for _ in range(REFINED):
        dial = dial_for(aim, entry, *falling(shares))
        if dial in shares:
            break
        shares[dial] = heard(dial, MANY)
        if abs(shares[dial] / aim - 1) < TOLERANCE / 4:
            break
    return falling(shares)


def falling(shares: dict[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return dials in their order, and the shares nearest to those found that do not rise."""
    dials = sorted(shares)
    return np.array(dials), isotonic_regression([shares[dial] for dial in dials], increasing=False).x


def dial_for(goal: float, entry: Entry, dials: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """Return the dial that gives a share, between those that are known: shares fall by factors."""
    return entry.dial(np.interp(np.log(goal), np.log(shares[::-1]), entry.scale(dials)[::-1]))


def best_row(case: Case, entry: Entry, others: dict[float, float]) -> dict[str, Any]:
    """Turn the dial until the goal is reached; return the try that is nearest below it.

    Args:
        others: dials and shares of tries with other seeds.
    """
    goal = case.goal.share
    tries: list[dict[str, Any]] = []
    while len(tries) < case.goal.tries:
        dial = next_dial(case, entry, tries, others)
        if any(np.isclose(dial, one["dial"], rtol=1e-4) for one in tries):
            break  # no dial is nearer
        small = entry.small(case, dial)
        tries.append({"dial": dial} | saved(case, small, MANY) | judged(case, small))
        if (1 - TOLERANCE) * goal <= tries[-1]["share"] <= goal:
            break
    reached = [one for one in tries if one["share"] <= goal]
    best = max(reached, key=share) if reached else min(tries, key=share)
    tried = [(one["dial"], one["share"], one["drop_points"]) for one in tries]
    return best | {"reached": bool(reached), "tries": tried, "epochs": case.goal.fit.epochs}


def share(one: dict[str, Any]) -> float:
    """Return what a try has over the original's."""
    return float(one["share"])


def next_dial(case: Case, entry: Entry, tries: Sequence[dict[str, Any]], others: dict[float, float]) -> float:
    """Return the next setting: between tries on both sides of the goal, else where two on one side point.

    Before there are two, other seeds tell, or where they cannot, the rehearsals; by how much the try missed
    what they promised is kept in mind.
    """
    goal = AIM * case.goal.share
    above = [one for one in tries if share(one) > case.goal.share]
    below = [one for one in tries if share(one) <= case.goal.share]
    if above and below:
        ends = min(above, key=share), max(below, key=share)
        return dial_for(goal, entry, *falling({one["dial"]: share(one) for one in ends}))
    if len(tries) >= 2:
        return beyond(goal, entry, tries)
    if others:
        dial = promised_dial(goal, entry, tries, *falling(others))
        if not any(np.isclose(dial, one["dial"], rtol=1e-4) for one in tries):
            return dial
    return promised_dial(goal, entry, tries, *rehearsed(case.goal, entry, case.tier))


def promised_dial(
    goal: float, entry: Entry, tries: Sequence[dict[str, Any]], dials: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> float:  # fmt: skip
    """Return the dial that promises a share, once the promise is put right by what was tried."""
    for one in tries:
        promised = np.exp(np.interp(entry.scale(one["dial"]), entry.scale(dials), np.log(shares)))
        goal *= float(promised) / share(one)
    return dial_for(goal, entry, dials, shares)


def beyond(goal: float, entry: Entry, tries: Sequence[dict[str, Any]]) -> float:
    """Return where a line through the last two tries meets the goal, at most twice their step beyond.

    Where they differ by no more than timings do, it is one step of the rehearsals away.
    """
    first, second = (float(entry.scale(one["dial"])) for one in tries[-2:])
    fall, missed = (float(np.log(share(tries[-1]) / of)) for of in (share(tries[-2]), goal))
    step, (low, high) = second - first, entry.scale(np.array([entry.low, entry.high]))
    if fall * step < 0 and abs(fall) > NOISE:
        more = np.clip(-step * missed / fall, -2 * abs(step), 2 * abs(step))
    else:
        more = np.sign(missed) * (high - low) / (GRID - 1)
    return entry.dial(np.clip(second + more, low, high))


def saved(case: Case, small: GraphNetwork, processes: int) -> dict[str, Any]:
    """Save, and weigh or time beside the original."""
    with tempfile.TemporaryDirectory() as folder:
        first = save(case.network, Path(folder) / "original.wieldy")
        second = save(small, Path(folder) / "small.wieldy", formats=smallest_formats(small))
        sizes = [path.stat().st_size for path in (first, second)]
        found: dict[str, Any] = {"bytes_ratio": sizes[1] / sizes[0], "share": sizes[1] / sizes[0]}
        if case.goal.of == "milliseconds":
            timing = measure(Subject(first), Subject(second), tier=case.tier, processes=processes)
            found |= {"timing": timing.model_dump(), "share": timing.ratio.value}
    return found


def judged(case: Case, small: GraphNetwork) -> dict[str, Any]:
    """Return accuracies on the test pictures."""
    after = evaluate(small, case.data.test, case.data)
    return {"original": case.accuracy, "accuracy": after, "drop_points": 100 * (case.accuracy - after)}


if __name__ == "__main__":
    main()
