"""Which weights of a package are multiplied as whole numbers here, and which would come out wrong.

Without VNNI a CPU multiplies bytes in pairs and adds each pair in sixteen bits, where it saturates:
255 (a + b) must lie within them. Weights for which it might not run as float32 on such tiers, so that what a
package computes does not depend on the CPU.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wieldy.formats import FORMATS
from wieldy.formats.integer import IntegerFormat
from wieldy.package.read import Package

SATURATING = ("portable", "avx2", "avx512")  # tiers without VNNI
LEVELS = 255
TOGETHER = 4  # inputs whose products are added before they are widened, in pairs of which order


def may_saturate(levels: NDArray[np.int8]) -> bool:
    """Whether a pair of products of a weight (rows, inputs, ...) may leave sixteen bits.

    Of each four inputs any two may be a pair: libraries differ in how they lay them out.

    Example:
        >>> [may_saturate(np.int8([pair])) for pair in ([64, 64], [65, 64], [-65, 64])]
        [False, True, False]
    """
    rows, inputs = levels.shape[:2]
    flat = levels.reshape(rows, inputs, -1).astype(np.int64)
    padded = np.pad(flat, ((0, 0), (0, -inputs % TOGETHER), (0, 0)))
    fours = np.sort(padded.reshape(rows, -1, TOGETHER, flat.shape[2]), axis=2)
    most = LEVELS * np.maximum(fours[:, :, -2:], 0).sum(axis=2)
    least = LEVELS * np.minimum(fours[:, :, :2], 0).sum(axis=2)
    return bool((most > 2**15 - 1).any() or (least < -(2**15)).any())


def stored_integers(package: Package) -> dict[str, IntegerFormat]:
    """Return the tensors that are stored as whole numbers, with their formats."""
    found = {name: FORMATS[kind] for name, kind in package.manifest.formats.items()}
    return {name: form for name, form in found.items() if isinstance(form, IntegerFormat)}


def integers_of(package: Package, tier: str) -> dict[str, IntegerFormat]:
    """Return the weights that are multiplied as whole numbers on a tier; all others run as float32."""
    return {
        name: form
        for name, form in stored_integers(package).items()
        if not (tier in SATURATING and may_saturate(form.levels(package.tensors[name])))
    }


def precision_words(package: Package, tier: str, precision: str) -> str:
    """Say in which precision a package is multiplied on a tier.

    Args:
        precision: of what is not stored as whole numbers.
    """
    stored, whole = stored_integers(package), integers_of(package, tier)
    if not stored:
        return precision
    if len(whole) == len(stored):
        return f"int8, rest {precision}"
    return (
        f"{precision}, int8 in {len(whole)} of {len(stored)} int8 layers: products of the others could "
        f"saturate on {tier}"
    )


def executed_precisions(compiled: Any) -> Mapping[str, str]:
    """Return in which precision OpenVINO runs each operation of a compiled model, by its name."""
    found = {}
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if "runtimePrecision" in info:
            found[node.get_friendly_name()] = info["runtimePrecision"].astype(str)
    return found
