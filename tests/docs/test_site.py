"""The site: every link leads somewhere, and it asks nobody for anything."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blocks import ROOT

SILENT = {"NO_MKDOCS_2_WARNING": "1"}  # on what becomes of mkdocs some day
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def built(folder: Path, of: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Build the site of a tree as `make docs` does; with --quiet, --strict would see no warning."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=of, env=os.environ | SILENT)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="needs mkdocs: pip install 'wieldy[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = built(folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs a chromium on the PATH")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def visited(browser: Any, site: Path) -> tuple[Any, list[str], list[str]]:
    """Open the first page from the disk; return it with what it asked of others and what went wrong."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    foreign: list[str] = []
    wrong: list[str] = []
    page.on(
        "request", lambda asked: None if asked.url.startswith(site.as_uri()) else foreign.append(asked.url)
    )
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((site / "index.html").as_uri(), wait_until="networkidle")
    return page, foreign, wrong


def test_pages_ask_nobody_for_anything(site: Path, browser: Any) -> None:
    page, foreign, wrong = visited(browser, site)
    for file in sorted(set(site.rglob("*.html")) - {site / "404.html"}):  # which is a server's
        page.goto(file.as_uri(), wait_until="load")
    assert (foreign, wrong) == ([], [])
    page.close()


def test_search_works_from_the_disk(site: Path, browser: Any) -> None:
    page, foreign, wrong = visited(browser, site)
    page.locator("input.md-search__input").press_sequentially("saturate")  # the search listens to keys
    page.wait_for_selector(".md-search-result__item", timeout=20_000)
    assert page.locator(".md-search-result__link[href*='quantize']").count() > 0
    assert (foreign, wrong) == ([], [])
    page.close()


def test_every_public_name_and_every_verb_has_an_entry(site: Path) -> None:
    import wieldy
    from wieldy.cli.main import VERBS

    api, cli = ((site / name).read_text() for name in ("api.html", "cli.html"))
    assert [name for name in wieldy.__all__ if f'id="wieldy.{name}"' not in api] == []
    assert [verb for verb in VERBS if f'id="{verb}"' not in cli] == []


def test_links_that_lead_nowhere_fail(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs mkdocs: pip install 'wieldy[docs]'")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("README.md", "CONTRIBUTING.md", "mkdocs.yml", "src/wieldy/package/SPEC.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    broken = ("no_such_page.md", "concepts.md#no-such-anchor", "../setup.py")
    text = "# Python\n\n" + " ".join(f"[x]({target})" for target in broken)
    (tmp_path / "docs" / "api.md").write_text(text)  # in place of what takes time
    done = built(tmp_path / "site", of=tmp_path)
    assert done.returncode != 0
    said = done.stderr
    assert [target for target in broken if f"'{target.removeprefix('../')}'" not in said] == []
