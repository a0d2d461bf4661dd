"""The one importer of OpenVINO: lazily, with its telemetry switched off."""

import os
import sys
from functools import cache
from typing import Any

from wieldy.core.errors import ConfigError
from wieldy.kernels.native import native

DYNAMIC_SWITCHES = ("OMP_DYNAMIC", "MKL_DYNAMIC")


def refuse_dynamic_threads() -> None:
    """Raise ConfigError where the environment lets a library choose another number of threads."""
    for name in DYNAMIC_SWITCHES:
        if os.environ.get(name, "").strip().lower() in ("true", "1"):
            raise ConfigError(
                f"{name}: must not be set, since thread counts are part of every figure. Unset it."
            )


@cache
def openvino() -> Any:
    """Return the openvino module. A plain import would write to the home folder and fork a sender."""
    refuse_dynamic_threads()
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes its import fail
    import openvino

    return openvino


@cache
def core() -> Any:
    """Return the process's one OpenVINO core."""
    return openvino().Core()


@cache
def extension_ops() -> Any:
    """Return the factory of our own operations.

    Raises:
        KernelError: the compiled kernels are missing.
    """
    openvino()
    from openvino.utils.node_factory import NodeFactory

    factory = NodeFactory("opset15")
    factory.add_extension(str(native().__file__))
    return factory


def compile_model(model: Any, *, threads: int, precision: str = "f32", profile: bool = False) -> Any:
    """Compile for the CPU: one stream, `threads` threads, and no precision chosen behind our back."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": precision,
        "PERF_COUNT": "YES" if profile else "NO",
    }
    return core().compile_model(model, "CPU", settings)
