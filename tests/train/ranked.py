"""Trains a small network as one of several processes, for `test_ranks`: what torchrun starts."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wieldy.core.data import Data
from wieldy.core.errors import WieldyError
from wieldy.methods.contract import Hook, Step
from wieldy.train.fit import FitConfig, fit
from wieldy.train.ranks import FrozenNorms, Ranks
from wieldy.zoo.data.digits import optical_digits

TEN = FitConfig(epochs=1, batch_size=50, learning_rate=0.05)


def net(*, norms: bool = False, unused: bool = False) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), *([nn.BatchNorm2d(8)] if norms else []), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 16, 10),
    )  # fmt: skip
    if unused:
        made.register_parameter("never_read", nn.Parameter(torch.ones(3)))
    return made


def few(size: int = 499) -> Data:
    """Return ten batches, the last one smaller than the others and odd."""
    whole = optical_digits()
    rows = np.arange(size)
    return Data(whole.train.take(rows), whole.validate.take(rows[:100]), whole.test.take(rows[:100]))


class Ends(Hook):
    """Ends one process in the middle of training, as a crash or Ctrl-C would."""

    def __init__(self, how: int) -> None:
        self.how = how

    def after_step(self, step: Step) -> None:
        if step.index == 4 and Ranks().rank == 1:
            os.kill(os.getpid(), self.how)
            time.sleep(5)


def main() -> None:
    """Do what each argument after the folder says, and leave weights in files named after this process."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    for place, what in enumerate(sys.argv[2:]):
        trained = train(what, folder)
        torch.save(trained.state_dict(), folder / f"{place}-{what}-{Ranks().rank}.pt")


def train(what: str, folder: Path) -> nn.Module:
    """Train the network of one case."""
    config = TEN
    hooks: list[Hook] = []
    network, data = net(), few()
    checkpoints = None
    if what == "frozen":
        network, hooks = net(norms=True), [FrozenNorms()]
    if what == "live":
        network, config = net(norms=True), TEN.model_copy(update={"epochs": 3})
    if what == "unused":
        network = net(unused=True)
    if what == "killed":
        hooks = [Ends(signal.SIGKILL)]
    if what == "terminated":
        hooks = [Ends(signal.SIGTERM)]
    if what == "differing" and Ranks().rank == 1:
        data = Data(data.train.take(np.arange(499)[::-1].copy()), data.validate, data.test)
    if what == "kept":
        checkpoints = folder if Ranks().rank == 0 else folder / "none"
        config = TEN.model_copy(update={"epochs": 2})
    try:
        return fit(network, data, *hooks, config=config, checkpoints=checkpoints)
    except WieldyError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None


if __name__ == "__main__":
    main()
