"""Which layers of a package run by their zeros on this machine, and with which kernels."""

import warnings

from wieldy.formats import FORMATS
from wieldy.formats.sparse import SparseFormat
from wieldy.kernels.native import variant_for, variants, why_missing
from wieldy.package.read import Package
from wieldy.runtime.choose import FOREIGN_GAIN, LEAST_GAIN, choose
from wieldy.runtime.costs import cost_table
from wieldy.runtime.lower_zeros import Zeros
from wieldy.runtime.tier import cpu_name, current_tier


class KernelWarning(UserWarning):
    """Zeros are there, but nothing here can use them."""


def stored_blocks(package: Package) -> dict[str, int]:
    """Return, for each tensor that is stored without its zeros, how many output channels share a pattern."""
    found = {name: FORMATS[kind] for name, kind in package.manifest.formats.items()}
    return {name: form.block for name, form in found.items() if isinstance(form, SparseFormat)}


def zeros_of(package: Package, *, threads: int, precision: str) -> Zeros | None:
    """Return how a package's zeros run here; None where all of it runs dense.

    Layers whose zeros do not pay on this tier run dense. In another precision than float32 everything stays
    with OpenVINO: our kernels compute in float32.
    """
    blocks = stored_blocks(package)
    if not blocks or precision != "f32":
        return None
    reason = why_missing()
    variant = variant_for(current_tier())
    if reason is None and variant not in variants():
        reason = f"have no variant {variant!r} for this CPU"
    if reason:
        warnings.warn(
            f"{package.path}: its zeros run as dense numbers, since the compiled kernels {reason}.",
            KernelWarning,
            stacklevel=2,
        )
        return None
    table = cost_table(current_tier(), threads)
    if table is None:
        return None
    least_gain = LEAST_GAIN if table.cpu == cpu_name() else FOREIGN_GAIN
    chosen = choose(package.program, package.tensors, blocks, table, least_gain)
    return Zeros(chosen, variant, threads) if chosen else None
