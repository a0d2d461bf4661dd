"""Which nodes run together in a region: connected, with no path that leaves and comes back."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from wieldy.graph.program import Node, Program


@dataclass(frozen=True, eq=False)
class Region:
    """Nodes of one region, in the program's order."""

    nodes: tuple[Node, ...]

    def inputs(self) -> tuple[str, ...]:
        """Return the values that it reads from outside, in order of their first reader."""
        own = {node.name for node in self.nodes}
        return tuple(dict.fromkeys(name for node in self.nodes for name in node.refs() if name not in own))

    def outputs(self, program: Program) -> tuple[str, ...]:
        """Return its values that something outside reads, in the program's order."""
        own = {node.name for node in self.nodes}
        read = {name for node in program.nodes if node.name not in own for name in node.refs()}
        return tuple(node.name for node in self.nodes if node.name in read | set(program.outputs))


def find_regions(
    program: Program,
    fits: Callable[[Node], bool],
    anchors: Callable[[Node], bool],
    begins: Callable[[Node], bool] | None = None,
) -> list[Region]:
    """Return the maximal regions.

    Args:
        program: a network.
        fits: whether a node can run in a region.
        anchors: whether a node is why a region exists; regions without any are left outside.
        begins: whether a region may begin with a node; what comes before the first such nodes is left
            outside. Default: anchors.
    """
    begins = begins or anchors
    grown = _grow(program, fits)
    regions = []
    for names in grown:
        kept = _without_head({node.name: node for node in program.nodes if node.name in names}, begins)
        regions += [Region(part) for part in _connected(kept) if any(anchors(node) for node in part)]
    return regions


def _grow(program: Program, fits: Callable[[Node], bool]) -> list[set[str]]:
    """Join each node to what it reads, unless a path between them leads through something else."""
    units, fitting = _Units(), set()
    for node in program.nodes:
        units.add(node)
        if fits(node):
            fitting.add(node.name)
            for name in node.refs():
                if name in fitting:
                    units.join(name, node.name)
    return [names for names in units.members.values() if names <= fitting]


class _Units:
    """Nodes, and sets of nodes that were joined; no path of units comes back to where it began.

    That is more than that no path of nodes leaves a set and comes back: of two sets, each may read the other.
    """

    def __init__(self) -> None:
        self.members: dict[int, set[str]] = {}
        self._unit_of: dict[str, int] = {}
        self._reads: dict[int, set[int]] = {}

    def add(self, node: Node) -> None:
        """Add a node that reads nothing but what was added before, and inputs."""
        number = len(self._unit_of)
        self.members[number] = {node.name}
        self._reads[number] = {self._unit_of[name] for name in node.refs() if name in self._unit_of}
        self._unit_of[node.name] = number

    def join(self, first: str, second: str) -> None:
        """Make one unit of those of two nodes, where that is allowed."""
        kept, gone = sorted((self._unit_of[first], self._unit_of[second]))
        if kept == gone or self._detour(kept, gone) or self._detour(gone, kept):
            return
        self._unit_of |= dict.fromkeys(self.members[gone], kept)
        self.members[kept] |= self.members.pop(gone)
        self._reads[kept] |= self._reads.pop(gone)
        for reads in self._reads.values():
            if gone in reads:
                reads.remove(gone)
                reads.add(kept)
        self._reads[kept].discard(kept)

    def _detour(self, begin: int, end: int) -> bool:
        """Whether a path leads from one unit through others to another."""
        waiting, seen = list(self._reads[end] - {begin}), {begin}
        while waiting:
            reads = self._reads[waiting.pop()]
            if begin in reads:
                return True
            waiting += reads - seen
            seen |= reads
        return False


def _without_head(nodes: dict[str, Node], begins: Callable[[Node], bool]) -> dict[str, Node]:
    """Leave out nodes that read nothing of the region and with which none begins, again and again."""
    kept = dict(nodes)
    for name, node in nodes.items():
        if not begins(node) and not any(read in kept for read in node.refs()):
            del kept[name]
    return kept


def _connected(nodes: dict[str, Node]) -> Iterator[tuple[Node, ...]]:
    """Yield the connected parts, each in the program's order."""
    part_of: dict[str, set[str]] = {}
    for name, node in nodes.items():
        joined = {name}.union(*(part_of[read] for read in node.refs() if read in nodes))
        for member in joined:
            part_of[member] = joined
    seen: set[str] = set()
    for name in nodes:
        if name not in seen:
            seen |= part_of[name]
            yield tuple(node for other, node in nodes.items() if other in part_of[name])


def contracted_order(program: Program, regions: Iterable[Region]) -> list[Node | Region]:
    """Return nodes and regions in an order in which each follows what it reads."""
    home = {node.name: region for region in regions for node in region.nodes}
    firsts = {region.nodes[0].name for region in regions}
    waiting: list[Node | Region] = [
        home.get(node.name, node) for node in program.nodes if node.name not in home or node.name in firsts
    ]
    known, order = set(program.inputs), []
    while waiting:
        later = []
        for unit in waiting:
            reads = unit.inputs() if isinstance(unit, Region) else tuple(unit.refs())
            if known.issuperset(reads):
                order.append(unit)
                known |= {node.name for node in unit.nodes} if isinstance(unit, Region) else {unit.name}
            else:
                later.append(unit)
        assert len(later) < len(waiting), "a path leaves a region and comes back"
        waiting = later
    return order
