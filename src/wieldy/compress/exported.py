"""What an exported file computes beside the package that it was made from, in runtimes of others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.core.optional import need
from wieldy.runtime.engine import core

Arrays = Sequence[NDArray[Any]]
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
    found = run(*inputs)
    ours = list(found) if isinstance(found, tuple) else [found]
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
        size if isinstance(size, int) else len(inputs[0]),
    )  # fmt: skip


def _in_openvino(path: Path, inputs: Arrays) -> list[NDArray[Any]]:
    model = core().read_model(path)
    batch = model.inputs[0].get_partial_shape()[0]
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    size = batch.get_length() if batch.is_static else len(inputs[0])
    return _in_parts(lambda part: [np.array(of) for of in compiled(list(part)).values()], inputs, size)


def _in_parts(run: Callable[[Arrays], Arrays], inputs: Arrays, size: int) -> list[NDArray[Any]]:
    """Run as many examples at once as a file's shapes say."""
    starts = range(0, len(inputs[0]), size)
    parts = [run([array[start : start + size] for array in inputs]) for start in starts]
    return [np.concatenate(of) for of in zip(*parts, strict=True)]


def _difference(runtime: str, ours: Arrays, theirs: Arrays) -> Difference:
    relative = max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), np.finfo(np.float32).tiny))
        for a, b in zip(ours, theirs, strict=True)
    )
    rows = ours[0].ndim == 2
    same = int((ours[0].argmax(axis=1) == theirs[0].argmax(axis=1)).sum()) if rows else None
    return Difference(runtime, relative, len(ours[0]), same)
