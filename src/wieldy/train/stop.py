"""Early stopping: training ends once the validation set says that it no longer helps.

Source: Prechelt, "Early Stopping - But When?", in Neural Networks: Tricks of the Trade, 1998, section 2: stop
after so many epochs in a row without a better score, and keep the weights of the best one.
"""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wieldy.core.errors import ConfigError
from wieldy.methods.contract import Hook
from wieldy.train.checkpoint import under

BEST, WAITED = "best", "waited"


class EarlyStop(Hook):
    """Ends training after some epochs without a better score, and goes back to the best one.

    A schedule that lowers the learning rate to the end of training gains most in its last epochs, so patience
    should be a good part of them.

    Args:
        patience: how many epochs in a row may fail to be better.
        begin: the first epoch that counts. Where zeros come while a network trains, those before all have
            come do not: their network is another one.

    Raises:
        ConfigError: patience below 1, or begin below 0.

    Cost: a copy of the weights whenever they are the best so far.

    Example:
        >>> stop, network = EarlyStop(patience=2), nn.Linear(1, 1)
        >>> [stop.after_epoch(network, epoch, score) for epoch, score in enumerate([0.5, 0.7, 0.6, 0.7])]
        [False, False, False, True]
    """

    def __init__(self, patience: int = 2, *, begin: int = 0) -> None:
        if patience < 1 or begin < 0:
            raise ConfigError(
                f"EarlyStop: patience must be at least 1 epoch and begin at least 0; got {patience}, {begin}."
            )
        self.patience, self.begin = patience, begin
        self._best, self._waited = -math.inf, 0
        self._weights: dict[str, Tensor] = {}

    def attach(self, network: nn.Module) -> None:  # noqa: ARG002 - a Hook's signature
        """Begin anew."""
        self._best, self._waited, self._weights = -math.inf, 0, {}

    def after_epoch(self, network: nn.Module, epoch: int, score: float) -> bool:
        """Keep the best weights; end training where patience is over."""
        if epoch < self.begin:
            return False
        if score > self._best:
            self._best, self._waited = score, 0
            self._weights = copy.deepcopy(network.state_dict())
        else:
            self._waited += 1
        return self._waited >= self.patience

    def finish(self, network: nn.Module) -> None:
        """Go back to the best weights."""
        if self._weights:
            network.load_state_dict(self._weights)

    def state(self) -> Mapping[str, Tensor]:
        """Return the best weights and score, and how long none was better."""
        facts = {BEST: torch.tensor(self._best, dtype=torch.float64), WAITED: torch.tensor(self._waited)}
        return facts | {f"{BEST}.{name}": value for name, value in self._weights.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self._best, self._waited = float(state[BEST]), int(state[WAITED])
        self._weights = under(state, f"{BEST}.")
