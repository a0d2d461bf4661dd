"""A dry run says what would be done and for how long, and does none of it."""

import json
from pathlib import Path

import pytest
from tiny import NET_FILE

from wieldy.cli.main import run_verb

RECIPE = "model: net.py:make\ndata: optical-digits\nbudget: {bytes: 9000, max_drop_points: 9}\n"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET_FILE)
    (tmp_path / "wieldy.yaml").write_text(RECIPE)
    return tmp_path / "wieldy.yaml"


@pytest.mark.parametrize(
    ("more", "steps"),
    [
        ("", ["ranking channels", "searching by measured milliseconds", "training what is left"]),
        ("method: {name: zeros}\n", ["training what is left"]),
        (
            "plan: true\n",
            ["asking what each layer can spare", "weighing methods against each other",
             "measuring the trade-off", "training what is left"],
        ),
        ("quantize: true\nmethod: {name: random}\n", [
            "ranking channels", "searching by measured milliseconds", "training what is left",
            "rounding to eight bits"]),
    ],
)  # fmt: skip
def test_the_steps_are_those_of_the_run_and_nothing_is_written(
    recipe: Path, capsys: pytest.CaptureFixture[str], more: str, steps: list[str]
) -> None:
    recipe.write_text(RECIPE + more)
    before = sorted(recipe.parent.rglob("*"))
    assert run_verb(["run", "--dry-run", "--json", "--budget", "bytes=8000"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "Sequential: 4,810 parameters" in found["found"]
    assert "at most 8,000 bytes, 9 points" in found["found"]
    names = [step["step"] for step in found["steps"]]
    assert names == [*steps, "measuring and examining the saved files"]
    assert all(step["seconds"] >= 0 for step in found["steps"])
    assert [path for path in sorted(recipe.parent.rglob("*")) if "__pycache__" not in str(path)] == before


def test_a_dry_run_refuses_what_the_run_would(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(RECIPE + "quantize: true\nmethod: {name: zeros}\n")
    assert run_verb(["run", "--dry-run"]) == 2
    assert "zeros may leave zeros" in capsys.readouterr().err


def test_a_closer_look_is_counted(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    took = []
    for examples in (0, 1000):
        recipe.write_text(RECIPE + f"method: {{name: zeros}}\nevidence: {{corruptions: {examples}}}\n")
        assert run_verb(["run", "--dry-run", "--json"]) == 0
        took.append(json.loads(capsys.readouterr().out)["steps"][-1]["seconds"])
    assert took[1] > took[0] + 1
