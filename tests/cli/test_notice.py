"""Missing kernels are said once."""

import pytest

from wieldy.cli import notice
from wieldy.cli.main import run_verb
from wieldy.kernels import native


@pytest.fixture
def without_kernels(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "is_built", lambda: False)
    monkeypatch.setattr(notice, "is_built", lambda: False)
    monkeypatch.setattr(native, "_load", lambda: (None, "were not built: install wieldy again"))
    monkeypatch.setenv("WIELDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(native.REQUIRED, raising=False)


def test_the_first_command_says_in_one_line_what_is_missing(without_kernels, capsys):
    run_verb(["claims", "--list"])
    first = capsys.readouterr().err
    run_verb(["claims", "--list"])
    assert first.count("\n") == 1
    assert "were not built: install wieldy again" in first
    assert capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_written_costs_only_the_line(without_kernels, capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WIELDY_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert run_verb(["claims", "--list"]) == 0
        assert "note: zeros run as dense numbers" in capsys.readouterr().err


def test_where_kernels_are_required_missing_ones_are_an_error(without_kernels, capsys, monkeypatch):
    monkeypatch.setenv(native.REQUIRED, "1")
    assert run_verb(["claims", "--list"]) == 2
    assert "WIELDY_REQUIRE_KERNELS is set, but the compiled kernels were not built" in capsys.readouterr().err
