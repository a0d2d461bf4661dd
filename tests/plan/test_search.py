"""The search, with a clock that counts multiply-accumulates. tests/flow runs it with the real one."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from wieldy.compress.apply import apply_plan
from wieldy.core.errors import BudgetError
from wieldy.core.ledger import Ledger
from wieldy.core.records import Plan
from wieldy.graph.cost import total_macs
from wieldy.graph.network import GraphNetwork
from wieldy.graph.program_json import program_to_json
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.registry import METHODS
from wieldy.package.read import read
from wieldy.package.save import pack
from wieldy.plan.budget import Budget
from wieldy.plan.search import MULTIPLES, search_plan
from wieldy.runtime import measure
from wieldy.runtime.timing import PROCESSES
from wieldy.stats.collect import Stats

METHOD = MagnitudeConfig()
NS_PER_MAC = 1e-4


class Clock:
    """Stands in for the timing process: milliseconds are the multiply-accumulates of the saved files."""

    def __init__(self, floor: float = 0.0) -> None:
        self.asked: list[str] = []
        self.floor = floor

    def __call__(self, task: dict[str, Any], tier: str) -> dict[str, Any]:
        packages = [read(side["path"]) for side in task["sides"]]
        self.asked.append(packages[1].sha256)
        first, second = (self.floor + NS_PER_MAC * total_macs(package.program) for package in packages)
        ratio = second / first
        return {
            "ratio": {"value": ratio, "low": ratio, "high": ratio, "level": 0.95},
            "original_ms": first, "small_ms": second, "batch": 1,
        }  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measure, "_ask", clock)
    return clock


def found(network: GraphNetwork, budget: Budget, **options: Any) -> Plan:
    return search_plan(network, Stats(), budget, method=METHOD, threads=1, tier="avx2", **options)


def ratio_of(network: GraphNetwork, plan: Plan) -> float:
    return total_macs(apply_plan(network, plan).program) / total_macs(network.program)


@pytest.mark.parametrize("goal", [0.8, 0.5, 0.25])
def test_the_plan_meets_the_budget_with_little_to_spare(goal: float, clock: Clock) -> None:
    network = tiny.traced(16)
    plan = found(network, Budget(latency_ratio=goal))
    ratio = ratio_of(network, plan)
    assert 0.7 * goal < ratio <= goal
    assert plan.budget == Budget(latency_ratio=goal).model_dump()
    assert plan.method == {"name": "magnitude", "seed": 0, "norm": "l1"}


class Moody(Clock):
    """A clock whose processes differ: the one of the search is too quick, others are about right."""

    def __call__(self, task: dict[str, Any], tier: str) -> dict[str, Any]:
        answer = super().__call__(task, tier)
        alone = len(self.asked) < 2 or self.asked[-1] != self.asked[-2]
        factor = 0.93 if alone else 1.0 + 0.02 * (len(self.asked) % 2)
        answer["ratio"] = {name: factor * value for name, value in answer["ratio"].items()}
        return answer


@pytest.mark.parametrize("goal", [0.7, 0.4])
def test_what_one_process_promises_too_much_is_made_up_for(
    goal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny.traced(64)
    monkeypatch.setattr(measure, "_ask", Moody())
    plan = found(network, Budget(latency_ratio=goal))
    (chosen,) = [point for point in plan.candidates if point.chosen]
    assert chosen.timing.processes == PROCESSES
    assert chosen.timing.ratio.high <= goal
    assert 0.9 * goal < ratio_of(network, plan) <= goal
    assert any(point.timing.processes == 1 for point in plan.candidates)


def test_where_nothing_is_asked_of_time_no_share_is_timed_again(clock: Clock) -> None:
    plan = found(tiny.traced(16), Budget(macs_ratio=0.5))
    assert all(point.timing.processes == 1 for point in plan.candidates)


def test_milliseconds_are_met_as_well(clock: Clock) -> None:
    network = tiny.traced(16)
    goal = 0.5 * NS_PER_MAC * total_macs(network.program)
    plan = found(network, Budget(latency_ms=goal))
    assert 0.35 < ratio_of(network, plan) <= 0.5


@pytest.mark.parametrize("budget", [Budget(macs_ratio=0.6), Budget(bytes_ratio=0.6), Budget(bytes=20_000)])
def test_goals_of_size_are_met(budget: Budget, clock: Clock, tmp_path: Path) -> None:
    network = tiny.traced(16)
    small = apply_plan(network, found(network, budget))
    macs = total_macs(network.program), total_macs(small.program)
    sizes = len(pack(network)), len(pack(small))
    timing = measure.Timing(
        ratio={"value": 1, "low": 1, "high": 1},
        original_ms=1,
        small_ms=1,
        rounds=1,
        threads=1,
        batch=1,
        tier="avx2",
    )
    assert budget.reached(timing, macs, sizes)
    assert macs[1] < macs[0]


def test_the_point_with_the_most_multiply_accumulates_is_chosen(clock: Clock) -> None:
    network = tiny.traced(16)
    budget = Budget(latency_ratio=0.5)
    plan = found(network, budget)
    (chosen,) = [point for point in plan.candidates if point.chosen]
    meeting = [p for p in plan.candidates if p.timing.ratio.value <= 0.5]
    best = {multiple: max(p.macs for p in meeting if p.multiple == multiple) for multiple in MULTIPLES}
    assert chosen.macs == max(best.values()) == total_macs(apply_plan(network, plan).program)
    assert chosen.timing.ratio.value == pytest.approx(ratio_of(network, plan))


def test_a_judge_decides_among_the_points_of_each_multiple(clock: Clock) -> None:
    network = tiny.traced(16)
    seen: list[int] = []

    def fewest(small: GraphNetwork) -> float:
        seen.append(total_macs(small.program))
        return -seen[-1]

    plan = found(network, Budget(latency_ratio=0.5), judge=fewest)
    assert len(seen) == len(MULTIPLES)
    assert total_macs(apply_plan(network, plan).program) == min(seen)


def test_every_point_is_recorded_as_it_was_measured(clock: Clock) -> None:
    network = tiny.traced(16)
    plan = found(network, Budget(latency_ratio=0.5))
    assert {point.multiple for point in plan.candidates} == set(MULTIPLES)
    for point in plan.candidates:
        assert point.timing.ratio.value == pytest.approx(point.macs / total_macs(network.program))
    assert sum(point.chosen for point in plan.candidates) == 1


def test_a_goal_that_the_network_meets_as_it_is_removes_nothing(clock: Clock) -> None:
    assert found(tiny.traced(16), Budget(macs_ratio=1.0)).remove == {}


def test_the_network_is_untouched_and_the_same_plan_comes_back(clock: Clock) -> None:
    network = tiny.traced(16)
    before, program = tiny.state(network), program_to_json(network.program)
    one, two = (found(network, Budget(latency_ratio=0.5)) for _ in range(2))
    assert one == two
    assert tiny.state(network) == before
    assert program_to_json(network.program) == program


def test_equal_files_are_measured_once(clock: Clock) -> None:
    plan = found(tiny.traced(16), Budget(latency_ratio=0.5))
    once_more = PROCESSES  # for the one that is chosen
    assert len(clock.asked) == len(set(clock.asked)) + once_more < len(plan.candidates) + once_more


def test_a_replay_measures_nothing_and_gives_the_same_plan(clock: Clock, tmp_path: Path) -> None:
    first = found(tiny.traced(16), Budget(latency_ratio=0.5), ledger=Ledger(tmp_path))
    count = len(clock.asked)
    again = found(tiny.traced(16), Budget(latency_ratio=0.5), ledger=Ledger(tmp_path))
    assert len(clock.asked) == count
    assert again.to_json() == first.to_json()


def test_a_replay_believes_the_ledger_and_not_the_clock(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(tiny.traced(16), Budget(latency_ratio=0.5), ledger=Ledger(tmp_path))
    monkeypatch.setattr(measure, "_ask", Clock(floor=1e9))  # nothing would ever get faster
    assert found(tiny.traced(16), Budget(latency_ratio=0.5), ledger=Ledger(tmp_path)) == first


def test_a_search_that_was_cut_off_goes_on_where_it_stopped(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = found(tiny.traced(16), Budget(latency_ratio=0.5))
    total = len(clock.asked)

    def cut(task: dict[str, Any], tier: str) -> dict[str, Any]:
        if len(clock.asked) == total + 3:
            raise KeyboardInterrupt
        return clock(task, tier)

    monkeypatch.setattr(measure, "_ask", cut)
    with pytest.raises(KeyboardInterrupt):
        found(tiny.traced(16), Budget(latency_ratio=0.5), ledger=Ledger(tmp_path))
    monkeypatch.setattr(measure, "_ask", clock)
    assert found(tiny.traced(16), Budget(latency_ratio=0.5), ledger=Ledger(tmp_path)) == whole
    assert len(clock.asked) == 2 * total


def test_a_budget_out_of_reach_names_the_nearest_point(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.traced(16)
    clock = Clock(floor=NS_PER_MAC * total_macs(network.program))
    monkeypatch.setattr(measure, "_ask", clock)
    with pytest.raises(BudgetError, match=r"at most 10 % of the milliseconds cannot be met") as error:
        found(network, Budget(latency_ratio=0.1))
    assert error.value.exit_code == 1
    share = float(str(error.value).split("nearest point is ")[1].split()[0])
    assert 0.5 < share < 0.53


def test_files_that_were_timed_are_cleared_away(clock: Clock, tmp_path: Path) -> None:
    found(tiny.traced(16), Budget(latency_ratio=0.5), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["original.wieldy"]


BLIND = [method.name for method in METHODS.values() if method.shape == "score" and not method.needs_stats]


@pytest.mark.parametrize("name", BLIND)
def test_the_same_plan_comes_of_every_seeded_method_twice(name: str, clock: Clock) -> None:
    kind = next(kind for kind, method in METHODS.items() if method.name == name)
    one, two = (
        search_plan(
            tiny.traced(16), Stats(), Budget(macs_ratio=0.5), method=kind(seed=3), threads=1, tier="avx2"
        )
        for _ in range(2)
    )
    assert one == two
