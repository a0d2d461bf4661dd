"""Lookups of a batch's own examples, as masks of transformers are written: x[arange(batch), arange(length)].

Nothing is looked up by them: every number stays where it is, and only axes of one come in between.
"""

from torch import Tensor
from torch.fx import Node as FxNode

from wieldy.core.errors import TraceError
from wieldy.graph.arguments import source_line
from wieldy.graph.stored import StoredTensors

INDEX = "aten.index.Tensor"
KEEPS = frozenset(
    f"aten.{name}"
    for name in ("unsqueeze.default", "slice.Tensor", "view.default", "reshape.default", "alias.default",
                 "contiguous.default", "clone.default", "to.device", "to.dtype", "to.dtype_layout")
)  # fmt: skip


class Places:
    """Which fx nodes are the numbers from 0 to batch - 1, along one axis."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def note(self, fx: FxNode) -> bool:
        """Whether a node is, or hands on, the places of the batch; remembers it."""
        op, source = str(fx.target), fx.args[0] if fx.args else None
        value = fx.meta.get("val")
        counts = isinstance(value, Tensor) and value.ndim == 1 and not isinstance(value.shape[0], int)
        if (op == "aten.arange.default" and counts) or (
            op in KEEPS and isinstance(source, FxNode) and source.name in self._names
        ):
            self._names.add(fx.name)
        return fx.name in self._names

    def source(self, fx: FxNode, stored: StoredTensors) -> FxNode:
        """Return the value of which a lookup shows every number in its place.

        Raises:
            TraceError: it looks up anything else.
        """
        value, indices = fx.args[:2]
        assert isinstance(value, FxNode)
        assert isinstance(indices, (list, tuple))
        sizes = value.meta["val"].shape
        first, *rest = indices
        own = isinstance(first, FxNode) and first.name in self._names and len(indices) == len(sizes)
        if not own or not all(map(lambda index, size: _counts(stored, index, size), rest, sizes[1:])):
            raise TraceError(
                f"{fx.name}: looks numbers up by index{source_line(fx)}, which is supported for whole axes "
                "alone. Use a slice, or an embedding."
            )
        return value


def _counts(stored: StoredTensors, index: object, size: int) -> bool:
    """Whether an index is 0, 1, ... along its last axis."""
    if not isinstance(index, FxNode) or index not in stored:
        return False
    numbers = stored.tensor(stored.name(index))
    return tuple(numbers.shape)[-1:] == (size,) and numbers.flatten().tolist() == list(range(size))
