"""The cache folder."""

from pathlib import Path

from wieldy.core.cache import cache_folder


def test_the_cache_is_where_the_environment_puts_it(monkeypatch):
    monkeypatch.setenv("WIELDY_CACHE", "/a")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("WIELDY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/wieldy")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache_folder() == Path("/c/.cache/wieldy")
