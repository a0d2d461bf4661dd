"""What a person sees while a run works: live bars in a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from wieldy.core.progress import Task

LINE_SECONDS = 5.0  # between two plain lines of one step


def progress() -> "Live | Lines":
    """Return bars if standard error is a terminal, plain lines otherwise."""
    console = Console(stderr=True)
    return Live(console) if console.is_terminal else Lines()


class _LiveTask:
    def __init__(self, bars: Progress, handle: Any) -> None:
        self._bars, self._handle = bars, handle

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Move the bar and show the note behind it."""
        self._bars.update(self._handle, advance=steps)
        if note:
            self._bars.update(self._handle, note=note)


class Live:
    """Bars with time left, drawn on standard error.

    Attributes:
        step: what is under way, or was last.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.step = "starting"

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Task]:
        """Draw one bar while the step is under way."""
        self.step = name
        columns = (
            TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        with Progress(*columns, console=self._console) as bars:
            yield _LiveTask(bars, bars.add_task(name, total=total, note=""))

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self._console.print(line, highlight=False)


class _LineTask:
    def __init__(self, name: str, total: float) -> None:
        self._name, self._total = name, total
        self._done = 0.0
        self._start = self._last = time.monotonic()

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count, and print a line for a note or when the last one is some seconds old."""
        self._done += steps
        now = time.monotonic()
        if not note and now - self._last < LINE_SECONDS:
            return
        self._last = now
        left = (now - self._start) * (self._total - self._done) / self._done if self._done else 0.0
        text = f"{self._name}: {self._done:g}/{self._total:g}, {left:.0f} s left"
        print(f"{text}, {note}" if note else text, file=sys.stderr, flush=True)


class Lines:
    """Plain lines with time left, for logs.

    Attributes:
        step: what is under way, or was last.
    """

    def __init__(self) -> None:
        self.step = "starting"

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Task]:
        """Print lines while the step is under way."""
        self.step = name
        print(f"{name} ...", file=sys.stderr, flush=True)
        yield _LineTask(name, total)

    def say(self, line: str) -> None:
        """Print one line."""
        print(line, file=sys.stderr, flush=True)
