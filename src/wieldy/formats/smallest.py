"""The format that takes the fewest bytes of those that lose nothing."""

from typing import Any

from numpy.typing import NDArray

from wieldy.formats import FORMATS, Format
from wieldy.formats.sparse import SparseFormat
from wieldy.formats.unified import UNIFIED, UnifiedFormat


def smallest_format(array: NDArray[Any]) -> str:
    """Return the name of the format in which a weight in float32 is stored exactly with the fewest bytes.

    Those with zeros left out, those with blocks of one magnitude where it has such blocks (zeros in them run
    as dense numbers), and dense; of equals the first in FORMATS.

    Cost: one encoding in each of them.

    Example:
        >>> import numpy as np
        >>> weight = np.zeros((16, 40), np.float32)
        >>> weight[:, :4] = np.linspace(0.1, 1, 64).reshape(16, 4)
        >>> smallest_format(weight)
        'block_8x1'
    """
    sizes = {name: form.byte_count(array) for name, form in FORMATS.items() if _fits(name, form, array)}
    return min(sizes, key=lambda name: sizes[name])


def _fits(name: str, form: Format, array: NDArray[Any]) -> bool:
    if isinstance(form, UnifiedFormat):
        return form.holds(array) and bool((form.kinds(array) == UNIFIED).any())
    return name == "dense" or (isinstance(form, SparseFormat) and form.holds(array))
