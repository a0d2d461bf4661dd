"""The examples that a network is trained, chosen and judged on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wieldy.core import rng
from wieldy.core.errors import DataError, ShapeError

Rows = NDArray[Any] | tuple[NDArray[Any], ...]  # one array, or one for each input, output or target
Inputs = Rows
Targets = Rows
Batch = tuple[Inputs, Targets]
Scores = Callable[[Any, Any], NDArray[np.float64]]
Slice = NDArray[Any] | Sequence[bool] | Callable[[Any, Any], Any]  # a mask, or what yields one for a batch
KEPT = (np.dtype(np.int64), np.dtype(np.bool_))  # dtypes of inputs that stay; all others become float32


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit: the mean over examples of `scores(outputs, targets)`.

    Attributes:
        name: in the report.
        scores: maps outputs (n, ...) and targets to (n,) scores; a tuple of outputs, where there are several.
        scale: the metric's full range; a point is a hundredth of it.
        higher_is_better: its direction.
        labels: whether targets are class labels: (n,) whole numbers. Otherwise they are any numbers, an array
            or a tuple of arrays with one row for each example.
        loss: maps (outputs, targets) as tensors to a scalar that training lowers; default: cross entropy for
            labels, and else none: the network then learns from its teacher alone.
    """

    name: str
    scores: Scores
    scale: float = 1.0
    higher_is_better: bool = True
    labels: bool = True
    loss: Callable[[Any, Any], Any] | None = None

    def points_lost(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
        """Return how many points worse the mean of `after` is than that of `before`."""
        sign = 1.0 if self.higher_is_better else -1.0
        return float(sign * 100 * (before.mean() - after.mean()) / self.scale)


def each(arrays: Rows) -> tuple[NDArray[Any], ...]:
    """Return one array, or several, as a tuple.

    Example:
        >>> len(each(np.zeros(3))), len(each((np.zeros(3), np.ones(3))))
        (1, 2)
    """
    return arrays if isinstance(arrays, tuple) else (arrays,)


def count(arrays: Rows) -> int:
    """Return how many examples a batch has."""
    return len(each(arrays)[0])


def part(arrays: Rows, index: Any) -> Rows:
    """Return the examples at `index`: numbers, or a slice."""
    return tuple(array[index] for array in arrays) if isinstance(arrays, tuple) else arrays[index]


def joined(batches: Sequence[Rows]) -> Rows:
    """Return the examples of several batches as one."""
    if isinstance(batches[0], tuple):
        return tuple(np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return np.concatenate(batches)


def _is_right(outputs: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float64]:
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
        """The shape of one input, of the first if there are several, without the batch."""

    @property
    def labels(self) -> int:
        """One more than the largest label; 0 where targets are no labels."""

    def steps(self, batch_size: int) -> int:
        """Return how many batches `batches(batch_size)` yields."""

    def batches(self, batch_size: int, order: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield (inputs, targets); in an order drawn from `order` where the set allows one."""


@dataclass(frozen=True)
class Arrays:
    """Examples held in memory.

    Args:
        inputs: (n, ...), finite, or a tuple of them; int64 and bool stay, all else becomes float32.
        targets: whole numbers, (n,), not negative; where they are no labels, any numbers.
        are_labels: whether targets are class labels.

    Raises:
        DataError: empty, of unequal length, or holding NaN or infinity.

    Example:
        >>> split = Arrays(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))
        >>> [len(x) for x, _ in split.batches(2)]
        [2, 2]
    """

    inputs: Inputs
    targets: Targets
    are_labels: bool = True
    size: int = field(init=False)
    shape: tuple[int, ...] = field(init=False)
    labels: int = field(init=False)

    def __post_init__(self) -> None:
        inputs, targets = checked_batch(self.inputs, self.targets, "data", are_labels=self.are_labels)
        found = {"inputs": inputs, "targets": targets, "size": count(inputs)}
        found |= {"shape": each(inputs)[0].shape[1:], "labels": _labels(targets, are_labels=self.are_labels)}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def steps(self, batch_size: int) -> int:
        """Return how many batches `batches(batch_size)` yields."""
        return max(1, -(-(self.size - 1) // batch_size))

    def batches(self, batch_size: int, order: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield (inputs, targets) of `batch_size` examples; a lone last one joins those before it.

        A norm layer cannot train on a batch of one.
        """
        index = order.permutation(self.size) if order else np.arange(self.size)
        for rows in np.split(index, range(batch_size, self.size - 1, batch_size)):
            yield part(self.inputs, rows), part(self.targets, rows)

    def take(self, index: NDArray[np.intp]) -> "Arrays":
        """Return the examples at `index`."""
        return Arrays(part(self.inputs, index), part(self.targets, index), self.are_labels)


class Stream:
    """Batches from a loader of the user's own, such as a torch DataLoader.

    The loader keeps its own batch size and order. Every batch is checked as it passes.

    Raises:
        DataError: the loader is empty, cannot be read twice, raises, or yields something else
            than pairs of (inputs, targets) with inputs of one shape; later, that it yields more or fewer.
    """

    def __init__(self, loader: Iterable[Any], name: str = "data", *, are_labels: bool = True) -> None:
        if iter(loader) is loader:
            raise DataError(
                f"{name}: a generator can be read only once; hand in a DataLoader or a list of batches."
            )
        self._loader = loader
        self._name = name
        self._are_labels = are_labels
        self.size, self.labels, self._steps = 0, 0, 0
        self.shape: tuple[int, ...] = ()
        for inputs, targets in self.batches(0):
            shape = each(inputs)[0].shape[1:]
            if self._steps and shape != self.shape:
                raise DataError(
                    f"{name}: every batch must hold inputs of the same shape; got {self.shape} and {shape}."
                )
            self.shape = shape
            self.size += count(inputs)
            self.labels = max(self.labels, _labels(targets, are_labels=are_labels))
            self._steps += 1

    def steps(self, batch_size: int) -> int:  # noqa: ARG002
        """Return how many batches the loader yields."""
        return self._steps

    def batches(self, batch_size: int, order: np.random.Generator | None = None) -> Iterator[Batch]:  # noqa: ARG002
        """Yield the loader's batches as checked arrays."""
        steps = 0
        for item in self._items():
            steps += 1
            if not isinstance(item, (tuple, list)) or len(item) != 2:
                raise DataError(
                    f"{self._name}: each batch must be (inputs, targets); got {type(item).__name__}."
                )
            inputs, targets = (tuple(side) if isinstance(side, list) else side for side in item)
            yield checked_batch(inputs, targets, self._name, are_labels=self._are_labels)
        if not steps:
            raise DataError(f"{self._name}: the loader is empty; hand in at least one batch.")
        if steps != self._steps:  # the schedule of a training counts on them
            raise DataError(
                f"{self._name}: the loader must yield as many batches every time; it yielded {self._steps} "
                f"when it was first read, and now {steps}."
            )

    def _items(self) -> Iterator[Any]:
        """Yield what the loader does; what it raises is said in a sentence."""
        try:
            yield from self._loader
        except Exception as error:
            raise DataError(f"{self._name}: the loader raised {type(error).__name__}: {error}") from error


def checked_batch(inputs: Any, targets: Any, name: str, *, are_labels: bool = True) -> Batch:
    """Return finite inputs and targets of equal, positive length."""
    several = isinstance(inputs, tuple)
    x = tuple(_input(array, name) for array in (inputs if several else (inputs,)))
    lengths = {len(array) for array in x}
    if len(lengths) != 1:
        raise DataError(f"{name}: all inputs must have as many examples; got {sorted(lengths)}.")
    found = (
        _check_labels(targets, len(x[0]), name) if are_labels else _check_targets(targets, len(x[0]), name)
    )
    return (x if several else x[0]), found


def _input(values: Any, name: str) -> NDArray[Any]:
    array = _numbers(values, f"{name}: inputs")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
        kept = array.dtype in KEPT and hasattr(values, "dtype")  # a plain list says nothing of its numbers
        array = np.asarray(array, array.dtype if kept else np.float32, order="C")
    if array.ndim == 0 or len(array) == 0:
        raise DataError(f"{name}: holds no examples; at least one is needed.")
    _check_finite(array, f"{name}: inputs")
    return array


def _check_finite(array: NDArray[Any], name: str) -> None:
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{name} must be finite; {int((~finite).sum())} of {len(array)} hold NaN or infinity, "
            f"the first at index {int(np.argmin(finite))}. Clean or drop them."
        )


def _check_labels(targets: Any, size: int, name: str) -> NDArray[np.int64]:
    y = _numbers(targets, f"{name}: targets")
    if y.shape != (size,):
        raise DataError(
            f"{name}: targets must be ({size},), one label for each input; got {y.shape}. Where they are no "
            "labels, give Data a Metric with labels=False."
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f"{name}: targets must be whole numbers (class labels); got {y.dtype}. Where they are no labels, "
            "give Data a Metric with labels=False."
        )
    if y.min() < 0:
        raise DataError(f"{name}: labels must not be negative; got {int(y.min())}.")
    return y.astype(np.int64)


def _check_targets(targets: Any, size: int, name: str) -> Targets:
    several = isinstance(targets, tuple)
    found = []
    for values in targets if several else (targets,):
        array = _numbers(values, f"{name}: targets")
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        if array.ndim == 0 or len(array) != size:
            raise DataError(f"{name}: targets must have {size} rows, one for each input; got {array.shape}.")
        _check_finite(array, f"{name}: targets")
        found.append(array)
    return tuple(found) if several else found[0]


def _labels(targets: Targets, *, are_labels: bool) -> int:
    """Return one more than the largest label, or 0 where there are none."""
    return int(each(targets)[0].max()) + 1 if are_labels else 0


def _numbers(values: Any, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors on another device
        raise DataError(f"{name} cannot be read as one array ({error}).") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} must be real numbers; got {array.dtype}.")
    return array


def check_fit(
    split: Split,
    shapes: Sequence[tuple[int | None, ...]],
    classes: int,
    name: str,
    dtypes: Sequence[str] = (),
) -> None:
    """Refuse a set whose inputs or labels the network has no place for.

    Args:
        shapes: of the network's inputs, batch first.
        classes: how many outputs the network has.
        dtypes: of the network's inputs; default: float32.

    Raises:
        ShapeError: inputs of another number or shape.
        DataError: labels that the network has no output for.
    """
    inputs, _ = next(iter(split.batches(1)))
    found = each(inputs)
    if len(found) != len(shapes):
        raise ShapeError(f"{name}: the network takes {len(shapes)} inputs; got {len(found)}.")
    for array, shape, dtype in zip(found, shapes, dtypes or ("float32",) * len(found), strict=True):
        if array.shape[1:] != shape[1:]:
            raise ShapeError(
                f"{name}: inputs must be (batch, {', '.join(map(str, shape[1:]))}); "
                f"got (batch, {', '.join(map(str, array.shape[1:]))})."
            )
        if array.dtype != np.dtype(dtype):
            raise ShapeError(f"{name}: inputs must be {dtype}; got {array.dtype}. Use .astype({dtype!r}).")
    check_labels(split.labels, classes, name)


def check_labels(labels: int, classes: int, name: str) -> None:
    """Refuse `labels` classes where the network has only `classes` outputs."""
    if labels > classes:
        raise DataError(
            f"{name}: labels must be below {classes}, the network's number of outputs; got {labels - 1}. "
            "Check the label encoding or the network's last layer."
        )


def _checked_normalisation(given: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        mean, std = (tuple(float(value) for value in side) for side in given)
    except (TypeError, ValueError):
        raise DataError(
            f"normalisation: must be (mean, std), each with a number for every channel; got {given!r}."
        ) from None
    if len(mean) != len(std) or not all(np.isfinite(mean)) or not all(0 < value < np.inf for value in std):
        raise DataError(
            f"normalisation: mean and std must be finite, as many of one as of the other, and std above 0; "
            f"got {mean} and {std}."
        )
    return mean, std


def as_split(source: Any, name: str, *, are_labels: bool = True) -> Split:
    """Turn (inputs, targets), a Split or a re-readable loader into a Split."""
    if isinstance(source, Split):
        return source
    if isinstance(source, tuple) and len(source) == 2:
        try:
            return Arrays(*source, are_labels)
        except DataError as error:
            raise DataError(str(error).replace("data:", f"{name}:", 1)) from None
    if isinstance(source, Iterable):
        return Stream(source, name, are_labels=are_labels)
    raise DataError(
        f"{name}: must be (inputs, targets) or a loader of such batches; got {type(source).__name__}."
    )


class Data:
    """Training, validation and test examples with the metric that judges them.

    Search and recovery read `train` and `validate`; `test` is read once, at the end.
    Where only `train` is given, in memory, it is split 70/15/15 and `notes` says so.

    Args:
        train: (inputs, targets) arrays or a re-readable loader of such batches; inputs are an array, or a
            tuple with one for each input of the network.
        validate, test: the same; both or neither.
        metric: defaults to accuracy, of class labels.
        classes: names of the classes, in the order of the network's outputs.
        slices: groups of test examples that evidence looks at by themselves, by name: a mask over `test`, or
            a function of (inputs, targets) of a batch that returns one.
        outside: inputs from elsewhere, by name, that a network should be unsure of.
        normalisation: (mean, std) by channel where inputs are (pixels - mean) / std of pixels in [0, 1].

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
        slices: Mapping[str, Slice] | None = None,
        outside: Mapping[str, Any] | None = None,
        normalisation: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
        seed: int = 0,
    ) -> None:
        self.metric = metric
        self.classes = classes
        self.slices = dict(slices or {})
        self.outside = {name: _input(x, f"outside {name!r}") for name, x in (outside or {}).items()}
        self.normalisation = _checked_normalisation(normalisation)
        self.notes: tuple[str, ...] = ()
        self.train = as_split(train, "train", are_labels=metric.labels)
        if validate is not None and test is not None:
            self.validate = as_split(validate, "validate", are_labels=metric.labels)
            self.test = as_split(test, "test", are_labels=metric.labels)
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
