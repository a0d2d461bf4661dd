"""The processes that train one network together, as torchrun starts them.

Each of the W processes is handed every example, and computes its own part of each batch: n_r of its n. Its
loss counts n_r W / n times, so that the mean of gradients over processes, which DistributedDataParallel
takes, is the gradient of the whole batch's mean loss. All then take the same step, and a hook that looks at
weights and gradients alone does the same everywhere.

What is not equal to one process: a norm layer in training mode sees its own part of a batch, and its running
statistics are the first process's. `FrozenNorms` leaves them as they are.
"""

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from numpy.typing import NDArray
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from wieldy.core import digest, lock
from wieldy.core.errors import DataError, RankError
from wieldy.methods.contract import Hook

Value = TypeVar("Value")
BACKEND = "gloo"  # weights are in the CPU's memory
PATIENCE = timedelta(minutes=30)  # one process may measure for long while the others wait
SETTLING_SECONDS = 0.2  # a thread that waits for the interpreter gets it at once
LOST = ("gloo", "Connection reset", "Connection closed", "Broken pipe", "TCPStore")


class Ranks:
    """This process among those that train together; alone unless torchrun, or the user, began several."""

    def __init__(self) -> None:
        if not dist.is_available():
            self.rank, self.world = 0, 1
            return
        if not dist.is_initialized() and dist.is_torchelastic_launched() and _asked_for() > 1:
            with _losses_named():
                dist.init_process_group(BACKEND, timeout=PATIENCE)
            atexit.register(_leave)
        together = dist.is_initialized()
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return what computes as the network does, and averages gradients over the processes."""
        if self.world == 1:
            return network
        # static: a parameter that no output depends on is waited for in vain otherwise
        return nn.parallel.DistributedDataParallel(network, static_graph=True)

    def part(self, size: int) -> slice:
        """Return which examples of a batch are this process's; of fewer than processes, some share one.

        Example:
            >>> Ranks().part(7)
            slice(0, 7, None)
        """
        begin, end = self._bounds(size)
        return slice(begin, end) if begin < end else slice(0, 1)

    def weight(self, size: int) -> float:
        """Return how often this process's loss counts, so that the mean over processes is the batch's."""
        begin, end = self._bounds(size)
        return (end - begin) * self.world / size

    def _bounds(self, size: int) -> tuple[int, int]:
        return size * self.rank // self.world, size * (self.rank + 1) // self.world

    def from_first(self, compute: Callable[[], Value]) -> Value:
        """Return what the first process computes; the others wait for it."""
        if self.world == 1:
            return compute()
        found: list[Any] = [compute() if self.first else None]
        with _losses_named():
            dist.broadcast_object_list(found)
        value: Value = found[0]
        return value

    def same_statistics(self, network: nn.Module) -> None:
        """Give every process the first one's buffers: each norm layer has seen other examples."""
        if self.world == 1:
            return
        with _losses_named():
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work together while nobody measures on this machine.

        One of the processes here holds the lock for all: were each to take its own, one could wait for
        whoever measures, who waits for another one, who waits for the first.
        """
        holding = lock.working() if os.environ.get("LOCAL_RANK", "0") == "0" else nullcontext()
        with holding:
            if self.world > 1:
                with _losses_named():
                    dist.barrier()
            yield

    def check_same(self, batch: Sequence[NDArray[Any]]) -> None:
        """Refuse processes that were handed different batches.

        Raises:
            DataError: they were.
        """
        if self.world == 1:
            return
        found: list[Any] = [None] * self.world
        own = digest.of_arrays({str(index): array for index, array in enumerate(batch)})
        with _losses_named():
            dist.all_gather_object(found, own)
        if len(set(found)) > 1:
            raise DataError(
                "train: every process must be handed the same batches, which fit divides among them; they "
                "differ. Give a loader no DistributedSampler, and shuffle it by a generator with one seed."
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Say it in a sentence where another process is lost, or torchrun ends this one because of that.

        Raises:
            RankError: one is.
        """
        if self.world == 1:
            yield
            return
        with _losses_named(), _termination_named():
            yield


class FrozenNorms(Hook):
    """Keeps BatchNorm modules in evaluation mode while all else trains: their statistics stay as they are."""

    def before_forward(self, network: nn.Module) -> None:
        """Put every BatchNorm into evaluation mode; `fit` puts the whole network into training mode."""
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def state(self) -> Mapping[str, Tensor]:
        """Return nothing: statistics are among the network's own tensors."""
        return {}


def _leave() -> None:
    """Give the interpreter to gloo's threads before it ends.

    One that still waits for it then, to let go of the last tensors, ends the process by an abort.
    """
    time.sleep(SETTLING_SECONDS)


def _asked_for() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def _losses_named() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(word in str(error) for word in LOST):
            raise
        raise _lost(str(error).splitlines()[0]) from None


@contextmanager
def _termination_named() -> Iterator[None]:
    """Raise on SIGTERM: torchrun may see a loss, and end the other processes, before gloo tells them."""

    def end(*_: object) -> NoReturn:
        raise _lost("torchrun ended this one too")

    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _lost(why: str) -> RankError:
    return RankError(
        f"rank {os.environ.get('RANK', '0')}: another process of this training is gone ({why}). Its own "
        "message, if it left one, says why; start all of them again with torchrun."
    )
