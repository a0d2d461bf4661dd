"""Two records side by side."""

import json
from typing import Any

import pytest
import sample
import sample_evidence

from wieldy.core.records import Evidence, RunRecord
from wieldy.report import compare as module
from wieldy.report.compare import Comparison, compare, markdown, write_comparison

A = sample.full_record()


def other(**fields: Any) -> RunRecord:
    return sample.full_record(**fields)


def of(second: RunRecord, first: RunRecord = A) -> Comparison:
    return compare(("runs/a", first), ("runs/b", second))


def figures(made: Comparison, question: str = "") -> dict[str, dict[str, Any]]:
    rows = made.values["figures"]
    if question:
        rows = next(q["figures"] for q in made.values["evidence"] if q["question"] == question)
    return {row["name"]: row for row in rows}


def test_a_record_does_not_differ_from_itself() -> None:
    made = of(A)
    assert made.values["comparable"] is True
    assert made.cautions == ()
    assert made.values["settings"] == []
    questions = made.values["evidence"]
    apart = {row["difference"] for q in questions for row in q["figures"]} | {
        row["difference"] for row in made.values["figures"]
    }
    assert apart <= {0, None}
    assert all(q["verdicts"][0] == q["verdicts"][1] for q in questions)
    assert json.loads(json.dumps(made.values, allow_nan=False)) == made.values


def test_differences_are_what_the_second_has_more() -> None:
    made = of(other(timing=sample.timing(0.4), evidence=(sample.metric_evidence(drop=0.92),)))
    assert figures(made)["Speed"]["difference"] == pytest.approx(1 / 0.4 - 1 / 0.481)
    assert figures(made)["Accuracy lost"]["difference"] == pytest.approx(0.5)
    assert figures(made, "Accuracy")["Points lost"]["difference"] == pytest.approx(0.5)
    cells = next(row for row in made.figures.rows if row[0] == "Accuracy lost")
    assert cells[-1] == "+0.500"
    back = of(A, other(timing=sample.timing(0.4)))
    assert figures(back)["Speed"]["difference"] == pytest.approx(1 / 0.481 - 1 / 0.4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"timing": sample.timing(0.481, 0.0085, cpu="Another CPU")}, "different CPUs"),
        ({"timing": sample.timing(0.481, 0.0085, cpu="")}, "one that is not recorded"),
        ({"timing": sample.timing(0.481, 0.0085, tier="avx2")}, "instruction tiers: avx512 and avx2"),
        ({"timing": sample.timing(0.481, 0.0085, threads=1)}, "numbers of threads: 2 and 1"),
        ({"timing": sample.timing(0.481, 0.0085, batch=8)}, "different batches: 1 and 8"),
        ({"original": A.original.model_copy(update={"sha256": "9" * 64})}, "different networks"),
        ({"data": {**A.data, "test": 1}}, "The data differ"),
    ],
)
def test_what_cannot_be_compared_is_said(fields: dict[str, Any], words: str) -> None:
    made = of(other(**fields))
    (caution,) = made.cautions
    assert words in caution
    assert made.values["comparable"] is False
    assert len(made.values["settings"]) == 1
    assert words in markdown(made)


def test_evidence_on_other_numbers_of_examples_is_said() -> None:
    numbers = sample_evidence.corruptions() | {"examples": 50}
    found = Evidence(kind="corruptions", claim="", verdict="proved", numbers=numbers)
    made = of(other(evidence=(found,)))
    assert made.cautions == ("Evidence on corruptions rests on 200 and on 50 examples.",)


def test_evidence_that_one_did_not_measure_is_no_question_of_numbers() -> None:
    gone = Evidence.not_measured("corruptions", "", "left out")
    assert of(other(evidence=(gone,))).cautions == ()


def test_settings_that_differ_are_named_and_no_others() -> None:
    method = {**A.method, "recovery": {"epochs": 3, "learning_rate": 0.02}}
    budget = {"latency_ratio": 0.4, "bytes_ratio": None, "max_drop_points": 0.5}
    made = of(other(seed=3, method=method, budget=budget, quantize={"bits": 8}))
    assert made.settings.rows == (
        ("seed", "20240117", "3"),
        ("budget: latency of the original", "0.5", "0.4"),
        ("method: recovery: epochs", "12", "3"),
        ("eight bits: bits", "–", "8"),
    )


def test_long_lists_that_differ_in_one_place_differ() -> None:
    classes = [f"{k}" for k in range(40)]
    records = [other(data={**A.data, "classes": of_one}) for of_one in (classes, [*classes[:-1], "x"])]
    assert [row["name"] for row in of(records[1], records[0]).values["settings"]] == ["data: classes"]


def test_questions_that_one_record_answers_are_shown() -> None:
    made = of(sample.minimal_record())
    questions = {q["question"]: q for q in made.values["evidence"]}
    assert questions["Attacks"]["verdicts"] == ["proved", "not measured"]
    assert all(row["b"] == "–" and row["difference"] is None for row in questions["Attacks"]["figures"])
    assert questions["Floors"]["verdicts"] == ["failed", "none set"]
    assert set(questions) == {q["question"] for q in of(A).values["evidence"]}
    swapped = compare(("b", sample.minimal_record()), ("a", A))
    assert {q["question"] for q in swapped.values["evidence"]} == set(questions)


def test_unknown_kinds_are_matched_by_what_they_are() -> None:
    def marked(*kinds: str) -> RunRecord:
        return other(
            evidence=tuple(
                Evidence(kind=kind, claim=kind, verdict="unknown", numbers={"x": 1}) for kind in kinds
            )
        )

    made = of(marked("b", "a"), marked("a", "b"))
    assert [q["verdicts"] for q in made.values["evidence"]] == [["unknown", "unknown"]] * 2


def test_charts_hold_what_both_have() -> None:
    titles = [title for title, *_ in of(other(seed=1)).charts]
    assert titles == ["What each gains, and at which price", "Trade-off"]
    mixed = [title for title, *_ in of(sample.mixed_record(), sample.mixed_record()).charts]
    assert mixed == titles
    assert [title for title, *_ in of(sample.mixed_record()).charts] == titles[:1]
    assert of(sample.minimal_record()).charts == ()


def test_both_files_are_written_and_escaped(tmp_path: Any) -> None:
    hostile = '"><img src=x onerror=alert(1)>'
    record = other(
        title=hostile, reasons=(hostile,), evidence=sample.hostile_evidence(hostile), data={hostile: hostile}
    )
    made = write_comparison((hostile, record), ("b", A), tmp_path / "c.html")
    page, text = ((tmp_path / f"c.{ending}").read_text(encoding="utf-8") for ending in ("html", "md"))
    assert "<img" not in page
    assert "<img" not in text
    assert page.count("<script>") == 1
    assert text == markdown(made)
    assert module.title(made) == f"{hostile} against b"
