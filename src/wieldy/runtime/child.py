"""The timing process: no torch, one task from standard input, one JSON answer on standard output.

`python -m wieldy.runtime.child` is started by measure.py, under the machine-wide lock and with the
instruction tier capped in its environment.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wieldy.core import rng
from wieldy.core.errors import EXIT_INTERNAL, NotAPackageError, WieldyError
from wieldy.graph.program import Program
from wieldy.package.read import read
from wieldy.runtime.engine import compile_model, core
from wieldy.runtime.lower import lower
from wieldy.runtime.timing import choose_batch, median_ms, paired_ratio, time_pairs
from wieldy.runtime.zeros import zeros_of

PROFILE_WARM = 10
PROFILE_RUNS = 60


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
    sides = [Side(side["path"], side["precision"], task["threads"]) for side in task["sides"]]
    batch = task["batch"] or choose_batch(lambda size: median_ms(sides[0].runner(size)))
    first, second = (side.runner(batch) for side in sides)
    times = time_pairs(first, second, task["rounds"])
    medians = np.median(times, axis=0)
    return {
        "ratio": paired_ratio(times).model_dump(),
        "original_ms": float(medians[0]),
        "small_ms": float(medians[1]),
        "batch": batch,
    }


def layers(task: dict[str, Any]) -> dict[str, Any]:
    """Time every operation that the runtime executes, by its own counters."""
    (side,) = (Side(side["path"], side["precision"], task["threads"], profile=True) for side in task["sides"])
    request = side.request(task["batch"])
    times: dict[str, list[float]] = defaultdict(list)
    facts: dict[str, Any] = {}
    for index in range(PROFILE_WARM + PROFILE_RUNS):
        request.infer()
        for info in request.profiling_info if index >= PROFILE_WARM else ():
            if info.status == info.Status.EXECUTED:
                times[info.node_name].append(info.real_time.total_seconds() * 1e3)
                facts[info.node_name] = info
    owners = _absorbed(side.package.program, _fused_names(side.compiled)) if side.package else {}
    found = [
        {
            "layers": owners.get(name, [name]),
            "kind": facts[name].node_type,
            "kernel": facts[name].exec_type,
            "milliseconds": float(np.median(values)),
        }
        for name, values in times.items()
    ]
    return {"layers": found}


def _fused_names(compiled: Any) -> dict[str, list[str]]:
    """For each executed operation, the names of what OpenVINO says it was fused from."""
    names = {}
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        text = info["originalLayersNames"].astype(str) if "originalLayersNames" in info else ""
        names[node.get_friendly_name()] = [part.split("/")[0] for part in text.split(",")]
    return names


def _absorbed(program: Program, fused: dict[str, list[str]]) -> dict[str, list[str]]:
    """Give every layer of the program to one executed operation: its own, or that of what reads it.

    OpenVINO folds a convolution into the multiplication that follows and keeps the latter's name.
    """
    owner = {name: operation for operation, names in fused.items() for name in names}
    for node in reversed(program.nodes):
        readers = [other for other in program.nodes if node.name in other.refs()]
        if node.name not in owner and readers and readers[0].name in owner:
            owner[node.name] = owner[readers[0].name]
    found: dict[str, list[str]] = defaultdict(list)
    for node in program.nodes:
        if node.name in owner:
            found[owner[node.name]].append(node.layer)
    return found


class Side:
    """One network to be timed: a package, or an OpenVINO IR as a reference."""

    def __init__(self, path: str, precision: str, threads: int, *, profile: bool = False) -> None:
        self.path = Path(path)
        self.precision = precision
        self.threads = threads
        self.profile = profile
        self.compiled: Any = None
        self.package = None if self.path.suffix == ".xml" else read(self.path)

    def model(self, batch: int) -> Any:
        """Return the OpenVINO model for a batch size."""
        if self.package:
            zeros = zeros_of(self.package, threads=self.threads, precision=self.precision)
            return lower(self.package.program, self.package.tensors, batch, zeros)
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
        draw = rng.generator(0, "timing inputs")
        for tensor in request.input_tensors:
            tensor.data[:] = draw.standard_normal(tensor.shape, np.float32)
        return request

    def runner(self, batch: int) -> Callable[[], object]:
        """Return the call that is timed."""
        request: Any = self.request(batch)
        return request.infer  # type: ignore[no-any-return]


TASKS = {"compare": compare, "layers": layers}

if __name__ == "__main__":
    sys.exit(main())
