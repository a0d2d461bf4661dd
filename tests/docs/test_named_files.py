"""Files that the docs name are there."""

import re

import pytest
from blocks import FILES, ROOT

CODE = re.compile(r"`([^`\s]+)`")
PLACEHOLDER = re.compile(r"NAME|[*:<>{}]|^runs/|^/")  # and what a run writes
PLACES = ("", "src/wieldy/")
ENDINGS = (".py", ".md", ".cpp", ".h", ".txt", ".yaml", ".yml", ".json", ".toml", "/")
STEP_BY_STEP = "docs/adding.md"


def named(text: str) -> set[str]:
    """Return what looks like a path in the repository."""
    return {
        name
        for name in CODE.findall(text)
        if "/" in name.rstrip("/") and name.endswith(ENDINGS) and not PLACEHOLDER.search(name)
    }


def is_there(name: str) -> bool:
    return any((ROOT / place / name).exists() for place in PLACES)


@pytest.mark.parametrize("file", FILES)
def test_files_that_a_page_names_exist(file: str) -> None:
    assert [name for name in sorted(named((ROOT / file).read_text())) if not is_there(name)] == []


def test_the_page_on_what_to_add_names_every_file() -> None:
    assert len(named((ROOT / STEP_BY_STEP).read_text())) > 40


def test_a_file_that_is_not_there_is_found_out() -> None:
    assert named("`src/wieldy/no.py`, `methods/NAME.py`, `wieldy run a/x.yaml`, `x.py`") == {
        "src/wieldy/no.py"
    }
    assert not is_there("src/wieldy/no.py")
