"""Instruction tiers: what this CPU has, and how to cap OpenVINO to a lesser one.

    portable < avx2 < avx2_vnni        (client chips)
    portable < avx2 < avx512 < avx512_vnni < amx    (servers)

oneDNN reads its cap from the environment when it is first used, so a cap holds for a whole process.
It reaches what oneDNN runs, convolutions above all. Linear layers in fp32 (MLAS) and OpenVINO's own small
kernels still choose by the CPU, so at a capped tier a network of large linear layers looks faster than it
would be on a CPU of that tier; `layer_times` shows every kernel by name.
"""

import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from wieldy.core.errors import ConfigError, TierError

CAP = "ONEDNN_MAX_CPU_ISA"
OLD_CAP = "DNNL_MAX_CPU_ISA"  # read where the first is not set
NO_CAP = ("", "ALL", "DEFAULT")
CAPS = {
    "avx2": "AVX2",
    "avx2_vnni": "AVX2_VNNI",
    "avx512": "AVX512_CORE",
    "avx512_vnni": "AVX512_CORE_VNNI",
}
_AVX2 = frozenset({"avx2", "fma"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
_AVX512_VNNI = _AVX512 | {"avx512_vnni"}
NEEDS: dict[str, frozenset[str]] = {  # flags as Linux spells them
    "portable": frozenset(),
    "avx2": _AVX2,
    "avx2_vnni": _AVX2 | {"avx_vnni"},
    "avx512": _AVX512,
    "avx512_vnni": _AVX512_VNNI,
    "amx": _AVX512_VNNI | {"amx_tile", "amx_int8", "amx_bf16"},
}
PRECISIONS = ("f32", "bf16")
BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


@cache
def cpu_flags() -> frozenset[str]:
    """Return the instruction-set flags of this CPU."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.split(":", 1)[1].split())
    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]  # no other library looks
    spelled = {
        "FMA3": "fma",
        "AVX2": "avx2",
        "AVX512F": "avx512f",
        "AVX512_SKX": "avx512bw avx512vl avx512dq",
    }
    found = [names for name, names in spelled.items() if features.get(name)]
    return frozenset(" ".join(found).split())


@cache
def cpu_name() -> str:
    """Return the CPU's own name for itself."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def best_tier() -> str:
    """Return the highest tier that this CPU has."""
    return _highest(cpu_flags())


def _highest(flags: frozenset[str]) -> str:
    return [tier for tier, needed in NEEDS.items() if needed <= flags][-1]


def available_tiers() -> list[str]:
    """Return the tiers that can be measured here, lowest first."""
    return [
        tier
        for tier, flags in NEEDS.items()
        if flags <= cpu_flags() and (tier in CAPS or tier == best_tier())
    ]


def current_tier() -> str:
    """Return the tier that OpenVINO uses in this process: the CPU's, or what the environment caps it to.

    Raises:
        TierError: the environment caps it to what is none of our tiers.
    """
    cap = (os.environ.get(CAP) or os.environ.get(OLD_CAP) or "").upper()
    if cap in NO_CAP:
        return best_tier()
    for tier, name in CAPS.items():
        if name == cap:
            return _highest(cpu_flags() & NEEDS[tier])
    raise TierError(f"{CAP}: must be unset or one of {', '.join(CAPS.values())}; got {cap!r}.")


def without_cap(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which nothing caps OpenVINO."""
    return {name: value for name, value in environment.items() if name not in (CAP, OLD_CAP)}


def has_bf16(tier: str) -> bool:
    """Whether bfloat16 is native on a tier of this CPU."""
    return tier == "amx" or (tier == best_tier() and bool(BF16_FLAGS & cpu_flags()))


def check_tier(tier: str) -> None:
    """Raise TierError unless `tier` can be measured on this CPU."""
    if tier not in available_tiers():
        raise TierError(f"tier: must be one of {', '.join(available_tiers())} on this CPU; got {tier!r}.")


def check_precision(precision: str, tier: str) -> None:
    """Raise ConfigError for an unknown precision, and TierError for one that a tier of this CPU lacks."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    if precision == "bf16" and not has_bf16(tier):
        raise TierError(f"precision: bf16 is not native on the tier {tier!r} of this CPU; use f32.")


def cap_process(tier: str) -> None:
    """Cap this process to `tier`, before OpenVINO is first used.

    Raises:
        TierError: the CPU lacks it, or OpenVINO already runs at another tier in this process.
    """
    check_tier(tier)
    if tier == current_tier():
        return
    if "openvino" in sys.modules:
        raise TierError(
            f"tier: this process already uses {current_tier()!r}, which holds for its whole life; "
            f"{tier!r} needs a process of its own, as `wieldy bench --tier {tier}` starts one."
        )
    for name in (CAP, OLD_CAP):
        os.environ.pop(name, None)
    if tier in CAPS:
        os.environ[CAP] = CAPS[tier]
