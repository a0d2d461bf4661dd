"""The one place where a missing extra becomes a sentence."""

import importlib
from types import ModuleType

from wieldy.core.errors import DependencyError


def need(module: str, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Raises:
        DependencyError: it is not installed.

    Example:
        >>> need("json", "compress", "reading").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        raise DependencyError(
            f"{purpose} needs {module}, which the base install leaves out. "
            f"Install it with: pip install 'wieldy[{extra}]'"
        ) from None
