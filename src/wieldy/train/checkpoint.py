"""A training's state after every epoch, so that a crash costs one epoch and not all of them.

Kept are weights, the optimiser's momenta, torch's random state and what each hook says it needs; all of it as
safetensors, so that reading it back runs no code. The file is named after everything that the training
started from, so that the state of another one is never taken for it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wieldy.core import digest
from wieldy.core.config import Frozen
from wieldy.core.errors import ConfigError
from wieldy.core.files import write_atomic
from wieldy.methods.contract import Hook
from wieldy.train.ranks import Ranks

EPOCHS, CHECK = "epochs", "check"
NETWORK, OPTIMIZER, RANDOM = "network.", "optimizer.", "random"


class Checkpoint:
    """Where the state of one training is kept.

    Args:
        folder: of all trainings of a run; None keeps nothing.
        network: about to be trained.
        optimizer: of its parameters.
        hooks: attached; one that cannot say what it needs (`Hook.state` is None) keeps nothing being kept.
        facts: what else decides how the training goes: settings, and how many examples there are.
        ranks: of several processes the first one keeps, and hands what it finds to the others.
    """

    def __init__(
        self,
        folder: Path | None,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        hooks: Sequence[Hook],
        facts: Sequence[Frozen | int],
        ranks: Ranks,
    ) -> None:
        self._network, self._optimizer, self._hooks, self._ranks = network, optimizer, hooks, ranks
        self.path = None
        if folder is not None and all(hook.state() is not None for hook in hooks):
            key: list[Any] = [fact.model_dump() if isinstance(fact, Frozen) else fact for fact in facts]
            key += [type(hook).__name__ for hook in hooks]
            key.append(digest.of_bytes(_bytes(network.state_dict())))
            self.path = folder / f"{digest.of_value(key)[:24]}.safetensors"

    def keep(self, epochs: int) -> None:
        """Write down the state after so many epochs.

        Raises:
            StorageError: it cannot be written; the state of the epoch before is intact.
        """
        if self.path is None or not self._ranks.first:
            return
        state = {NETWORK + name: value for name, value in self._network.state_dict().items()}
        for index, values in self._optimizer.state_dict()["state"].items():
            state |= {f"{OPTIMIZER}{index}.{name}": of for name, of in values.items() if of is not None}
        for index, hook in enumerate(self._hooks):
            state |= {f"{_of(index)}{name}": value for name, value in (hook.state() or {}).items()}
        with suppress(OSError):  # writing says what is wrong
            self.path.parent.mkdir(exist_ok=True)
        state |= {RANDOM: torch.get_rng_state()}
        facts = {EPOCHS: str(epochs), CHECK: digest.of_bytes(_bytes(state))}
        write_atomic(self.path, _bytes(state, facts))

    def found(self) -> int:
        """Put back the state that was kept, if there is one; return how many epochs it has behind it.

        Raises:
            ConfigError: the file is damaged.
        """
        path = self.path
        kept = self._ranks.from_first(lambda: _read(path) if path and path.is_file() else None)
        if kept is None:
            return 0
        state, epochs = kept
        self._network.load_state_dict(under(state, NETWORK))
        values: dict[int, dict[str, Tensor]] = {}
        for name, value in under(state, OPTIMIZER).items():
            index, _, of = name.partition(".")
            values.setdefault(int(index), {})[of] = value
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": values})
        for place, hook in enumerate(self._hooks):
            hook.restore(under(state, _of(place)))
        torch.set_rng_state(state[RANDOM])
        return epochs


def _of(index: int) -> str:
    return f"hook.{index}."


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the values whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _bytes(state: Mapping[str, Tensor], facts: dict[str, str] | None = None) -> bytes:
    from safetensors.torch import save

    return save({name: value.detach().contiguous().clone() for name, value in state.items()}, facts)


def _read(path: Path) -> tuple[dict[str, Tensor], int]:
    """Return a kept state, and how many epochs it has behind it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            facts = file.metadata() or {}
    except SafetensorError:
        facts = {}
    if CHECK not in facts or digest.of_bytes(_bytes(state)) != facts[CHECK]:
        raise ConfigError(f"{path}: is damaged. Remove it; that training then starts over.")
    return state, int(facts[EPOCHS])
