"""A run under torchrun: every process does all of it, and they agree on whatever may differ.

What is computed from seeds comes out alike everywhere. Times do not, so the first process alone measures, and
what it finds is handed to the others through the ledger; it alone writes, too. The machines must be alike: on
another CPU the same sums round otherwise, and processes would choose otherwise.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wieldy.core.ledger import Ledger
from wieldy.core.lock import alone_in
from wieldy.core.progress import Progress, Silent
from wieldy.flow.log import Logged
from wieldy.flow.state import MEASURED, opened_ledger, prepared
from wieldy.graph.cost_table import CostTable
from wieldy.runtime.measure import measured_costs
from wieldy.train.ranks import Ranks


class SharedLedger(Ledger):
    """The first process's ledger, of which the others hold what was asked of it.

    Args:
        own: this process's; the others' are in memory.
        ranks: of this training.
    """

    def __init__(self, own: Ledger, ranks: Ranks) -> None:
        self._own, self._ranks = own, ranks
        self.path = own.path

    def remember(self, kind: str, key: Any, compute: Callable[[], Any]) -> Any:
        """Return what the first process holds or finds.

        What is measured is so by the first alone; what trains takes all of them, so all compute all else.
        """
        known = self._ranks.from_first(lambda: self._own.holds(kind, key))
        if not known and kind not in MEASURED:
            found = compute()
            return self._handed(kind, key, lambda: found)
        return self._handed(kind, key, compute)

    def _handed(self, kind: str, key: Any, compute: Callable[[], Any]) -> Any:
        value = self._ranks.from_first(lambda: self._own.remember(kind, key, compute))
        return self._own.remember(kind, key, lambda: value)

    def note(self, kind: str, key: Any, value: Any) -> None:
        """Store a value that is only reported."""
        self._own.note(kind, key, value)

    def of_kind(self, kind: str) -> list[tuple[Any, Any]]:
        """Return what this process holds of one kind."""
        return self._own.of_kind(kind)

    def settle(self) -> None:
        """End it."""
        self._own.settle()


@contextmanager
def begun(
    out: Path, *, replay: str | Path | None, resumed: bool, progress: Progress | None
) -> Iterator[tuple[Path, Logged, Ledger]]:
    """Begin a run, or go on with it: yield this process's folder, log and ledger; the log ends with the run.

    Args:
        out, replay: the first process's folder, and whose measurements it reads back.
        resumed: whether the run goes on.
        progress: is told by the first process alone.
    """
    first = Ranks().first
    with _own_folder(out) as folder:
        log = Logged(folder, progress if progress and first else Silent(), resumed=resumed)
        yield folder, log, shared(opened_ledger(folder, replay if first else None, resumed=resumed))
        log.settle()


@contextmanager
def _own_folder(out: Path) -> Iterator[Path]:
    """Hold the folder of a run, or where another process of the run does, one that is gone afterwards."""
    if Ranks().first:
        with alone_in(prepared(out)):
            yield out
        return
    with tempfile.TemporaryDirectory(prefix="wieldy-") as folder:
        yield Path(folder)


def shared(ledger: Ledger) -> Ledger:
    """Return a ledger on which all processes of a run agree."""
    ranks = Ranks()
    return ledger if ranks.world == 1 else SharedLedger(ledger, ranks)


def agreed_costs(*, threads: int, tier: str) -> CostTable:
    """Return the cost table of the first process's machine."""
    return Ranks().from_first(lambda: measured_costs(threads=threads, tier=tier))


def training_threads(threads: int) -> int:
    """Return how many threads one of several processes on this machine trains with.

    Example:
        >>> training_threads(4)
        4
    """
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
