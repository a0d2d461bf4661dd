"""What an exported file computes beside the package that it was made from, in runtimes of others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core.data import each
from wieldy.core.optional import need
from wieldy.runtime.engine import core

Arrays = Sequence[NDArray[Any]]
BATCH = 16  # where a file takes any
MODULES = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}


@dataclass(frozen=True)
class Difference:
    """How far a runtime is from ours on some examples.

    Attributes:
        runtime: its name and version.
        relative: the largest difference of any output over the largest output.
        examples: how many.
        same_answers: how many have the same largest entry in the first output; None where it has no rows.
    """

    runtime: str
    relative: float
    examples: int
    same_answers: int | None


def differences(path: Path, run: Callable[..., Any], inputs: Arrays) -> list[Difference]:
    """Return how far an exported file is from `run` in every runtime that is installed and reads it.

    Args:
        path: an .onnx or an .xml.
        run: the package, opened.
        inputs: a batch of each input.
    """
    ours = _in_parts(lambda part: each(run(*part)), inputs, BATCH)
    runtimes = {"OpenVINO": _in_openvino}
    if path.suffix == ".onnx" and find_spec("onnxruntime"):
        runtimes = {"ONNX Runtime": _in_onnxruntime} | runtimes
    return [
        _difference(f"{name} {version(MODULES[name])}", ours, of(path, inputs))
        for name, of in runtimes.items()
    ]


def _in_onnxruntime(path: Path, inputs: Arrays) -> list[NDArray[Any]]:
    session = need("onnxruntime", "onnx", "running ONNX").InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    size = session.get_inputs()[0].shape[0]
    return _in_parts(
        lambda part: session.run(None, dict(zip(names, part, strict=True))), inputs,
        size if isinstance(size, int) else BATCH,
    )  # fmt: skip


def _in_openvino(path: Path, inputs: Arrays) -> list[NDArray[Any]]:
    model = core().read_model(path)
    batch = model.inputs[0].get_partial_shape()[0]
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    size = batch.get_length() if batch.is_static else BATCH
    return _in_parts(lambda part: [np.array(of) for of in compiled(list(part)).values()], inputs, size)


def _in_parts(run: Callable[[Arrays], Arrays], inputs: Arrays, size: int) -> list[NDArray[Any]]:
    """Run so many examples at once; the last one fills up the last part, and what it yields is cut off."""
    count = len(inputs[0])
    places = np.arange(-(-count // size) * size).clip(max=count - 1)
    starts = range(0, len(places), size)
    parts = [run([array[places[start : start + size]] for array in inputs]) for start in starts]
    return [np.concatenate(of)[:count] for of in zip(*parts, strict=True)]


def _difference(runtime: str, ours: Arrays, theirs: Arrays) -> Difference:
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(ours, theirs, strict=True)]
    tiny = float(np.finfo(np.float32).tiny)
    relative = max(float(np.abs(a - b).max() / max(np.abs(a).max(), tiny)) for a, b in pairs)
    rows = ours[0].ndim == 2
    same = int((ours[0].argmax(axis=1) == theirs[0].argmax(axis=1)).sum()) if rows else None
    return Difference(runtime, relative, len(ours[0]), same)
