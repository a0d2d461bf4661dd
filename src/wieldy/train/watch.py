"""Scalars of a training, for whoever draws them: TensorBoard, MLflow, a file."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from wieldy.core.errors import ConfigError
from wieldy.methods.contract import Hook, Step
from wieldy.train.ranks import Ranks

Log = Callable[[str, float, int], object]  # name, value, step


class Watch(Hook):
    """Hands loss, learning rate and the metric on validation to a function of the user's.

    Under torchrun the first process alone does, with the loss of its own part of each batch.

    Args:
        log: called as log(name, value, step), which is how TensorBoard's `SummaryWriter.add_scalar` and
            MLflow's `log_metric` take them.
        name: of this training, before each of the names.
        every: steps between two calls for loss and learning rate.

    Raises:
        ConfigError: `every` is below 1.

    Example:
        >>> seen = []
        >>> watch = Watch(lambda name, value, step: seen.append((name, value, step)))
        >>> watch.after_epoch(nn.Linear(1, 1), 0, 0.75)
        False
        >>> seen
        [('training/validation', 0.75, 0)]
    """

    def __init__(self, log: Log, *, name: str = "training", every: int = 10) -> None:
        if every < 1:
            raise ConfigError(f"Watch: every must be at least 1 step; got {every}.")
        self.log, self.name, self.every = log, name, every

    def after_step(self, step: Step) -> None:
        """Log the loss, penalties included, and the learning rate."""
        if step.index % self.every == 0 and Ranks().first:
            self.log(f"{self.name}/loss", step.loss, step.index)
            self.log(f"{self.name}/learning_rate", step.learning_rate, step.index)

    def after_epoch(self, network: nn.Module, epoch: int, score: float) -> bool:  # noqa: ARG002
        """Log the metric on the validation set, the larger the better."""
        if Ranks().first:
            self.log(f"{self.name}/validation", score, epoch)
        return False

    def state(self) -> Mapping[str, Tensor]:
        """Return nothing: there is nothing to keep."""
        return {}
