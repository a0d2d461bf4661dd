"""An original and a package side by side: both opened in the runtime, with what they say of the test set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core import rng
from wieldy.core.data import Data, Rows, count, each, joined, part
from wieldy.core.errors import DataError, ShapeError
from wieldy.package.read import Package, read
from wieldy.runtime.session import Session
from wieldy.runtime.session import open as open_package

Run = Callable[[Rows], Rows]
Mask = NDArray[np.bool_]
BATCH = 250
MOST_SAMPLED = 1000  # test examples whose inputs stay in memory for what looks at inputs again
MOST_SHOWN = 24  # flipped examples whose inputs stay in memory for the page


@dataclass(frozen=True)
class Sample:
    """Some test examples, and what both networks say of them."""

    inputs: Rows
    targets: Rows
    before: Rows
    after: Rows


@dataclass(frozen=True)
class Pair:
    """Two networks and the data that judges them.

    Attributes:
        original, package: as they were read.
        run: original and package in the runtime; each maps any number of examples to its outputs.
        data: its test set was read once, for the outputs below.
        seed: of everything that is drawn.
        before, after: outputs of original and package on all test examples.
        targets: of all test examples.
        slices: masks over the test examples, by name.
        drawn: which test examples were drawn for a closer look, in the order in which they are taken.
        inputs: theirs, in the same order.
        flipped: inputs of the first test examples on which the largest logit is another's, by index.
    """

    original: Package
    package: Package
    run: tuple[Run, Run]
    data: Data
    seed: int
    before: Rows
    after: Rows
    targets: Rows
    slices: Mapping[str, Mask]
    drawn: NDArray[np.intp]
    inputs: Rows
    flipped: Mapping[int, NDArray[Any]]

    @property
    def are_classes(self) -> bool:
        """Whether outputs are rows of class logits."""
        return self.data.metric.labels

    def logits(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return (n, classes) logits of both and the labels, where outputs are class logits."""
        before, after, targets = self.before, self.after, self.targets
        if isinstance(before, tuple) or isinstance(after, tuple) or before.ndim != 2:
            raise ShapeError(
                "examine: where targets are class labels, outputs must be (n, classes); got "
                f"{[array.shape for array in each(before)]}. Give Data a Metric with labels=False."
            )
        assert isinstance(targets, np.ndarray)
        return before, after, targets

    def sample(self, most: int) -> Sample:
        """Return the inputs of at most so many test examples, with targets and both outputs."""
        chosen = self.drawn[:most]
        kept = (part(side, chosen) for side in (self.targets, self.before, self.after))
        return Sample(part(self.inputs, slice(0, len(chosen))), *kept)


def opened(package: str | Path, original: str | Path, data: Data, seed: int = 0) -> Pair:
    """Open both, run both on the test set, and keep what the evidence is made of.

    Raises:
        PackageError: a file is no sound package.
        ShapeError, DataError: the data does not fit the networks, or their outputs differ in shape.

    Cost: one pass of both networks over the test set.
    """
    run = (in_batches(open_package(original)), in_batches(open_package(package)))
    reading = _Reading(data, run, rng.generator(seed, "examined").permutation(data.test.size)[:MOST_SAMPLED])
    for inputs, targets in data.test.batches(BATCH):
        reading.take(inputs, targets)
    return reading.pair(read(original), read(package), seed)


def in_batches(session: Session, size: int = BATCH) -> Run:
    """Return a function that runs a session on any number of examples, so many at a time."""

    def run(inputs: Rows) -> Rows:
        starts = range(0, count(inputs), size)
        return joined([session(*each(part(inputs, slice(start, start + size)))) for start in starts])

    return run


class _Reading:
    """One pass over the test set, which keeps what evidence is made of."""

    def __init__(self, data: Data, run: tuple[Run, Run], drawn: NDArray[np.intp]) -> None:
        self._data, self._run, self._drawn = data, run, drawn
        self._wanted = np.sort(drawn)
        self._read = 0
        self._kept: list[Rows] = []
        self._passed: list[tuple[Rows, Rows, Rows]] = []
        self._flipped: dict[int, NDArray[Any]] = {}
        self._slices: dict[str, list[Mask]] = {name: [] for name in data.slices}

    def take(self, inputs: Rows, targets: Rows) -> None:
        """Run both on a batch."""
        start, end = self._read, self._read + count(inputs)
        here = self._wanted[(self._wanted >= start) & (self._wanted < end)] - start
        if len(here):
            self._kept.append(part(inputs, here))
        before, after = (of(inputs) for of in self._run)
        shapes = [tuple(array.shape for array in each(side)) for side in (before, after)]
        if shapes[0] != shapes[1]:
            raise ShapeError(f"examine: both must yield the same shapes; got {shapes[0]} and {shapes[1]}.")
        self._passed.append((before, after, targets))
        if self._data.metric.labels and not isinstance(inputs, tuple) and each(before)[0].ndim == 2:
            differ = each(before)[0].argmax(axis=1) != each(after)[0].argmax(axis=1)
            places = np.flatnonzero(differ)[: MOST_SHOWN - len(self._flipped)]
            self._flipped |= {int(start + place): inputs[place] for place in places}
        for name, of_slice in self._data.slices.items():
            if callable(of_slice):
                mask = _mask(name, of_slice(inputs, targets), count(inputs), "for a batch of")
                self._slices[name].append(mask)
        self._read = end

    def pair(self, original: Package, package: Package, seed: int) -> Pair:
        """Return what was read."""
        before, after, targets = (joined(side) for side in zip(*self._passed, strict=True))
        inputs = part(joined(self._kept), np.searchsorted(self._wanted, self._drawn))
        slices = {
            name: np.concatenate(self._slices[name])
            if callable(given)
            else _mask(name, given, self._read, "over a test set of")
            for name, given in self._data.slices.items()
        }
        for name, mask in slices.items():
            if not mask.any():
                raise DataError(f"slice {name!r}: must hold a test example; it holds none. Leave it out.")
        return Pair(
            original, package, self._run, self._data, seed, before, after, targets, slices, self._drawn,
            inputs, self._flipped,
        )  # fmt: skip


def _mask(name: str, given: Any, size: int, words: str) -> Mask:
    mask = np.asarray(given)
    if mask.dtype != np.bool_ or mask.shape != (size,):
        raise DataError(
            f"slice {name!r}: must be a mask of booleans {words} {size} examples; got {mask.dtype} of shape "
            f"{mask.shape}."
        )
    return mask
