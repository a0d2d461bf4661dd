"""Claims: a verdict follows from two numbers, and only a change of it is a failure."""

import json
from pathlib import Path

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from wieldy.claims import importance, runner
from wieldy.claims.runner import SYSTEMS, run_claims, write_claims, written_claims
from wieldy.cli.main import run_verb
from wieldy.core.errors import ConfigError
from wieldy.core.progress import Progress
from wieldy.core.records import HOLDS, Claim
from wieldy.graph.cost import total_macs
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.prune.random import RandomConfig
from wieldy.methods.prune.taylor import TaylorConfig
from wieldy.plan.ranking import rank
from wieldy.stats.collect import Stats
from wieldy.train.fit import evaluate


def claim(measured: float = 1.0, relation: str = ">", threshold: float = 0.0, **fields: object) -> Claim:
    return Claim(
        name="fake", what="something", measured=measured, relation=relation, threshold=threshold,
        source="nobody", seconds=0.0, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("relation", "below", "equal", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("==", False, True, False),
    ],
)
def test_verdict_follows_the_relation(relation: str, below: bool, equal: bool, above: bool) -> None:
    for measured, holds in ((1.9, below), (2.0, equal), (2, equal), (2.1, above)):
        assert claim(measured, relation, 2.0).verdict == ("proved" if holds else "refuted")


def test_every_relation_is_covered() -> None:
    assert set(HOLDS) == {"<", "<=", ">", ">=", "=="}


@given(measured=st.floats(-1e6, 1e6), threshold=st.floats(-1e6, 1e6))
def test_a_relation_and_its_opposite_never_agree(measured: float, threshold: float) -> None:
    for one, other in (("<", ">="), (">", "<=")):
        verdicts = {claim(measured, relation, threshold).verdict for relation in (one, other)}
        assert verdicts == {"proved", "refuted"}


@pytest.mark.parametrize(
    ("measured", "expected", "changed"),
    [(1.0, "proved", False), (-1.0, "proved", True), (1.0, "refuted", True), (-1.0, "refuted", False)],
)
def test_only_a_verdict_that_differs_from_the_record_is_a_change(
    measured: float, expected: str, changed: bool
) -> None:
    assert claim(measured, expected=expected).changed is changed


@pytest.mark.parametrize(
    "fields", [{"relation": "!="}, {"measured": float("nan")}, {"expected": "maybe"}, {"verdict": "proved"}]
)
def test_claims_that_say_nothing_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        claim(**fields)


def fake(*claims: Claim) -> dict[str, tuple[str, runner.Measure]]:
    def measure(quick: bool, progress: Progress) -> list[Claim]:
        return [item.model_copy(update={"what": "quick" if quick else "whole"}) for item in claims]

    return {"fake": ("fakes hold", measure)}


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=rf"{', '.join(SYSTEMS)} or all; got 'importence'"):
        run_claims("importence")
    assert run_verb(["claims", "importence"]) == 2


def test_the_list_shows_every_name_and_what_it_claims(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["claims", "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}: {text}" for name, (text, _) in SYSTEMS.items()]
    assert run_verb(["claims", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {name: text for name, (text, _) in SYSTEMS.items()}


def test_no_name_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["claims"]) == 2
    assert "--list" in capsys.readouterr().err


def test_a_changed_verdict_fails_and_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kept, code, mark in ((claim(1.0), 0, "proved"), (claim(-1.0), 1, "CHANGED")):
        monkeypatch.setattr(runner, "SYSTEMS", fake(kept))
        assert run_verb(["claims", "fake"]) == code
        assert capsys.readouterr().out.startswith(f"{mark}: whole")
    monkeypatch.setattr(runner, "SYSTEMS", fake(claim(-1.0, expected="refuted", reason="too small here")))
    assert run_verb(["claims", "fake"]) == 0
    assert capsys.readouterr().out.startswith("refuted: whole")


def test_all_runs_every_system_and_quick_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    systems = fake(claim(), claim(2.0))
    monkeypatch.setattr(runner, "SYSTEMS", systems | {"other": systems["fake"]})
    assert [item.measured for item in run_claims("all")] == [1.0, 2.0, 1.0, 2.0]
    assert [item.what for item in run_claims("other", quick=True)] == ["quick", "quick"]


def test_what_is_written_holds_verdicts_and_the_machine(tmp_path: Path) -> None:
    write_claims([claim(1.0), claim(-1.0)], tmp_path / "claims.json", quick=True)
    stored = json.loads((tmp_path / "claims.json").read_text())["systems"]["fake"]
    assert [row["verdict"] for row in stored["claims"]] == ["proved", "refuted"]
    assert stored["quick"] is True
    assert stored["environment"]


def test_claims_of_other_systems_stay_and_a_foreign_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "claims.json"
    other = claim(1.0).model_copy(update={"name": "other"})
    write_claims([other], path, quick=False)
    write_claims([claim(1.0)], path, quick=True)
    write_claims([claim(2.0)], path, quick=True)
    stored = written_claims(path)
    assert [system["claims"][0]["measured"] for system in stored.values()] == [1.0, 2.0]
    monkeypatch.setattr(runner, "SYSTEMS", fake(claim(1.0)))
    for foreign in ("", "[]", '{"systems": 3}', "{}"):
        path.write_text(foreign)
        assert run_verb(["claims", "fake", "--out", str(path)]) == 2
        assert "holds no claims" in capsys.readouterr().err
        assert path.read_text() == foreign


@pytest.mark.parametrize("ratio", [0.8, 0.5, 0.3])
def test_at_macs_ends_just_below_the_ratio(ratio: float) -> None:
    network = tiny.trained()
    ranking = rank(network, Stats(), MagnitudeConfig())
    small = importance.at_macs(network, ranking, MagnitudeConfig(), ratio)
    found = total_macs(small.program) / total_macs(network.program)
    assert ratio - 0.13 < found <= ratio  # the dearest channel is an eighth of what there is


def test_accuracy_before_recovery_is_seeded_and_leaves_the_network_alone() -> None:
    network, data = tiny.trained(), tiny.digits()
    before = tiny.state(network)
    for kind in (TaylorConfig, MagnitudeConfig, RandomConfig):
        one, two = (importance.accuracy_before_recovery(network, data, kind(seed=1)) for _ in range(2))
        assert one == two
        assert 0.0 < one < 1.0
    assert tiny.state(network) == before


def test_scored_channels_beat_random_ones_on_the_digits() -> None:
    network, data = tiny.trained(), tiny.digits()
    random = [importance.accuracy_before_recovery(network, data, RandomConfig(seed=k)) for k in range(4)]
    scored = importance.accuracy_before_recovery(network, data, TaylorConfig())
    assert sum(random) / 4 < scored <= evaluate(network, data.validate, data) + 0.1
