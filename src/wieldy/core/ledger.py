"""The append-only record of a run: each measured value is stored once and read back ever after."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wieldy.core import digest
from wieldy.core.errors import ConfigError, StorageError
from wieldy.core.files import append_line

NAME, PARTIAL = "ledger.jsonl", "ledger.partial.jsonl"


class Ledger:
    """Values by key in `DIR/ledger.jsonl`, one JSON line each, flushed to disk as it is written.

    A measurement that the ledger holds is never taken again; that is what makes a
    replayed run end in the same bytes. Each line carries a digest of its own contents,
    so a damaged line is named instead of believed. A last line without its end was cut
    off by a crash: it is dropped, and its value is measured again.

    Args:
        folder: where `ledger.jsonl` lies; None keeps the ledger in memory.
        fresh: start anew, in a file of its own; an earlier run's ledger stays until `settle`.
        unfinished: go on in the file of a fresh one that was never settled.

    Raises:
        ConfigError: a stored line is damaged.
        StorageError: a line cannot be written.

    Example:
        >>> ledger = Ledger(None)
        >>> ledger.remember("time", {"net": "a"}, lambda: 0.5)
        0.5
        >>> ledger.remember("time", {"net": "a"}, lambda: 0.7)
        0.5
    """

    def __init__(self, folder: Path | None, *, fresh: bool = False, unfinished: bool = False) -> None:
        self.path = folder / (PARTIAL if fresh or unfinished else NAME) if folder else None
        self._entries: dict[str, dict[str, Any]] = {}
        if self.path and fresh:
            self.path.unlink(missing_ok=True)
        elif self.path and self.path.exists():
            self._read(self.path)

    def holds(self, kind: str, key: Any) -> bool:
        """Return whether a value is stored under (kind, key)."""
        return digest.of_value([kind, key]) in self._entries

    def remember(self, kind: str, key: Any, compute: Callable[[], Any]) -> Any:
        """Return the value stored under (kind, key), or compute, store and return it."""
        name = digest.of_value([kind, key])
        if name not in self._entries:
            self._append(kind, key, compute())
        return self._entries[name]["value"]

    def note(self, kind: str, key: Any, value: Any) -> None:
        """Store a value that is only reported, never read back in place of work."""
        self._append(kind, key, value)

    def of_kind(self, kind: str) -> list[tuple[Any, Any]]:
        """Return the (key, value) pairs of one kind, in the order in which they were stored."""
        return [(entry["key"], entry["value"]) for entry in self._entries.values() if entry["kind"] == kind]

    def adopt(self, other: "Ledger", kinds: tuple[str, ...]) -> None:
        """Take over another run's values of some kinds, so that this run replays them."""
        for kind in kinds:
            for key, value in other.of_kind(kind):
                self._append(kind, key, value)

    def settle(self) -> None:
        """End a fresh ledger: from now on it is the folder's."""
        if self.path and self.path.name == PARTIAL and self.path.exists():
            self.path = self.path.replace(self.path.with_name(NAME))

    def _append(self, kind: str, key: Any, value: Any) -> None:
        made = {"id": digest.of_value([kind, key]), "kind": kind, "key": key, "value": value}
        # through JSON and back, so that a first run and its replay see the same value
        entry = json.loads(json.dumps(made, allow_nan=False))
        if self.path:
            append_line(self.path, json.dumps(entry | {"check": digest.of_value(entry)}).encode() + b"\n")
        self._entries[entry["id"]] = entry

    def _read(self, path: Path) -> None:
        try:
            *lines, rest = path.read_bytes().split(b"\n")
            if rest:
                os.truncate(path, path.stat().st_size - len(rest))
        except OSError as error:
            raise StorageError(f"{path}: could not be read ({error.strerror}).") from None
        for number, line in enumerate(lines, 1):
            entry = _parse(line)
            if entry is None:
                raise ConfigError(
                    f"{path}: line {number} is damaged. Remove that line to measure its value again, "
                    "or start in a fresh folder."
                )
            self._entries[entry["id"]] = entry


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the entry in a line, or None unless its digest fits."""
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict) or entry.pop("check") != digest.of_value(entry):
            return None
    except (ValueError, KeyError, RecursionError):
        return None
    return entry if entry.keys() >= {"id", "kind", "key", "value"} else None
