"""A floor holds or fails by the figure that it names; what was not measured fails it."""

import pytest

from wieldy.assure.checks import Checks
from wieldy.assure.floors import FIGURES, judged, limit_of, parse_floor
from wieldy.core.errors import ConfigError
from wieldy.core.records import Evidence, Interval

FLIPS = {"flip_share": Interval(value=0.012, low=0.01, high=0.015).model_dump()}


def change(value: float) -> dict[str, float]:
    return Interval(value=value, low=value - 1, high=value + 1).model_dump()


def of_kind(kind: str, numbers: dict) -> Evidence:
    return Evidence(kind=kind, claim="a claim", verdict="proved", numbers=numbers)


EVIDENCE = (
    of_kind("predictions", FLIPS),
    of_kind("classes", {"classes": [{"change_points": change(-3.0)}, {"change_points": change(2.0)}]}),
    Evidence.not_measured("corruptions", "accuracy under corruptions is kept", "inputs are no pictures"),
)


@pytest.mark.parametrize(("limit", "verdict"), [("1.2%", "proved"), ("1.1%", "refuted"), (0.5, "proved")])
def test_the_measured_value_decides(limit: str | float, verdict: str) -> None:
    (floor,) = judged(EVIDENCE, Checks(floors={"flips": limit}).limits())
    assert (floor.kind, floor.verdict) == ("floor", verdict)
    assert floor.numbers["value"] == 0.012
    assert floor.numbers["interval"] == FLIPS["flip_share"]


def test_the_worst_class_counts_and_what_it_won_does_not() -> None:
    (floor,) = judged(EVIDENCE, {"class": 2.9})
    assert (floor.verdict, floor.numbers["value"]) == ("refuted", 3.0)
    assert (floor.numbers["interval"]["low"], floor.numbers["interval"]["high"]) == (2.0, 4.0)


@pytest.mark.parametrize(("name", "reason"), [("corruptions", "no pictures"), ("attacks", "not applicable")])
def test_what_was_not_measured_is_unknown_and_says_why(name: str, reason: str) -> None:
    (floor,) = judged(EVIDENCE, {name: 1.0})
    assert (floor.verdict, floor.numbers["value"]) == ("unknown", None)
    assert reason in floor.assumptions[0]


def test_a_percentage_of_points_is_points_and_of_a_share_a_hundredth() -> None:
    assert limit_of("class", "2%") == limit_of("class", "2") == 2.0
    assert limit_of("flips", "2%") == limit_of("flips", 0.02) == 0.02


@pytest.mark.parametrize(
    ("text", "words"),
    [("flips", "name=limit"), ("flops=1%", "'flips'"), ("flips=-1%", "not below 0"), ("flips=", "a number")],
)
def test_what_is_no_floor_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_floor(text)


def test_a_recipe_with_an_unknown_floor_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'corruptions'"):
        Checks(floors={"corruption": "1%"})


def test_floors_of_the_command_line_come_on_top_of_the_recipes() -> None:
    checks = Checks(floors={"flips": "1%", "drop": 1}).asking(["flips=2%", "ece=0.01"])
    assert checks.limits() == {"flips": 0.02, "drop": 1.0, "ece": 0.01}


@pytest.mark.parametrize("epsilons", [(), (0.1, 0.1), (0.2, 0.1), (0.0, 0.1)])
def test_radii_ascend_from_above_zero(epsilons: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="epsilons"):
        Checks(epsilons=epsilons)


def test_every_figure_has_words_and_a_kind() -> None:
    assert all(figure.words and figure.kind for figure in FIGURES.values())
