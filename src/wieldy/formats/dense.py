"""Every element, in C order: the format of a tensor that no method has rewritten."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = {"float32": 4, "int64": 8, "bool": 1}


class DenseFormat:
    """One part: the array itself."""

    suffixes = ("",)
    dtypes = tuple(DTYPES)

    def encode(self, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the parts to store."""
        return {"": np.asarray(array, order="C")}  # ascontiguousarray would give a scalar an axis

    def decode(self, parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any]:  # noqa: ARG002
        """Return the array from its parts; it has a shape of its own."""
        return parts[""]

    def byte_count(self, array: NDArray[Any]) -> int:
        """Return the exact bytes of what `encode` yields.

        Example:
            >>> DenseFormat().byte_count(np.zeros((2, 3), np.float32))
            24
        """
        return array.size * DTYPES[array.dtype.name]
