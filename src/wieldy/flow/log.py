"""What a run did and when, as lines of JSON, for whoever reads it afterwards."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wieldy.core.files import append_line
from wieldy.core.progress import Progress, Task

NAME, PARTIAL = "log.jsonl", "log.partial.jsonl"


class Logged:
    """A Progress that writes down each step's begin, notes and end, and passes everything on.

    A line holds `time` (seconds since 1970), `step`, `event` (begin, note, end or failed), `done` of `total`
    units, and a `note` where there is one.

    As the ledger does, it writes into a file of its own; an earlier run's log stays until `settle`.

    Args:
        folder: of the run.
        progress: what everything is passed on to.
        resumed: whether the run goes on in the file that it left; else it begins with an empty one.
    """

    def __init__(self, folder: Path, progress: Progress, *, resumed: bool = False) -> None:
        self._path, self._progress = folder / PARTIAL, progress
        if not resumed:
            self._path.unlink(missing_ok=True)

    def settle(self) -> None:
        """End the log: from now on it is the folder's."""
        if self._path.exists():
            self._path.replace(self._path.with_name(NAME))

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Task]:
        """Open a step, and write down when it began and ended."""
        with self._progress.task(name, total) as task:
            logged = _LoggedTask(self, task, name, total)
            logged.write("begin")
            try:
                yield logged
            except BaseException as error:
                logged.write("failed", f"{type(error).__name__}: {error}"[:500])
                raise
            logged.write("end")

    def say(self, line: str) -> None:
        """Write down a line, and show it."""
        self.write({"event": "say", "note": line})
        self._progress.say(line)

    def write(self, facts: dict[str, Any]) -> None:
        """Append one line."""
        line = {"time": round(time.time(), 3)} | facts
        append_line(self._path, json.dumps(line, ensure_ascii=False).encode() + b"\n")


class _LoggedTask:
    def __init__(self, log: Logged, task: Task, name: str, total: float) -> None:
        self._log, self._task, self._name, self._total = log, task, name, total
        self._done = 0.0

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count; write down what has a note."""
        self._done += steps
        if note:
            self.write("note", note)
        self._task.advance(steps, note)

    def write(self, event: str, note: str = "") -> None:
        """Append one line about this step."""
        facts = {"step": self._name, "event": event, "done": self._done, "total": self._total}
        self._log.write(facts | ({"note": note} if note else {}))
