"""Smaller, faster, and here is the proof, on your CPU.

::

    path = wieldy.shrink(model, data, wieldy.Budget(latency_ratio=0.5, max_drop_points=0.5))
    logits = wieldy.open(path)(x)    # numpy in, numpy out: no class, no pickle, no torch

Names are loaded when they are first used, so that importing costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from wieldy.core.version import VERSION

if TYPE_CHECKING:
    from wieldy.assure.equivalence import examine
    from wieldy.compress.apply import apply_plan
    from wieldy.compress.load import load
    from wieldy.core.data import Data
    from wieldy.flow.shrink import shrink
    from wieldy.graph.trace import trace
    from wieldy.package.read import check
    from wieldy.package.save import save
    from wieldy.plan.budget import Budget
    from wieldy.plan.search import search_plan
    from wieldy.report.page import write_report
    from wieldy.runtime.session import open
    from wieldy.stats.collect import collect
    from wieldy.train.distill import Distill
    from wieldy.train.fit import FitConfig, fit

__version__ = VERSION

_HOMES = {
    "Budget": ("wieldy.plan.budget", ""),
    "Data": ("wieldy.core.data", ""),
    "Distill": ("wieldy.train.distill", "compress"),
    "FitConfig": ("wieldy.train.fit", "compress"),
    "apply_plan": ("wieldy.compress.apply", "compress"),
    "check": ("wieldy.package.read", ""),
    "collect": ("wieldy.stats.collect", "compress"),
    "examine": ("wieldy.assure.equivalence", "compress"),
    "fit": ("wieldy.train.fit", "compress"),
    "load": ("wieldy.compress.load", "compress"),
    "open": ("wieldy.runtime.session", ""),
    "save": ("wieldy.package.save", ""),
    "search_plan": ("wieldy.plan.search", "compress"),
    "shrink": ("wieldy.flow.shrink", "compress"),
    "trace": ("wieldy.graph.trace", "compress"),
    "write_report": ("wieldy.report.page", "compress"),
}

__all__ = [
    "Budget",
    "Data",
    "Distill",
    "FitConfig",
    "apply_plan",
    "check",
    "collect",
    "examine",
    "fit",
    "load",
    "open",
    "save",
    "search_plan",
    "shrink",
    "trace",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'wieldy' has no attribute {name!r}")
    module, extra = _HOMES[name]
    if extra:
        from wieldy.core.optional import need

        need("torch", extra, f"wieldy.{name}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
