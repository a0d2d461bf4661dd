"""The compiled kernels, where they were built; they may be missing, and then everything runs dense."""

import importlib
import importlib.util
import os
from functools import cache
from importlib.metadata import version
from types import ModuleType
from typing import Any

from wieldy.core.errors import KernelError

REQUIRED = "WIELDY_REQUIRE_KERNELS"  # set in CI: kernels that are missing are an error there
MODULE = "wieldy.kernels._native"
BY_TIER = {"portable": "portable", "avx2": "avx2", "avx2_vnni": "avx2"}  # every other tier: avx512
LEVELS_BY_TIER = {  # every other tier: avx512_vnni
    "portable": "portable", "avx2": "avx2", "avx2_vnni": "avx_vnni", "avx512": "avx2",
}  # fmt: skip
IN_PAIRS = ("avx2",)  # variants that add products of levels in pairs of sixteen bits


def is_built() -> bool:
    """Whether the compiled kernels were installed; they may still not load."""
    return importlib.util.find_spec(MODULE) is not None


@cache
def _load() -> tuple[ModuleType | None, str]:
    """Return the module, or why there is none."""
    if not is_built():
        return None, "were not built: install wieldy again where there is a C++ compiler (g++ or clang++)"
    try:
        return importlib.import_module(MODULE), ""
    except ImportError as error:
        return None, (
            f"were built for another OpenVINO than the installed {version('openvino')} ({error}): "
            "install wieldy again"
        )


def why_missing() -> str | None:
    """Return why there are no compiled kernels, or None where there are.

    Raises:
        KernelError: there are none, and the environment requires them.
    """
    module, reason = _load()
    if module is None and os.environ.get(REQUIRED):
        raise KernelError(f"kernels: {REQUIRED} is set, but the compiled kernels {reason}.")
    return None if module else reason


def native() -> Any:
    """Return the compiled module.

    Raises:
        KernelError: there is none.
    """
    module, reason = _load()
    if module is None:
        raise KernelError(f"kernels: the compiled kernels {reason}.")
    return module


def variants() -> tuple[str, ...]:
    """Return the variants that this CPU can run, the least demanding first; none without compiled kernels."""
    return () if why_missing() else tuple(native().variants())


def level_variants() -> tuple[str, ...]:
    """Return the variants of products of levels that this CPU can run; none without compiled kernels."""
    return () if why_missing() else tuple(native().level_variants())


def variant_for(tier: str) -> str:
    """Return the variant that an instruction tier uses."""
    return BY_TIER.get(tier, "avx512")


def level_variant_for(tier: str) -> str:
    """Return the variant of products of levels that an instruction tier uses."""
    return LEVELS_BY_TIER.get(tier, "avx512_vnni")


def check_variant(name: str) -> None:
    """Raise KernelError unless this CPU can run the variant."""
    if name not in variants():
        raise KernelError(
            f"variant: must be one of {', '.join(variants()) or 'none'} on this CPU; got {name!r}."
        )
