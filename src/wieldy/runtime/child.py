"""The timing process: no torch, one task from standard input, one JSON answer on standard output.

`python -m wieldy.runtime.child` is started by measure.py, under the machine-wide lock and with the
instruction tier capped in its environment.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from wieldy.core.errors import EXIT_INTERNAL, NotAPackageError, WieldyError
from wieldy.package.read import read
from wieldy.runtime.calibrate import calibrate
from wieldy.runtime.engine import compile_model, core
from wieldy.runtime.inputs import fill_inputs
from wieldy.runtime.integers import integers_of
from wieldy.runtime.lower import lower
from wieldy.runtime.profile import Operation, owners_of, region_operations, times_in_turns
from wieldy.runtime.tier import current_tier
from wieldy.runtime.timing import Run, choose_batch, median_ms, paired_ratio, time_pairs
from wieldy.runtime.zeros import zeros_of


def main() -> int:
    """Read the task, do it, print the answer; errors of ours are an answer too."""
    task = json.load(sys.stdin)
    try:
        answer = TASKS[task["task"]](task)
    except WieldyError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        return error.exit_code
    if "torch" in sys.modules:
        print(json.dumps({"error": "InternalError", "message": "the timing process must not import torch"}))
        return EXIT_INTERNAL
    print(json.dumps(answer, allow_nan=False))
    return 0


def compare(task: dict[str, Any]) -> dict[str, Any]:
    """Time two sides in turns."""
    sides = _sides(task)
    batch = task["batch"] or choose_batch(lambda size: median_ms(sides[0].runner(size)))
    first, second = (side.runner(batch) for side in sides)
    return _pair(first, second, task["rounds"]) | {"batch": batch}


def beside(task: dict[str, Any]) -> dict[str, Any]:
    """Time the last side in turns with each of the others, pair by pair: a third would empty the caches."""
    *others, own = [side.runner(task["batch"]) for side in _sides(task)]
    return {"pairs": [_pair(other, own, task["rounds"]) for other in others]}


def _sides(task: dict[str, Any]) -> list["Side"]:
    return [Side(side["path"], side["precision"], task["threads"]) for side in task["sides"]]


def _pair(first: Run, second: Run, rounds: int) -> dict[str, Any]:
    times = time_pairs(first, second, rounds)
    medians = np.median(times, axis=0)
    return {
        "ratio": paired_ratio(times).model_dump(),
        "original_ms": float(medians[0]),
        "small_ms": float(medians[1]),
    }


def layers(task: dict[str, Any]) -> dict[str, Any]:
    """Time every operation that the runtime executes for each side, by its own counters, in turns."""
    sides = [Side(side["path"], side["precision"], task["threads"], profile=True) for side in task["sides"]]
    found = times_in_turns([side.request(task["batch"]) for side in sides])
    return {"sides": [_named(side, times, task["batch"]) for side, times in zip(sides, found, strict=True)]}


def _named(side: "Side", times: dict[str, Operation], batch: int) -> list[dict[str, Any]]:
    """Return operations with the layers that they execute."""
    owners = owners_of(side.package.program, side.compiled) if side.package else {}
    parts = {name: [(owners.get(name, [name]), found)] for name, found in times.items()}
    if side.package and side.zeros:
        program, tensors = side.package.program, side.package.tensors
        parts |= region_operations(program, tensors, side.zeros, batch, times)
    return [
        {"layers": layers, "kind": found.kind, "kernel": found.kernel, "milliseconds": found.milliseconds}
        for name in times
        for layers, found in parts[name]
    ]


class Side:
    """One network to be timed: a package, or an OpenVINO IR as a reference."""

    def __init__(self, path: str, precision: str, threads: int, *, profile: bool = False) -> None:
        self.path = Path(path)
        self.precision = precision
        self.threads = threads
        self.profile = profile
        self.compiled: Any = None
        self.package = None if self.path.suffix == ".xml" else read(self.path)
        self.zeros = zeros_of(self.package, threads=threads, precision=precision) if self.package else None

    def model(self, batch: int) -> Any:
        """Return the OpenVINO model for a batch size."""
        if self.package:
            integers = integers_of(self.package, current_tier())
            return lower(self.package.program, self.package.tensors, batch, self.zeros, integers)
        if not self.path.is_file():
            raise NotAPackageError(f"{self.path}: cannot be read. Check the path.")
        model = core().read_model(self.path)
        model.reshape({port: [batch, *list(port.partial_shape)[1:]] for port in model.inputs})
        return model

    def request(self, batch: int) -> Any:
        """Return a request whose inputs are filled with fixed random numbers."""
        model = self.model(batch)
        self.compiled = compile_model(
            model, threads=self.threads, precision=self.precision, profile=self.profile
        )
        request = self.compiled.create_infer_request()
        fill_inputs(request, self.package.program if self.package else None)
        return request

    def runner(self, batch: int) -> Run:
        """Return the call that is timed."""
        request: Any = self.request(batch)
        return request.infer  # type: ignore[no-any-return]


def costs(task: dict[str, Any]) -> dict[str, Any]:
    """Measure what layers cost at this tier."""
    return calibrate(task["threads"])


TASKS = {"compare": compare, "beside": beside, "layers": layers, "costs": costs}

if __name__ == "__main__":
    sys.exit(main())
