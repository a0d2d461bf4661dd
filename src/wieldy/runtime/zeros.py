"""Which layers of a package run by their zeros on this machine, and with which kernels."""

import warnings
from collections.abc import Mapping

from wieldy.formats import FORMATS
from wieldy.formats.level_blocks import LevelBlockFormat
from wieldy.formats.sparse import SparseFormat
from wieldy.kernels.native import (
    level_variant_for,
    level_variants,
    variant_for,
    variants,
    why_missing,
)
from wieldy.package.read import Package
from wieldy.runtime.choose import FOREIGN_GAIN, LEAST_GAIN, choose
from wieldy.runtime.costs import cost_table
from wieldy.runtime.integers import integers_of
from wieldy.runtime.lower_zeros import Zeros
from wieldy.runtime.tier import cpu_name, current_tier


class KernelWarning(UserWarning):
    """Zeros are there, but nothing here can use them."""


def stored_blocks(package: Package) -> dict[str, int]:
    """Return, for each tensor that is stored without its zeros, how many output channels share a pattern."""
    found = {name: FORMATS[kind] for name, kind in package.manifest.formats.items()}
    return {name: form.block for name, form in found.items() if isinstance(form, SparseFormat)}


def stored_level_blocks(package: Package) -> frozenset[str]:
    """Return the tensors that are stored as levels in blocks, without the blocks of zeros."""
    found = {name: FORMATS[kind] for name, kind in package.manifest.formats.items()}
    return frozenset(name for name, form in found.items() if isinstance(form, LevelBlockFormat))


def zeros_of(package: Package, *, threads: int, precision: str) -> Zeros | None:
    """Return how a package's zeros run here; None where all of it runs dense.

    Layers whose zeros do not pay on this tier run dense; zeros of levels always run as such. In another
    precision than float32 everything stays with OpenVINO: our kernels compute in float32 and in eight bits.
    """
    blocks, tier = stored_blocks(package), current_tier()
    levels = stored_level_blocks(package)
    if levels:  # which takes a look at every whole number
        levels &= frozenset(integers_of(package, tier))
    if not (blocks or levels) or precision != "f32":
        return None
    reason = why_missing()
    variant, level_variant = variant_for(tier), level_variant_for(tier)
    for name, known in ((variant, variants()), (level_variant, level_variants())):
        if reason is None and name not in known:
            reason = f"have no variant {name!r} for this CPU"
    if reason:
        warnings.warn(
            f"{package.path}: its zeros run as dense numbers, since the compiled kernels {reason}.",
            KernelWarning,
            stacklevel=2,
        )
        return None
    chosen = _chosen(package, blocks, threads) if blocks else {}
    return Zeros(chosen, variant, threads, levels, level_variant) if chosen or levels else None


def _chosen(package: Package, blocks: dict[str, int], threads: int) -> Mapping[str, int]:
    """Return the tensors of float32 whose zeros pay, by the cost table of this tier."""
    table = cost_table(current_tier(), threads)
    if table is None:
        return {}
    least_gain = LEAST_GAIN if table.cpu == cpu_name() else FOREIGN_GAIN
    return choose(package.program, package.tensors, blocks, table, least_gain)
