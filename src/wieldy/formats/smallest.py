"""The format that takes the fewest bytes of those that lose nothing."""

from typing import Any

from numpy.typing import NDArray

from wieldy.formats import FORMATS
from wieldy.formats.sparse import SparseFormat
from wieldy.formats.unified import UnifiedFormat


def smallest_format(array: NDArray[Any]) -> str:
    """Return the name of the format in which a weight in float32 is stored exactly with the fewest bytes.

    Those with zeros left out, those with blocks of one magnitude, and dense; of equals the first in FORMATS.

    Cost: one encoding in each of them.

    Example:
        >>> weight = np.zeros((16, 40), np.float32)
        >>> weight[:, :4] = np.arange(1, 65).reshape(16, 4)
        >>> smallest_format(weight)
        'block_8x1'
    """
    candidates = {"dense": FORMATS["dense"]} | {
        name: form
        for name, form in FORMATS.items()
        if isinstance(form, SparseFormat | UnifiedFormat) and form.holds(array)
    }
    return min(candidates, key=lambda name: candidates[name].byte_count(array))
