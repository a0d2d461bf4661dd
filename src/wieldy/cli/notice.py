"""Saying once, in one line, that the compiled kernels are missing."""

import os
import sys
import warnings

from wieldy.core.cache import cache_folder
from wieldy.kernels.native import REQUIRED, is_built, why_missing

SAID = "kernels-missing-was-said"


def say_missing_kernels() -> None:
    """Print one line on standard error, the first time, where zeros cannot run fast.

    Raises:
        KernelError: kernels are missing and the environment requires them.
    """
    if os.environ.get(REQUIRED):
        why_missing()
    if is_built():
        return
    marker = cache_folder() / SAID
    if marker.exists():
        return
    print(f"note: zeros run as dense numbers here: the compiled kernels {why_missing()}.", file=sys.stderr)
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError:  # then it is said again the next time
        pass


def show_warnings_plainly() -> None:
    """Print warnings as one line without a place in our code."""
    warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
