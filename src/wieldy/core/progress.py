"""How long work says how far it is, without knowing who listens."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One step of a run while it is under way."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count `steps` done and, if given, show `note` beside the bar."""


class Progress(Protocol):
    """Receives the steps of a run. The command line draws them, a log prints them."""

    def task(self, name: str, total: float) -> AbstractContextManager[Task]:
        """Open a step of `total` units."""

    def say(self, line: str) -> None:
        """Show one finished line."""


class _Quiet:
    def advance(self, steps: float = 1, note: str = "") -> None:
        """Say nothing."""


class Silent:
    """A Progress that shows nothing: the default of every Python function."""

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Task]:  # noqa: ARG002 - a Progress's signature
        """Yield a task that shows nothing."""
        yield _Quiet()

    def say(self, line: str) -> None:
        """Show nothing."""
