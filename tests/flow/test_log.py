"""The log says what was done and when, and shows what it hides from nobody."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wieldy.core.progress import Task
from wieldy.flow.log import NAME, PARTIAL, Logged
from wieldy.flow.run import tensorboard


class Heard:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.notes: list[tuple[float, str]] = []

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Task]:
        self.said.append(f"{name} {total}")
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.notes.append((steps, note))

    def say(self, line: str) -> None:
        self.said.append(line)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_step_is_written_with_its_notes_and_passed_on(tmp_path: Path) -> None:
    heard = Heard()
    log = Logged(tmp_path, heard)
    with log.task("training", 3) as task:
        task.advance()
        task.advance(2, "epoch 1")
    log.say("done")
    found = lines(tmp_path / PARTIAL)
    assert [(one["event"], one.get("done")) for one in found] == [
        ("begin", 0), ("note", 3), ("end", 3), ("say", None),
    ]  # fmt: skip
    assert found[1]["note"] == "epoch 1"
    assert [one["time"] for one in found] == sorted(one["time"] for one in found)
    assert heard.notes == [(1, ""), (2, "epoch 1")]
    assert heard.said == ["training 3", "done"]


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    log = Logged(tmp_path, Heard())
    with pytest.raises(KeyError), log.task("search", 1):
        raise KeyError("x")
    assert lines(tmp_path / PARTIAL)[-1]["note"] == "KeyError: 'x'"


@pytest.mark.parametrize(("resumed", "count"), [(True, 2), (False, 1)])
def test_only_a_resumed_run_goes_on_in_the_file(tmp_path: Path, resumed: bool, count: int) -> None:
    Logged(tmp_path, Heard()).say("first")
    Logged(tmp_path, Heard(), resumed=resumed).say("second")
    assert len(lines(tmp_path / PARTIAL)) == count


def test_an_earlier_log_stays_until_a_run_ends(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("earlier")
    log = Logged(tmp_path, Heard())
    log.say("first")
    assert (tmp_path / NAME).read_text() == "earlier"
    log.settle()
    assert len(lines(tmp_path / NAME)) == 1
    assert not (tmp_path / PARTIAL).exists()


def written_and_failed(folder: Path) -> None:
    with tensorboard(folder) as log:
        for step in range(3):
            log("training/loss", step / 2, step)
        raise KeyError


def test_scalars_for_tensorboard_are_there_once_a_run_ends_even_by_an_error(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.raises(KeyError):
        written_and_failed(tmp_path)
    found = events.EventAccumulator(str(tmp_path))
    found.Reload()
    assert [(one.step, one.value) for one in found.Scalars("training/loss")] == [(0, 0), (1, 0.5), (2, 1)]
