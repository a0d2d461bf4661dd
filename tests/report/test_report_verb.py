"""`wieldy report`, of one run and of two."""

import json
from pathlib import Path

import pytest
import sample

from wieldy.cli.main import run_verb
from wieldy.core.records import RunRecord


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder, record in zip(folders, (sample.full_record(), sample.full_record(seed=3)), strict=True):
        folder.mkdir()
        (folder / "record.json").write_text(record.to_json(), encoding="utf-8")
    return folders


def test_one_folder_gets_its_page_again(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["report", str(runs[0])]) == 0
    assert capsys.readouterr().out == f"report {runs[0] / 'report.html'}\n"
    assert run_verb(["report", str(runs[0]), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [Path(shown[key]).is_file() for key in ("report", "markdown")] == [True, True]


def test_two_folders_are_compared(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_verb(["report", "a", "b"]) == 0
    assert capsys.readouterr().out == "report comparison.html\n"
    assert "a against b" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    out = tmp_path / "other.html"
    assert run_verb(["report", "a", "b", "--out", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"] == [{"name": "seed", "a": 20240117, "b": 3}]
    assert shown["report"] == str(out)
    assert (tmp_path / "other.md").is_file()
    assert not (runs[0] / "report.html").exists()


def test_what_cannot_be_compared_is_said_first(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    record = sample.full_record(timing=sample.timing(0.4, threads=1))
    (runs[1] / "record.json").write_text(record.to_json(), encoding="utf-8")
    assert run_verb(["report", *map(str, runs), "--out", str(runs[0] / "c.html")]) == 0
    assert capsys.readouterr().out.startswith("not comparable: Times were measured on different numbers")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"title": 1}',
        b"[" * 100_000,
        b'{"title": "\\ud800"}',
        b"NaN",
        b"0" * 9,
    ],
    ids=lambda damage: repr(damage[:12]),
)
def test_a_damaged_record_is_one_sentence(
    runs: list[Path], capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    (runs[1] / "record.json").write_bytes(damage)
    for arguments in ([str(runs[1])], [str(runs[0]), str(runs[1])]):
        assert run_verb(["report", *arguments]) == 2
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1
        assert f"{runs[1] / 'record.json'}: is no record of a run" in shown
        assert len(shown) < 600


def test_a_record_of_another_version_is_refused(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    old = json.loads(sample.full_record().to_json())
    old["evidence"][0].pop("kind")
    (runs[0] / "record.json").write_text(json.dumps(old), encoding="utf-8")
    assert run_verb(["report", str(runs[0])]) == 2
    assert "kind: field required" in capsys.readouterr().err


def test_folders_without_a_record_and_a_needless_option_are_named(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        ([str(runs[0]), str(tmp_path)], f"{tmp_path}: holds no record.json"),
        ([str(tmp_path / "none")], "holds no record.json"),
        ([str(runs[0]), "--out", "x.html"], "--out: is for the page that compares two"),
    ):
        assert run_verb(["report", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_a_record_survives_its_way_to_the_page(runs: list[Path]) -> None:
    assert RunRecord.from_json((runs[0] / "record.json").read_bytes()) == sample.full_record()
