"""Cards on evidence: every kind has one, what is absent says so, and no figure brings the page down."""

from typing import Any

import pytest
import sample
import sample_evidence
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from wieldy.core.records import Evidence
from wieldy.report import marks
from wieldy.report.evidence import KINDS, PredictionNumbers, sort_evidence
from wieldy.report.parts import Card
from wieldy.report.sameness import MISSED, OF_CLASSES, TITLES, absent, arranged, floors, sameness

ANY, SHARES, COUNTS = (
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(0, 1),
    st.integers(0, 10**12),
)
ENDS = {"value", "low", "high"}
FIGURES: dict[str, Any] = {kind: of[2] for kind, of in sample_evidence.MEASURED.items()} | {
    "metric": lambda: sample.metric_evidence().numbers,
    "outputs": sample_evidence.outputs,
    "floor": lambda: {"figure": "flips", "limit": 0.05, "value": 0.03},
}


def cards_of(*evidence: Evidence) -> dict[str, Card]:
    record = sample.full_record(evidence=evidence, recovery=())
    return {card.name: card for card in sameness(record, sort_evidence(evidence))["cards"]}


def of_kind(kind: str, numbers: dict[str, Any]) -> Evidence:
    return Evidence(kind=kind, claim="it holds", verdict="unknown", numbers=numbers)


def test_every_kind_has_a_sample_a_title_and_words_where_it_is_missing() -> None:
    assert set(FIGURES) == set(KINDS)
    assert set(TITLES) == (set(KINDS) - {"floor"}) | {"recovery"}
    assert set(MISSED) == set(KINDS) - {"floor", "outputs"}
    assert set(OF_CLASSES) <= set(MISSED)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "floor"])
def test_evidence_of_a_kind_becomes_its_card(kind: str) -> None:
    (card,) = cards_of(of_kind(kind, FIGURES[kind]())).values()
    assert card.name == f"same-{kind}"
    assert card.claim == "it holds"
    assert card.facts or card.told
    assert not card.raw


def moved(numbers: Any, draw: Any, within: str = "") -> Any:
    """The same with other numbers in it: intervals hold any, all else what is a share or a count."""
    if isinstance(numbers, dict):
        is_interval = set(numbers) >= ENDS
        return {key: moved(value, draw, "interval" if is_interval else key) for key, value in numbers.items()}
    if isinstance(numbers, list):
        return [moved(value, draw, within) for value in numbers]
    if isinstance(numbers, int):
        return draw(COUNTS)
    return draw(ANY if within == "interval" else SHARES) if isinstance(numbers, float) else numbers


@given(data=st.data())
@settings(max_examples=8, deadline=None, phases=[Phase.generate])
@pytest.mark.parametrize("kind", KINDS)
def test_no_figures_bring_a_card_down(kind: str, data: st.DataObject) -> None:
    evidence = of_kind(kind, moved(FIGURES[kind](), data.draw))
    found = sort_evidence((evidence,))
    assert found.read
    for card in cards_of(evidence).values():
        marks.card(card)
    floors(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_less_is_shown_as_it_is_and_never_dropped(kind: str) -> None:
    numbers = FIGURES[kind]()
    key = next(iter(numbers))
    short = {name: value for name, value in numbers.items() if name != key}
    (card,) = cards_of(of_kind(kind, short)).values()
    assert card.name == "same-other-1"
    assert all(f'"{name}"' in card.raw for name in short)


def test_lists_of_different_lengths_are_not_recognised() -> None:
    numbers = sample_evidence.corruptions()
    numbers["rows"][3]["package"].pop()
    assert list(cards_of(of_kind("corruptions", numbers))) == ["same-other-1"]


def test_a_second_piece_of_a_kind_has_a_card_of_its_own() -> None:
    one = of_kind("runtime", sample_evidence.runtime())
    assert list(cards_of(one, one)) == ["same-runtime", "same-runtime-2"]


def test_only_a_png_is_taken_for_a_picture() -> None:
    numbers = sample_evidence.predictions()
    good = numbers["first_flipped"][0]["picture"]
    for bad in (f'{good}" onerror="x', good.replace("png", "svg+xml"), "http://a/b.png", None, 3):
        numbers["first_flipped"][0]["picture"] = bad
        read = sort_evidence((of_kind("predictions", numbers),)).first(PredictionNumbers)
        assert read
        assert read.first_flipped[0].picture is None
        assert read.first_flipped[1].picture == numbers["first_flipped"][1]["picture"]


def test_what_was_not_measured_says_why() -> None:
    reason = "the data names no slices: neither groups nor triggers were looked for"
    found = sort_evidence((Evidence.not_measured("slices", "no slice got worse", reason),))
    gone = {item.name: item for item in absent(found)}
    assert gone["slices"].badge == "not tested"
    assert gone["slices"].reason.startswith("The data names no slices")
    assert "hidden triggers" in gone["slices"].reason
    assert set(gone) == set(MISSED)


def test_where_outputs_are_no_logits_what_needs_classes_is_not_applicable() -> None:
    found = sort_evidence(sample_evidence.of_outputs())
    badges = {item.name: item.badge for item in absent(found)}
    assert {kind for kind, badge in badges.items() if badge == "not applicable"} == set(OF_CLASSES)
    assert badges["corruptions"] == badges["slices"] == badges["runtime"] == "not tested"


def test_with_all_evidence_nothing_is_absent() -> None:
    assert absent(sort_evidence(sample.all_evidence())) == []


def test_floors_are_met_failed_or_not_measured() -> None:
    found = floors(sort_evidence(sample.all_evidence()))
    assert [floor["words"] for floor in found] == ["met", "failed", "not measured"]
    assert found[0]["measured"] == "measured 0.0301 [0.02693, 0.03363]"
    assert found[2]["measured"] == "the network is too large"


def test_fixed_broken_and_wrong_are_told_apart() -> None:
    card = cards_of(of_kind("predictions", sample_evidence.predictions()))["same-predictions"]
    flips = sample_evidence.predictions()["first_flipped"]
    for flip, row in zip(flips, card.tables[0].rows, strict=True):
        right = [side for side in ("original", "package") if flip[side] == flip["target"]]
        assert (
            row[-1] == {"original": "broken", "package": "fixed"}[right[0]] if right else row[-1] == "wrong"
        )
    assert {picture.outcome for picture in card.pictures} == {"fixed", "broken", "wrong"}


def test_a_temperature_that_was_not_fitted_leaves_no_row() -> None:
    whole = sample_evidence.calibration()
    bare = {key: whole[key] for key in ("original", "package", "bins_original", "bins_package")}
    (card,) = cards_of(of_kind("calibration", bare)).values()
    assert [row[0] for row in card.tables[0].rows] == ["Calibration error (ECE)"]
    (card,) = cards_of(of_kind("calibration", whole)).values()
    assert len(card.tables[0].rows) == 4


def test_widths_that_were_not_computed_say_so() -> None:
    numbers = sample_evidence.bounds()
    numbers["mean_width"]["crown"] = None
    (card,) = cards_of(of_kind("bounds", numbers)).values()
    assert [fact.words for fact in card.facts] == ["812", "not computed", "3.10"]


def test_the_worst_attack_is_the_one_that_loses_most() -> None:
    (card,) = cards_of(of_kind("attacks", sample_evidence.attacks())).values()
    rows = sample_evidence.attacks()["rows"]
    worst = max(rows, key=lambda row: row["drop_points"]["value"])
    assert card.facts[0].value == worst["drop_points"]["value"]
    assert "FGSM at 1/255" in card.facts[0].words


@given(st.lists(st.booleans(), max_size=12))
def test_arranging_keeps_every_card_once_and_wide_ones_alone(wide: list[bool]) -> None:
    cards = [Card(name=f"{index}", title="", is_wide=is_wide) for index, is_wide in enumerate(wide)]
    rows = arranged(cards)
    placed = [card for row in rows for column in row for card in column]
    assert sorted(placed, key=lambda card: int(card.name)) == cards
    for row in rows:
        assert len(row) == 2 or [card.is_wide for card in row[0]] == [True]
        assert len(row) == 1 or not any(card.is_wide for column in row for card in column)
    heights = [abs(len(row[0]) - len(row[-1])) for row in rows if len(row) == 2]
    assert all(apart <= 1 for apart in heights)  # equal cards: columns of about equal height
