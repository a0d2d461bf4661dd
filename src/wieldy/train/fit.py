"""One training loop for every purpose; distillation, masks and quantization are hooks passed in as values."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from wieldy.core import rng
from wieldy.core.config import Frozen
from wieldy.core.data import Data, Split, each
from wieldy.core.errors import ConfigError, DivergedError
from wieldy.core.ledger import Ledger
from wieldy.core.progress import Progress, Silent, Task
from wieldy.graph.tensors import all_of, alone, as_rows, tensors
from wieldy.methods.contract import Hook, Step
from wieldy.stats.loss import Loss, check_outputs, loss_of
from wieldy.stats.modes import evaluating
from wieldy.train.checkpoint import Checkpoint
from wieldy.train.layout import laid_out, training_layout
from wieldy.train.ranks import Ranks

Network = TypeVar("Network", bound=nn.Module)
Augment = Callable[[Tensor], Tensor]
EVALUATE_BATCH = 250


class FitConfig(Frozen):
    """How `fit` trains: stochastic gradient descent with Nesterov momentum and a cosine schedule."""

    epochs: int = Field(default=6, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)  # share of all steps
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)  # on weights; not on biases and norm layers
    precision: Literal["f32", "bf16"] = "f32"  # bf16: autocast forward and backward
    seed: int = 0


def fit(
    network: Network,
    data: Data,
    *hooks: Hook,
    config: FitConfig | None = None,
    loss: Loss | None = None,
    augment: Augment | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
    checkpoints: Path | None = None,
) -> Network:
    """Train a copy of `network` and return it in evaluation mode.

    The step t of T has the rate `learning_rate * (1 + cos(pi t / T)) / 2`, after a linear warm-up.
    With the same seed, thread count and instruction set the result is the same bit for bit. Under torchrun
    every process calls `fit` alike, on the same data; each computes its part of every batch, and the result
    is that of one process but for rounding, dropout and norm layers in training mode (see `ranks`). The
    first process alone notes, shows and keeps.

    Args:
        network: any module that maps a batch of inputs to outputs; not altered.
        data: `train` is trained on; the metric on `validate` is noted after every epoch.
        hooks: take part in every step, in this order.
        loss: maps (outputs, targets) to a scalar; default: that of the data's metric.
        augment: maps a batch of inputs to another; its randomness is seeded at every step.
        ledger: notes the metric after every epoch.
        checkpoints: a folder in which the state after every epoch is kept. The same training, begun again,
            goes on from there to the same result, bit for bit; it is for one run, whose data and hooks'
            settings stay as they are. A hook may not know how (`Hook.state`); training then starts over.

    Returns:
        A trained copy.

    Raises:
        DivergedError: the loss or the metric becomes NaN or infinite.
        ConfigError: there is nothing to learn from.
        DataError: labels that the network has no output for, or processes with different batches.
        RankError: of several processes one is gone.

    Cost: `epochs` forward and backward passes over `data.train`.

    Example:
        >>> import numpy as np
        >>> x = np.eye(4, dtype=np.float32).repeat(5, 0)
        >>> data = Data((x, np.arange(20) // 5), (x, np.arange(20) // 5), (x, np.arange(20) // 5))
        >>> trained = fit(nn.Linear(4, 4), data, config=FitConfig(epochs=20, learning_rate=1.0))
        >>> evaluate(trained, data.validate, data)
        1.0
    """
    config = config or FitConfig()
    loss = loss or loss_of(data.metric)
    if loss is None and not hooks:
        raise ConfigError(
            f"fit: the metric {data.metric.name!r} has no loss, and no hook teaches. Give one: "
            "Metric(..., loss=...), or Distill."
        )
    for hook in hooks:
        _check_needs(hook, config)
    ranks = Ranks()
    progress = progress if progress and ranks.first else Silent()
    ledger = ledger if ledger and ranks.first else Ledger(None)
    layout = training_layout(network)
    trained = laid_out(copy.deepcopy(network), layout)
    total = config.epochs * data.train.steps(config.batch_size)
    optimizer = _optimizer(trained, config)
    with seeded(config.seed, "fit"), progress.task("training", total) as task, ranks.watching():
        for hook in hooks:
            hook.attach(trained)
        kept = Checkpoint(checkpoints, trained, optimizer, hooks, (config, total, data.train.size), ranks)
        done = kept.found()
        index = done * (total // config.epochs)
        task.advance(index)
        training = _Training(
            trained, layout, ranks.wrapped(trained), data, hooks, config, loss, augment, optimizer, ranks,
            task, total, index,
        )  # fmt: skip
        for epoch in range(done, config.epochs):
            score = training.epoch(epoch)
            ledger.note("epoch", {"epoch": epoch, "config": config.model_dump()}, {data.metric.name: score})
            upward = score if data.metric.higher_is_better else -score
            ends = [hook.after_epoch(trained, epoch, upward) for hook in hooks]
            kept.keep(config.epochs if any(ends) else epoch + 1)
            if any(ends):
                break
        for hook in hooks:
            hook.finish(trained)
    return laid_out(trained, torch.contiguous_format).eval()


@dataclass
class _Training:
    """What every step of one training needs.

    Attributes:
        network: as hooks see it.
        layout: of its weights, and so of inputs.
        together: computes as it does, for this process's part of each batch.
        index: of the next step, of `total`.
    """

    network: nn.Module
    layout: torch.memory_format
    together: nn.Module
    data: Data
    hooks: tuple[Hook, ...]
    config: FitConfig
    loss: Loss | None
    augment: Augment | None
    optimizer: torch.optim.Optimizer
    ranks: Ranks
    task: Task
    total: int
    index: int

    def epoch(self, epoch: int) -> float:
        """Train one epoch; return the metric on the validation set."""
        data = self.data
        with self.ranks.working():
            self.network.train()
            order = rng.generator(self.config.seed, "fit", "order", epoch)
            for place, (x, y) in enumerate(data.train.batches(self.config.batch_size, order)):
                if place == 0:
                    self.ranks.check_same((*each(x), *each(y)))
                self._step(tensors(x), tensors(y))
                self.task.advance()
            self.ranks.same_statistics(self.network)
            score = self.ranks.from_first(lambda: evaluate(self.network, data.validate, data))
        if not math.isfinite(score):
            raise DivergedError(
                f"fit: {data.metric.name} on validation is {score} after epoch {epoch + 1}; the weights "
                "have diverged. Lower learning_rate."
            )
        told = f"epoch {epoch + 1}/{self.config.epochs}, {data.metric.name} on validation {score:.4f}"
        self.task.advance(0, told)
        return score

    def _step(self, inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> None:
        """Take one step on this process's part of a batch."""
        config, ranks = self.config, self.ranks
        if self.augment:
            with seeded(config.seed, "augment", self.index):
                inputs = (self.augment(inputs[0]), *inputs[1:])
        size = len(inputs[0])
        own = ranks.part(size)
        inputs = tuple(
            value.to(memory_format=self.layout) if value.ndim == 4 else value
            for value in (whole[own] for whole in inputs)
        )
        rate = learning_rate(config, self.index, self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for hook in self.hooks:
            hook.before_forward(self.network)
        chance = seeded(config.seed, "forward", self.index, ranks.rank) if ranks.world > 1 else nullcontext()
        with chance, torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            outputs = self.together(*inputs)
        outputs = alone(tuple(value.float() for value in all_of(outputs)))
        if self.index == 0:
            check_outputs(outputs, self.data.train.labels, "train")
        step = Step(
            self.network, alone(inputs), outputs, alone(tuple(whole[own] for whole in targets)), self.index,
            self.total, rate,
        )  # fmt: skip
        self._descend(step, ranks.weight(size))
        self.index += 1

    def _descend(self, step: Step, weight: float) -> None:
        """One optimiser step with every hook's part in it."""
        value = torch.zeros(()) if self.loss is None else self.loss(step.outputs, step.targets)
        for hook in self.hooks:
            extra = hook.penalty(step)
            if extra is not None:
                value = value + extra
        if not torch.isfinite(value):
            raise DivergedError(
                f"fit: the loss is {value.item()} at step {step.index}; it must stay finite. "
                "Lower learning_rate, or look for extreme inputs."
            )
        if not value.requires_grad:
            raise ConfigError(
                "fit: neither a loss nor a hook teaches. Give the metric a loss, or use Distill."
            )
        self.optimizer.zero_grad(set_to_none=True)
        (value if weight == 1 else weight * value).backward()  # type: ignore[no-untyped-call]
        step = replace(step, loss=float(value.detach()))
        for hook in self.hooks:
            hook.after_backward(step)
        self.optimizer.step()
        for hook in self.hooks:
            hook.after_step(step)


def _check_needs(hook: Hook, config: FitConfig) -> None:
    for name, value in hook.needs.items():
        if getattr(config, name) != value:
            raise ConfigError(
                f"fit: {type(hook).__name__} needs {name}={value!r}; got {getattr(config, name)!r}. "
                f"Use config.model_copy(update=dict({type(hook).__name__}.needs))."
            )


def learning_rate(config: FitConfig, index: int, total: int) -> float:
    """Return the rate of step `index` of `total`: linear warm-up, then a half cosine to zero.

    Example:
        >>> round(learning_rate(FitConfig(learning_rate=1.0, warmup=0), 50, 100), 6)
        0.5
    """
    warm = int(config.warmup * total)
    if index < warm:
        return config.learning_rate * (index + 1) / warm
    done = (index - warm) / max(1, total - warm)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _optimizer(network: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    free = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ConfigError(
            "fit: the network has no parameter that requires a gradient; there is nothing to train."
        )
    return torch.optim.SGD(
        groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
    )


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Seed torch for a while, then put its state back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive(seed, *names))
        yield


@torch.no_grad()
def evaluate(network: nn.Module, split: Split, data: Data) -> float:
    """Return the mean of the data's metric over `split`, in torch, without altering the network's mode."""
    total = 0.0
    with evaluating(network):
        for x, y in split.batches(EVALUATE_BATCH):
            total += float(data.metric.scores(as_rows(network(*tensors(x))), y).sum())
    return total / split.size
