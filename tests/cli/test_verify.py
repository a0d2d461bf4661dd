"""Evidence measured again: floors decide the exit code, and a run's folder brings all that is needed."""

import json
from pathlib import Path

import pytest
import tiny
import torch

from wieldy.cli.main import run_verb
from wieldy.core.errors import ConfigError
from wieldy.core.ledger import Ledger
from wieldy.flow.recipe import Recipe, read_recipe
from wieldy.flow.run import BEGUN, Origin
from wieldy.package.save import save

DATA = """
import wieldy
from wieldy.zoo.data.digits import optical_digits

def digits():
    full = optical_digits()
    cut = lambda split, n: (split.inputs[:n], split.targets[:n])
    test = cut(full.test, 200)
    return wieldy.Data(cut(full.train, 320), cut(full.validate, 100), test, slices={"zeros": test[1] == 0})
"""
BY_ITSELF = ["small.wieldy", "--against", "small.wieldy", "--data", "optical-digits"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, as far as evidence needs one."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "data.py").write_text(DATA)
    network = tiny.trained()
    save(network, folder / "original.wieldy")
    with torch.no_grad():
        network.tensor("fc.bias")[0] -= 4
    save(network, folder / "small.wieldy")
    recipe = Recipe(
        model="unused.py:net", data="data.py:digits", budget={"latency": "50%", "max_drop_points": 30},
        evidence={"corruptions": 0, "attacks": 0, "outside": 0, "bounds": 0, "floors": {"flips": "90%"}},
    )  # fmt: skip
    origin = Origin(recipe=recipe.model_dump(), folder=str(folder), title="a run", command="wieldy run")
    Ledger(folder).note(BEGUN, {}, origin.model_dump())
    return folder


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
    return {item["kind"]: item for item in json.loads(capsys.readouterr().out)}


def test_a_runs_folder_brings_its_files_data_allowance_and_floors(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verb(["verify", str(folder), "--json"]) == 0
    evidence = found(capsys)
    assert evidence["metric"]["numbers"]["allowed_points"] == 30
    assert (evidence["floor"]["numbers"]["figure"], evidence["floor"]["verdict"]) == ("flips", "proved")
    assert evidence["slices"]["numbers"]["worse"] == ["zeros"]
    assert evidence["classes"]["numbers"]["worse"] == ["0"]


@pytest.mark.parametrize("floor", ["flips=0.1%", "class=5", "slice=5", "attacks=1"])
def test_a_floor_that_does_not_hold_leaves_with_1(
    floor: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verb(["verify", str(folder), "--floor", floor]) == 1
    shown = capsys.readouterr().out
    assert "NO      " in shown or "not measured" in shown


def test_what_was_found_worse_fails_only_where_a_floor_says_so(folder: Path) -> None:
    assert run_verb(["verify", str(folder), "--floor", "class=100", "--floor", "flips=50%"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["small.wieldy"], "needs --against"),
        (["."], "no ledger"),
        ([".", "--data", "optical-digits"], "Leave out"),
        ([*BY_ITSELF, "--floor", "flip=1"], "'flips'"),
        ([*BY_ITSELF, "--floor", "flips"], "name=limit"),
    ],
)  # fmt: skip
def test_what_cannot_be_examined_is_said_in_a_line(
    arguments: list[str],
    words: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("small.wieldy", "original.wieldy"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    assert run_verb(["verify", *arguments]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert len(shown.strip().splitlines()) == 1


def test_a_recipe_whose_floor_is_unknown_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wieldy.yaml"
    path.write_text(
        "model: a.py:b\ndata: optical-digits\nbudget: {latency: 50%}\nevidence:\n  floors: {flip: 1}\n"
    )
    with pytest.raises(ConfigError, match="'flips'"):
        read_recipe(path)
