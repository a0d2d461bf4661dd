"""The first recipe for a user's own file names what is there, and runs."""

from pathlib import Path

import pytest

from wieldy.cli.main import run_verb
from wieldy.core.errors import ConfigError, ShapeError
from wieldy.flow.init import commented, offer_of
from wieldy.flow.recipe import asking, read_recipe

FILE = """
from collections import OrderedDict
import numpy as np
import torch
from torch import nn
from torch.nn import Linear
import wieldy

RATE = 0.1
class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc = nn.Linear(64, width)
        self.out = Linear(width, 10)
    def forward(self, x):
        return self.out(self.fc(x.flatten(1)).relu())
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
def best_model():
    return Net(16)
def my_data():
    rows = np.zeros((40, 64), np.float32), np.arange(40) % 10
    return wieldy.Data(rows)
def other() -> wieldy.Data:
    return my_data()
def helper(x):
    return x
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


def test_what_a_file_offers_needs_no_arguments_and_is_its_own(file: Path) -> None:
    offer = offer_of(file)
    assert offer.models == ("Net", "best_model")
    assert offer.data == ("my_data", "other")


def test_the_recipe_that_is_written_is_one(file: Path, tmp_path: Path) -> None:
    text, facts = commented(file, "best_model", "my_data", tmp_path / "wieldy.yaml")
    (tmp_path / "wieldy.yaml").write_text(text)
    recipe = read_recipe(tmp_path / "wieldy.yaml")
    assert (recipe.model, recipe.data) == ("mine.py:best_model", "mine.py:my_data")
    assert recipe.budget_value().latency_ratio == 0.5
    assert "Net: 1,210 parameters" in facts
    assert "28 training, 6 validation and 6 test" in facts


def test_data_that_does_not_fit_the_model_is_refused_at_once(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be or return wieldy"):
        commented(file, "Net", "RATE", tmp_path / "wieldy.yaml")
    with pytest.raises((ConfigError, ShapeError)):
        commented(file, "Net", "fashion-mnist-subset", tmp_path / "wieldy.yaml")


def test_where_there_is_a_choice_and_nobody_to_ask_the_choice_is_named(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verb(["init", str(file)]) == 2
    assert "model may be any of Net, best_model. Say which with --model" in capsys.readouterr().err
    assert run_verb(["init", str(file), "--model", "Net", "--data", "my_data"]) == 0
    assert "next: wieldy run wieldy.yaml" in capsys.readouterr().out
    assert run_verb(["init", str(file), "--model", "Net", "--data", "my_data"]) == 2
    assert "stands there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("goals", "drop", "expected"),
    [
        ({}, None, {"latency_ratio": 0.5, "max_drop_points": 1.0}),
        ({"bytes": "9000"}, None, {"bytes": 9000, "max_drop_points": 1.0}),
        ({"latency": "0.5ms"}, 0.25, {"latency_ms": 0.5, "max_drop_points": 0.25}),
        ({}, 0.25, {"latency_ratio": 0.5, "max_drop_points": 0.25}),
    ],
)
def test_goals_on_the_command_line_stand_in_for_the_recipes(
    file: Path, tmp_path: Path, goals: dict[str, str], drop: float | None, expected: dict[str, float]
) -> None:
    (tmp_path / "wieldy.yaml").write_text(commented(file, "Net", "my_data", tmp_path / "wieldy.yaml")[0])
    budget = asking(read_recipe(tmp_path / "wieldy.yaml"), goals, drop).budget_value()
    assert budget.model_dump(exclude_none=True) == expected


def test_a_class_without_weights_is_said_to_be_untrained(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    (file.parent / "mine.pt").write_bytes(b"")
    assert run_verb(["init", str(file), "--model", "Net", "--data", "my_data", "--out", "a.yaml"]) == 0
    told = capsys.readouterr().err
    assert "Net is a class" in told
    assert "--weights. Beside it there is mine.pt." in told
    assert run_verb(["init", str(file), "--model", "best_model", "--data", "my_data", "--out", "b.yaml"]) == 0
    assert "is a class" not in capsys.readouterr().err
