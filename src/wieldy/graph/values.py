"""Which value of a program holds each exported result now, where operators write in place."""

from collections.abc import Iterator

from torch.fx import Graph
from torch.fx import Node as FxNode

from wieldy.core.errors import TraceError
from wieldy.graph.arguments import source_line
from wieldy.graph.program import Shape


class Values:
    """The values of an exported graph, by fx node.

    Every one belongs to a storage, a number that it shares with whatever may be a view of it. An in-place
    operator changes all of a storage: its plain aliases read the result from then on, and a view that is read
    afterwards is refused, because no node of a program changes another's result.
    """

    def __init__(self, graph: Graph) -> None:
        self.names: dict[str, str] = {}  # fx node -> the value that holds its result now
        self.shapes: dict[str, Shape] = {}
        self._storages: dict[str, int] = {}  # fx node -> the memory that it may share with others
        self._order = list(graph.nodes)

    def __contains__(self, fx: FxNode) -> bool:
        return fx.name in self.names

    def name(self, fx: FxNode) -> str:
        """Return the value that holds the result of an fx node now."""
        return self.names[fx.name]

    def define(self, fx: FxNode, value: str, shape: Shape, shared_with: FxNode | None = None) -> None:
        """Note which value holds the result of an fx node, and whose memory it may be."""
        self.names[fx.name] = value
        self.shapes[fx.name] = shape
        fresh = len(self._storages)
        shared = None if shared_with is None else self._storages.get(shared_with.name)
        self._storages[fx.name] = fresh if shared is None else shared

    def overwrite(self, fx: FxNode, source: FxNode) -> None:
        """An in-place operator: whoever reads its input from here on sees the result.

        Raises:
            TraceError: a view of what it changes is read later.
        """
        changed, storage = self.names[source.name], self._storages[source.name]
        later = set(self._read_after(fx))
        for name in [name for name, number in self._storages.items() if number == storage]:
            if self.names[name] == changed:
                self.names[name] = fx.name
            elif name in later:
                raise TraceError(
                    f"{fx.name}: writes in place into memory that {name!r} shares, which is read again "
                    f"later{source_line(fx)}. Write into memory of its own (inplace=False)."
                )

    def _read_after(self, fx: FxNode) -> Iterator[str]:
        for other in self._order[self._order.index(fx) + 1 :]:
            yield from (argument.name for argument in other.all_input_nodes)
