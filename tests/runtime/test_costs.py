"""Where cost tables come from, and what a cache that cannot be used costs."""

import pytest

from wieldy.runtime import costs
from wieldy.runtime.costs import cost_table, keep_table, kept_table, table_path

MEASURED = {"terms": {"dense/conv": [1.0, 2.0, 3.0, 4.0]}, "edge_ms_per_mb": 0.5}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("WIELDY_CACHE", str(tmp_path / "cache"))


def test_a_measured_table_is_kept_for_its_tier_and_threads_alone():
    kept = keep_table(MEASURED, "avx2", 2)
    assert cost_table("avx2", 2) == kept
    assert kept_table("avx2", 2) == kept
    assert kept_table("avx2", 1) is None
    assert cost_table("avx2", 1) != kept


@pytest.mark.parametrize("tier", ["avx2", "avx2_vnni", "avx512", "avx512_vnni", "amx"])
def test_every_tier_with_kernels_has_a_table_from_the_start(tier):
    table = cost_table(tier, 3)
    assert table is not None
    assert table.terms["csr/conv"]


def test_below_avx2_zeros_are_not_said_to_pay():
    assert cost_table("portable", 2) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"terms": 3}', '{"terms": {"a": ["x"]}}'])
def test_a_damaged_table_in_the_cache_is_passed_over(text):
    keep_table(MEASURED, "avx2", 2)
    table_path("avx2", 2).write_text(text)
    assert cost_table("avx2", 2) == costs._shipped()["avx2"]


def test_a_cache_that_cannot_be_written_loses_nothing_but_the_table(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WIELDY_CACHE", str(tmp_path / "file"))
    assert keep_table(MEASURED, "avx2", 2).terms["dense/conv"] == (1.0, 2.0, 3.0, 4.0)
    assert kept_table("avx2", 2) is None
