"""Opening a package: numpy arrays in, numpy arrays out, from any number of threads."""

import os
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core.errors import ConfigError, MisfitError, ShapeError
from wieldy.package.read import Package, read
from wieldy.runtime.engine import compile_model
from wieldy.runtime.integers import integers_of, stored_integers
from wieldy.runtime.lower import last_line, lower_package
from wieldy.runtime.tier import cap_process, check_precision, current_tier
from wieldy.runtime.zeros import zeros_of

Array = NDArray[Any]
KEPT_BATCHES = 8  # compiled forms that a session keeps


class Session:
    """A package, ready to run.

    Each thread has a request of its own, so calls from several threads may overlap and never mix.
    One form is compiled for each batch size that occurs; the few that were used last are kept.
    """

    def __init__(self, package: Package, *, threads: int, batch: int | None, precision: str) -> None:
        self.package = package
        self.threads = threads
        self._batch = batch
        self._precision = precision
        self._forms: dict[int, _Form] = {}  # the one that was used last stands last
        self._lock = threading.Lock()
        self._zeros = zeros_of(package, threads=threads, precision=precision)
        self._integers = integers_of(package, current_tier())
        if batch is not None:
            self._form(batch)

    def __call__(self, *inputs: Any) -> Array | tuple[Array, ...]:
        """Run on inputs in traced order.

        Args:
            inputs: each (batch, ...) and of the dtype that the manifest's `inputs` say.

        Returns:
            The output, or a tuple of outputs, as arrays of the caller's own.

        Raises:
            ShapeError: a wrong number, shape or dtype of inputs, or another batch than the session's.
        """
        arrays = self._checked(inputs)
        request = self._form(len(arrays[0])).request()
        request.infer(list(arrays), share_inputs=True)
        found = tuple(np.array(tensor.data) for tensor in request.output_tensors)
        return found[0] if len(found) == 1 else found

    def _checked(self, inputs: tuple[Any, ...]) -> list[Array]:
        specs = self.package.program.inputs
        if len(inputs) != len(specs):
            raise ShapeError(
                f"{self.package.path}: takes {len(specs)} inputs ({', '.join(specs)}); got {len(inputs)}."
            )
        arrays = [_array(name, value) for name, value in zip(specs, inputs, strict=True)]
        batch = self._batch if self._batch is not None else (len(arrays[0]) if arrays[0].ndim else 0)
        for (name, spec), array in zip(specs.items(), arrays, strict=True):
            if array.dtype != np.dtype(spec.dtype):
                raise ShapeError(
                    f"input {name!r}: must be {spec.dtype}; got {array.dtype}. Use .astype({spec.dtype!r})."
                )
            if batch < 1 or array.shape != (batch, *spec.shape[1:]):
                wanted = ", ".join(map(str, spec.shape[1:]))
                size = "batch" if self._batch is None else str(self._batch)
                raise ShapeError(f"input {name!r}: must be ({size}, {wanted}); got {array.shape}.")
        return [np.ascontiguousarray(array) for array in arrays]

    def _form(self, batch: int) -> "_Form":
        with self._lock:
            form = self._forms.pop(batch, None)
            if form is None:
                form = _Form(self._compiled(batch))
                while len(self._forms) >= KEPT_BATCHES:
                    del self._forms[next(iter(self._forms))]
            self._forms[batch] = form
            return form

    def _compiled(self, batch: int) -> Any:
        model = lower_package(self.package, batch, self._zeros, self._integers)
        try:
            return compile_model(model, threads=self.threads, precision=self._precision)
        except RuntimeError as error:
            raise MisfitError(
                f"{self.package.path}: OpenVINO cannot compile it ({last_line(error)})."
            ) from None


def _array(name: str, value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors that need a gradient
        raise ShapeError(f"input {name!r}: cannot be read as an array ({error}).") from None


class _Form:
    """The network compiled for one batch size, with a request for each thread; all of them go with it."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._local = threading.local()

    def request(self) -> Any:
        """Return this thread's request."""
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        return self._local.request


def open(
    path: str | Path,
    *,
    threads: int | None = None,
    batch: int | None = None,
    tier: str | None = None,
    precision: str = "f32",
) -> Session:
    """Open a package for running. Needs neither torch nor any file of yours.

    Args:
        path: a package.
        threads: of OpenVINO; default: all cores that this process may use.
        batch: compile now, for this batch size alone; default: one form for each size that occurs.
        tier: cap the instruction set, e.g. "avx2"; must come before any other use of OpenVINO here.
        precision: "f32", or "bf16" where the CPU has it.

    Where its speed was measured on other tiers than this one, a warning says so; what it computes does not
    depend on the tier but for rounding.

    Raises:
        PackageError: the file is no sound package.
        TierError: the tier is not to be had in this process, or it lacks the precision.
        ConfigError: `threads` or `batch` is below 1, or the precision is unknown.
    """
    threads = usable_cores() if threads is None else threads
    if threads < 1 or (batch is not None and batch < 1):
        raise ConfigError(f"open: threads and batch must be at least 1; got {threads} and {batch}.")
    package = read(path)
    if tier is not None:
        cap_process(tier)
    tier = tier or current_tier()
    check_precision(precision, tier)
    session = Session(package, threads=threads, batch=batch, precision=precision)
    _say_unmeasured(session, tier)
    return session


def _say_unmeasured(session: Session, tier: str) -> None:
    """Warn, in one line, where a package's speed was measured on other tiers than this one."""
    package, tiers = session.package, session.package.manifest.tiers
    if not tiers or tier in tiers:
        return
    exact = len(stored_integers(package)) - len(session._integers)
    why = f", and {exact} int8 layers run in float32, since their products could saturate" if exact else ""
    warnings.warn(
        f"{package.path.name}: its speed was measured on {', '.join(tiers)} and not on {tier}{why}. "
        f"`wieldy bench` measures it here.",
        stacklevel=3,
    )


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
