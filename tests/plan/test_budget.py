"""Goals: refused where they say nothing or two things, and judged without rounding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wieldy.core.errors import ConfigError
from wieldy.core.records import Interval, Timing
from wieldy.plan.budget import Budget, parse_goal, parse_latency


def timing(ratio: float, milliseconds: float = 1.0) -> Timing:
    interval = Interval(value=ratio, low=ratio, high=ratio)
    return Timing(
        ratio=interval, original_ms=2.0, small_ms=milliseconds, rounds=2, threads=1, batch=1, tier="avx2"
    )


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({}, "at least one goal"),
        ({"max_drop_points": 2.0}, "at least one goal"),
        ({"latency_ratio": 0.5, "latency_ms": 1.0}, "latency_ratio or latency_ms, not both"),
        ({"bytes_ratio": 0.5, "bytes": 1000}, "bytes_ratio or bytes, not both"),
        ({"latency_ratio": 0.0}, "latency_ratio: input should be greater than 0; got 0.0"),
        ({"latency_ratio": 1.01}, "latency_ratio: input should be less than or equal to 1; got 1.01"),
        ({"latency_ratio": -0.5}, "latency_ratio"),
        ({"latency_ratio": float("nan")}, "latency_ratio"),
        ({"latency_ms": 0.0}, "latency_ms"),
        ({"latency_ms": float("inf")}, "latency_ms"),
        ({"macs_ratio": 2.0}, "macs_ratio"),
        ({"bytes_ratio": 50}, "bytes_ratio"),
        ({"bytes": 0}, "bytes"),
        ({"bytes": 10.5}, "bytes"),
        ({"latency_ratio": 0.5, "max_drop_points": -1.0}, "max_drop_points"),
        ({"latency_ratio": 0.5, "max_drop_points": 101.0}, "max_drop_points"),
        ({"latency_ratio": 0.5, "latency": 1}, "latency"),
    ],
)
def test_goals_that_cannot_be_meant_are_refused(fields: dict[str, float], rule: str) -> None:
    with pytest.raises(ConfigError, match="Budget") as error:
        Budget(**fields)
    assert rule in str(error.value)


def test_budget_is_the_same_after_json() -> None:
    budget = Budget(latency_ms=0.5, macs_ratio=0.4, bytes=1000, max_drop_points=0.5)
    assert Budget.from_json(budget.to_json()) == budget
    assert Budget(**budget.model_dump()) == budget


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("50%", {"latency_ratio": 0.5}),
        (" 12.5 % ", {"latency_ratio": 0.125}),
        ("0.5ms", {"latency_ms": 0.5}),
        ("3 ms", {"latency_ms": 3.0}),
    ],
)
def test_a_share_or_a_time_is_read(text: str, wanted: dict[str, float]) -> None:
    assert parse_latency(text) == wanted


@pytest.mark.parametrize("text", ["0.5", "50", "", "%", "ms", "-1ms", "5s", "50%ms", "1e3ms", "half", "5 0%"])
def test_anything_else_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ConfigError, match=r"50% or a time such as 0\.5ms") as error:
        parse_latency(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("name", ["latency", "macs", "bytes"])
@pytest.mark.parametrize("percent", ["0", "100.5"])
def test_a_share_out_of_range_is_refused_by_the_name_it_was_given(name: str, percent: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: a share must be above 0 % .* got {percent} %"):
        parse_goal(name, f"{percent}%")


def test_a_time_of_nothing_is_refused_by_the_budget() -> None:
    with pytest.raises(ConfigError, match="latency"):
        Budget(**parse_latency("0ms"))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("latency", "50%", {"latency_ratio": 0.5}),
        ("macs", "40 %", {"macs_ratio": 0.4}),
        ("bytes", "12.5%", {"bytes_ratio": 0.125}),
        ("bytes", 12000, {"bytes": 12000}),
        ("bytes", "12000", {"bytes": "12000"}),
    ],
)
def test_goals_may_be_written_as_shares(name: str, value: object, wanted: dict[str, object]) -> None:
    assert parse_goal(name, value) == wanted
    assert Budget(**wanted).goals()


@pytest.mark.parametrize(
    ("name", "value"), [("macs", 0.4), ("macs", "12000"), ("bytes", "1.5MB"), ("bytes", True), ("bytes", -3)]
)
def test_a_goal_that_could_mean_anything_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name}: must be a share such as 20%"):
        parse_goal(name, value)


def test_goals_are_one_phrase_and_not_rounded() -> None:
    assert Budget(latency_ratio=0.505).goals() == "at most 50.5 % of the milliseconds"
    assert Budget(latency_ratio=0.57).goals() == "at most 57 % of the milliseconds"
    whole = Budget(latency_ms=0.25, macs_ratio=0.004, bytes_ratio=0.5)
    assert whole.goals() == (
        "at most 0.25 ms, at most 0.4 % of the multiply-accumulates, at most 50 % of the bytes"
    )
    assert Budget(bytes=12_345).goals() == "at most 12,345 bytes"


@pytest.mark.parametrize(
    ("budget", "ratio", "milliseconds", "macs", "size", "reached"),
    [
        (Budget(latency_ratio=0.5), 0.5, 9.0, 100, 100, True),
        (Budget(latency_ratio=0.5), 0.5001, 0.1, 1, 1, False),
        (Budget(latency_ms=1.0), 2.0, 1.0, 100, 100, True),
        (Budget(latency_ms=1.0), 0.1, 1.001, 1, 1, False),
        (Budget(macs_ratio=0.5), 2.0, 9.0, 50, 100, True),
        (Budget(macs_ratio=0.5), 0.1, 0.1, 51, 1, False),
        (Budget(bytes_ratio=0.5), 2.0, 9.0, 100, 50, True),
        (Budget(bytes_ratio=0.5), 0.1, 0.1, 1, 51, False),
        (Budget(bytes=50), 2.0, 9.0, 100, 50, True),
        (Budget(bytes=50), 0.1, 0.1, 1, 51, False),
        (Budget(latency_ratio=0.5, macs_ratio=0.5), 0.5, 1.0, 51, 1, False),
        (Budget(latency_ratio=0.5, macs_ratio=0.5), 0.6, 1.0, 50, 1, False),
    ],
)
def test_every_goal_has_to_be_met(
    budget: Budget, ratio: float, milliseconds: float, macs: int, size: int, reached: bool
) -> None:
    assert budget.reached(timing(ratio, milliseconds), (100, macs), (100, size)) is reached


@given(ratio=st.floats(0.01, 1), spread=st.floats(1, 2))
def test_to_be_sure_is_asked_of_goals_of_time_alone(ratio: float, spread: float) -> None:
    wide = timing(ratio, milliseconds=2 * ratio)
    wide = wide.model_copy(update={"ratio": Interval(value=ratio, low=ratio / spread, high=ratio * spread)})
    for budget in (Budget(latency_ratio=0.5), Budget(latency_ms=1.0)):
        over = budget.time_over_goal(wide, surely=True)
        assert over == pytest.approx(2 * ratio * spread)
        assert budget.reached(wide, (1, 1), (1, 1), surely=True) is (over <= 1)
        assert budget.asks_time
    sizes = Budget(macs_ratio=0.5, bytes=1)
    assert sizes.reached(wide, (2, 1), (1, 1), surely=True)
    assert not sizes.asks_time
    assert sizes.time_over_goal(wide) == 0


def test_a_goal_of_time_is_judged_by_the_middle_unless_it_has_to_be_sure() -> None:
    wide = timing(0.5).model_copy(update={"ratio": Interval(value=0.5, low=0.4, high=0.6)})
    assert Budget(latency_ratio=0.5).reached(wide, (1, 1), (1, 1))
    assert not Budget(latency_ratio=0.5).reached(wide, (1, 1), (1, 1), surely=True)
