"""A pickle that would run a command."""

import os
import pickle
from pathlib import Path
from typing import Any

ERROR = "NotAPackageError"


class Runs:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("false",)


def forge(path: Path) -> None:
    """Write the file."""
    path.write_bytes(pickle.dumps(Runs()))
