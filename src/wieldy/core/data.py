"""The examples that a network is trained, chosen and judged on."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wieldy.core import rng
from wieldy.core.errors import DataError, ShapeError

Inputs = NDArray[np.float32]
Targets = NDArray[np.int64]
Batch = tuple[Inputs, Targets]
Scores = Callable[[NDArray[np.float32], Targets], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit: the mean over examples of `scores(outputs, targets)`.

    `scale` is the metric's full range; a point is a hundredth of it.
    """

    name: str
    scores: Scores  # (n, ...) outputs and (n,) targets to (n,) scores
    scale: float = 1.0
    higher_is_better: bool = True

    def points_lost(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
        """Return how many points worse the mean of `after` is than that of `before`."""
        sign = 1.0 if self.higher_is_better else -1.0
        return float(sign * 100 * (before.mean() - after.mean()) / self.scale)


def _is_right(outputs: NDArray[np.float32], targets: Targets) -> NDArray[np.float64]:
    return np.asarray(outputs.argmax(axis=1) == targets, np.float64)


ACCURACY = Metric(name="accuracy", scores=_is_right)


@runtime_checkable
class Split(Protocol):
    """One set of examples that can be read any number of times."""

    @property
    def size(self) -> int:
        """How many examples there are."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch."""

    @property
    def labels(self) -> int:
        """One more than the largest label."""

    def steps(self, batch_size: int) -> int:
        """Return how many batches `batches(batch_size)` yields."""

    def batches(self, batch_size: int, order: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield (inputs, targets); in an order drawn from `order` where the set allows one."""


@dataclass(frozen=True)
class Arrays:
    """Examples held in memory.

    Args:
        inputs: float32, (n, ...), finite.
        targets: whole numbers, (n,), not negative.

    Raises:
        DataError: empty, of unequal length, or holding NaN or infinity.

    Example:
        >>> split = Arrays(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))
        >>> [len(x) for x, _ in split.batches(2)]
        [2, 2]
    """

    inputs: Inputs
    targets: Targets
    size: int = field(init=False)
    shape: tuple[int, ...] = field(init=False)
    labels: int = field(init=False)

    def __post_init__(self) -> None:
        inputs, targets = checked_batch(self.inputs, self.targets, "data")
        found = {"inputs": inputs, "targets": targets, "size": len(inputs), "shape": inputs.shape[1:]}
        for name, value in (found | {"labels": int(targets.max()) + 1}).items():
            object.__setattr__(self, name, value)

    def steps(self, batch_size: int) -> int:
        """Return how many batches `batches(batch_size)` yields."""
        return max(1, -(-(self.size - 1) // batch_size))

    def batches(self, batch_size: int, order: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield (inputs, targets) of `batch_size` examples; a lone last one joins those before it.

        A norm layer cannot train on a batch of one.
        """
        index = order.permutation(self.size) if order else np.arange(self.size)
        for part in np.split(index, range(batch_size, self.size - 1, batch_size)):
            yield self.inputs[part], self.targets[part]

    def take(self, index: NDArray[np.intp]) -> "Arrays":
        """Return the examples at `index`."""
        return Arrays(self.inputs[index], self.targets[index])


class Stream:
    """Batches from a loader of the user's own, such as a torch DataLoader.

    The loader keeps its own batch size and order. Every batch is checked as it passes.

    Raises:
        DataError: the loader is empty, cannot be read twice, or yields something else
            than pairs of (inputs, targets) with inputs of one shape.
    """

    def __init__(self, loader: Iterable[Any], name: str = "data") -> None:
        if iter(loader) is loader:
            raise DataError(
                f"{name}: a generator can be read only once; hand in a DataLoader or a list of batches."
            )
        self._loader = loader
        self._name = name
        self.size, self.labels, self._steps = 0, 0, 0
        self.shape: tuple[int, ...] = ()
        for inputs, targets in self.batches(0):
            if self._steps and inputs.shape[1:] != self.shape:
                raise DataError(
                    f"{name}: every batch must hold inputs of the same shape; got {self.shape} "
                    f"and {inputs.shape[1:]}."
                )
            self.shape = inputs.shape[1:]
            self.size += len(inputs)
            self.labels = max(self.labels, int(targets.max()) + 1)
            self._steps += 1

    def steps(self, batch_size: int) -> int:  # noqa: ARG002
        """Return how many batches the loader yields."""
        return self._steps

    def batches(self, batch_size: int, order: np.random.Generator | None = None) -> Iterator[Batch]:  # noqa: ARG002
        """Yield the loader's batches as checked arrays."""
        empty = True
        for item in self._loader:
            empty = False
            if not isinstance(item, (tuple, list)) or len(item) != 2:
                raise DataError(
                    f"{self._name}: each batch must be (inputs, targets); got {type(item).__name__}."
                )
            yield checked_batch(item[0], item[1], self._name)
        if empty:
            raise DataError(f"{self._name}: the loader is empty; hand in at least one batch.")


def checked_batch(inputs: Any, targets: Any, name: str) -> Batch:
    """Return inputs as finite float32 and targets as int64 of equal, positive length."""
    x, y = _numbers(inputs, f"{name}: inputs"), _numbers(targets, f"{name}: targets")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
        x = np.asarray(x, np.float32, order="C")
    if x.ndim == 0 or len(x) == 0:
        raise DataError(f"{name}: holds no examples; at least one is needed.")
    if y.shape != (len(x),):
        raise DataError(f"{name}: targets must be ({len(x)},), one label for each input; got {y.shape}.")
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{name}: targets must be whole numbers (class labels); got {y.dtype}.")
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{name}: inputs must be finite; {int((~finite).sum())} of {len(x)} hold NaN or infinity, "
            f"the first at index {int(np.argmin(finite))}. Clean or drop them."
        )
    if y.min() < 0:
        raise DataError(f"{name}: labels must not be negative; got {int(y.min())}.")
    return x, y.astype(np.int64)


def _numbers(values: Any, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors on another device
        raise DataError(f"{name} cannot be read as one array ({error}).") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} must be real numbers; got {array.dtype}.")
    return array


def check_fit(split: Split, shape: tuple[int | None, ...], classes: int, name: str) -> None:
    """Refuse a set whose inputs or labels the network has no place for.

    Args:
        shape: of the network's input, batch first.
        classes: how many outputs the network has.

    Raises:
        ShapeError: inputs of another shape.
        DataError: labels that the network has no output for.
    """
    if split.shape != shape[1:]:
        raise ShapeError(
            f"{name}: inputs must be (batch, {', '.join(map(str, shape[1:]))}); "
            f"got (batch, {', '.join(map(str, split.shape))})."
        )
    check_labels(split.labels, classes, name)


def check_labels(labels: int, classes: int, name: str) -> None:
    """Refuse `labels` classes where the network has only `classes` outputs."""
    if labels > classes:
        raise DataError(
            f"{name}: labels must be below {classes}, the network's number of outputs; got {labels - 1}. "
            "Check the label encoding or the network's last layer."
        )


def as_split(source: Any, name: str) -> Split:
    """Turn (inputs, targets), a Split or a re-readable loader into a Split."""
    if isinstance(source, Split):
        return source
    if isinstance(source, tuple) and len(source) == 2:
        try:
            return Arrays(*source)
        except DataError as error:
            raise DataError(str(error).replace("data:", f"{name}:", 1)) from None
    if isinstance(source, Iterable):
        return Stream(source, name)
    raise DataError(
        f"{name}: must be (inputs, targets) or a loader of such batches; got {type(source).__name__}."
    )


class Data:
    """Training, validation and test examples with the metric that judges them.

    Search and recovery read `train` and `validate`; `test` is read once, at the end.
    Where only `train` is given, in memory, it is split 70/15/15 and `notes` says so.

    Args:
        train: (inputs, targets) arrays or a re-readable loader of such batches.
        validate, test: the same; both or neither.
        metric: defaults to accuracy.
        classes: names of the classes, in the order of the network's outputs.

    Raises:
        DataError: a set is empty or damaged, or only one of `validate` and `test` is given.

    Example:
        >>> rows = np.zeros((20, 2), np.float32), np.arange(20) % 2
        >>> data = Data(rows)
        >>> data.train.size, data.validate.size, data.test.size
        (14, 3, 3)
    """

    def __init__(
        self,
        train: Any,
        validate: Any = None,
        test: Any = None,
        *,
        metric: Metric = ACCURACY,
        classes: tuple[str, ...] = (),
        seed: int = 0,
    ) -> None:
        self.metric = metric
        self.classes = classes
        self.notes: tuple[str, ...] = ()
        self.train = as_split(train, "train")
        if validate is not None and test is not None:
            self.validate = as_split(validate, "validate")
            self.test = as_split(test, "test")
        elif validate is None and test is None:
            self._divide(seed)
        else:
            raise DataError("data: give both validate and test, or neither to have train split 70/15/15.")

    def _divide(self, seed: int) -> None:
        whole = self.train
        if not isinstance(whole, Arrays) or whole.size < 10:
            raise DataError("data: only arrays of at least 10 examples can be split; give validate and test.")
        order = rng.generator(seed, "data", "split").permutation(whole.size)
        first, second = round(0.7 * whole.size), round(0.85 * whole.size)
        self.train = whole.take(order[:first])
        self.validate = whole.take(order[first:second])
        self.test = whole.take(order[second:])
        self.notes = (f"one set of {whole.size} was given; it was split 70/15/15 with seed {seed}",)
