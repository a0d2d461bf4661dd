"""The blocks of code in Markdown, and how each of them is run.

- `python` runs in the page's own namespace, in order; with a title it is a file that others import.
- `sh` is a list of commands, each of which must leave with 0, or with what its comment says: "leaves with 1".
- `yaml` is a recipe, a sweep, or, with a title that says so, something else that must be YAML.
- `json` must be JSON.

A block after `<!-- not run: reason -->` is not run. There are no others.
"""

import contextlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wieldy.cli.main import run_verb
from wieldy.flow.recipe import read_recipe
from wieldy.flow.sweep import read_sweep

ROOT = Path(__file__).parent.parent.parent
FILES = (
    *("README.md", "CONTRIBUTING.md", "examples/README.md", "src/wieldy/package/SPEC.md"),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
)
FENCE = re.compile(r" *(```+|~~~+)(.*)")
TITLE = re.compile(r'(\w+)(?: title="([^"]+)")?')
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
LEAVES_WITH = re.compile(r"#.*\bleaves with (\d+)")
BY_THE_CLOCK = ("run", "resume", "sweep", "demo")  # on a busy machine milliseconds may miss their goal
NEEDED = {
    "model": "net.py:make",
    "data": "optical-digits",
    "budget": {"latency": "50%"},
}  # of a part of a recipe


@dataclass(frozen=True)
class Block:
    """One block of code, and where it stands."""

    file: str
    line: int
    language: str
    title: str
    text: str
    reason: str  # why it is not run, or nothing

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def blocks_of(file: str, text: str | None = None) -> Iterator[Block]:
    """Yield the blocks of a file; whatever opens or marks one and does not fit is an error."""
    lines = iter(enumerate((ROOT / file).read_text().split("\n") if text is None else text.split("\n"), 1))
    reason = ""
    for number, line in lines:
        fence, marked = FENCE.fullmatch(line), NOT_RUN.fullmatch(line.strip())
        if fence:
            body = []
            for _, inner in lines:
                if inner.strip() == fence[1]:
                    break
                body.append(inner)
            else:
                raise AssertionError(f"{file}:{number}: the block never ends")
            info = TITLE.fullmatch(fence[2])
            assert info, f"{file}:{number}: a block needs a language; got {fence[2]!r}"
            yield Block(file, number, info[1], info[2] or "", "\n".join(body) + "\n", reason)
            reason = ""
            continue
        assert not reason, f"{file}:{number}: a block must follow {reason!r}"
        reason = marked[1] if marked else ""
    assert not reason, f"{file}: a block must follow {reason!r}"


def run(block: Block, names: dict[str, Any]) -> None:
    """Run a block in the current folder; `names` are those of its page."""
    runs = {"python": _python, "sh": _commands, "yaml": _yaml, "json": lambda of, _: json.loads(of.text)}
    assert block.language in runs, f"{block}: there is no way to run {block.language!r}"
    if block.title:
        Path(block.title).parent.mkdir(parents=True, exist_ok=True)
        Path(block.title).write_text(block.text)
    runs[block.language](block, names)


def _python(block: Block, names: dict[str, Any]) -> None:
    """Run code as if it stood where it does, so that a traceback names the page."""
    code = compile("\n" * block.line + block.text, block.file, "exec")
    exec(code, {"__name__": Path(block.title).stem} if block.title else names)


def _yaml(block: Block, names: dict[str, Any]) -> None:
    given = yaml.safe_load(block.text)
    assert isinstance(given, dict), block
    if block.title and not block.title.endswith("recipe.yaml"):
        return
    path = Path("block.yaml")
    if "recipe" in given:
        path.write_text(block.text)
        Path(given["recipe"]).write_text(yaml.safe_dump(NEEDED))
        read_sweep(path)
    else:
        missing = {key: value for key, value in NEEDED.items() if key not in given}
        path.write_text(block.text + (yaml.safe_dump(missing) if missing else ""))
        read_recipe(path)


def _commands(block: Block, names: dict[str, Any]) -> None:
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            said = LEAVES_WITH.search(line)
            _command(block, words, int(said[1]) if said else 0)


def _command(block: Block, words: list[str], expected: int) -> None:
    *words, _, file = words if ">" in words[-2:-1] else (*words, "", "")
    with contextlib.ExitStack() as stack:
        if file:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(file, "w"))))
        if words[0] == "wieldy":
            code = run_verb(words[1:])
        else:
            code = subprocess.run(words, capture_output=True).returncode
    allowed = {expected, 1} if words[0] == "wieldy" and words[1] in BY_THE_CLOCK else {expected}
    assert code in allowed, f"{block}: {shlex.join(words)} left with {code}, not with {expected}"


@contextlib.contextmanager
def at_work_in(folder: Path) -> Iterator[None]:
    """Work in a folder whose files can be imported, and forget what was imported from it."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
