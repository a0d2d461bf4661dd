"""Every block of code in the docs runs, in order, in the folder that the tutorial leaves behind."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocks import FILES, Block, at_work_in, blocks_of, run
from few import looking_at

from wieldy.plan import search
from wieldy.runtime.measure import measure

TUTORIAL = "docs/tutorial.md"
MOST_NOT_RUN = 9  # one more needs a better reason than that it is slow
FEW = {"corruptions": 2, "attacks": 0, "outside": 20, "bounds": 0}  # examples; one page asks for more


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """What is shown is how things are done, and not how sure figures are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(measure.__kwdefaults__, "processes", 1)
        patch.setattr(search, "PROCESSES", 1)
        with looking_at(**FEW):
            yield


@pytest.fixture(scope="module")
def after_the_tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all of the tutorial was done."""
    folder = tmp_path_factory.mktemp("tutorial")
    run_page(TUTORIAL, folder)
    return folder


def run_page(file: str, folder: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    with at_work_in(folder):
        for block in blocks_of(file):
            if not block.reason:
                run(block, names)


@pytest.mark.parametrize("file", [file for file in FILES if any(blocks_of(file))])
def test_every_block_of_a_page_runs(file: str, after_the_tutorial: Path, tmp_path: Path) -> None:
    if file != TUTORIAL:  # which the fixture ran
        shutil.copytree(after_the_tutorial, tmp_path / "work")
        run_page(file, tmp_path / "work")


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    marked = [block for file in FILES for block in blocks_of(file) if block.reason]
    assert len(marked) <= MOST_NOT_RUN, [f"{block}: {block.reason}" for block in marked]
    assert all(len(block.reason.split()) > 2 for block in marked)


@pytest.mark.parametrize(
    "text",
    [
        "```\nwieldy run\n```",  # no language
        "```python\nx = 1",  # no end
        "<!-- not run: it is slow here -->\nwords\n```sh\nwieldy run\n```",  # no block after the reason
        "<!-- not run: it is slow here -->",
    ],
)
def test_what_is_no_block_is_not_passed_over(text: str) -> None:
    with pytest.raises(AssertionError):
        list(blocks_of("page.md", text))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "assert not_defined\n"),
        ("rust", "fn main() {}\n"),
        ("sh", "wieldy check no_such.wieldy\n"),
        ("sh", "wieldy --version    # leaves with 1\n"),
        ("sh", "no_such_program\n"),
        ("yaml", "model: net.py:make\nbudgets: {latency: 50%}\n"),
        ("json", "{not json}\n"),
    ],
)
def test_a_block_that_does_not_run_fails(language: str, text: str, tmp_path: Path) -> None:
    with at_work_in(tmp_path), pytest.raises(Exception):  # noqa: B017 - of any kind
        run(Block("page.md", 1, language, "", text, ""), {})


def test_a_block_that_runs_passes(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    with at_work_in(tmp_path):
        run(Block("page.md", 1, "python", "mine.py", "x = 3\n", ""), names)
        run(Block("page.md", 5, "python", "", "from mine import x\n", ""), names)
        run(
            Block(
                "page.md", 9, "sh", "", "wieldy check none    # leaves with 2\nwieldy --version > v.txt\n", ""
            ),
            {},
        )
        assert (tmp_path / "v.txt").read_text().strip()
    assert names["x"] == 3
