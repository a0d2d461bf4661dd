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
    program: Program, fits: Callable[[Node], bool], anchors: Callable[[Node], bool]
) -> list[Region]:
    """Return the maximal regions.

    Args:
        program: a network.
        fits: whether a node can run in a region.
        anchors: whether a node is why a region exists. Nodes before the first anchors and regions
            without any are left outside.
    """
    grown = _grow(program, fits)
    regions = []
    for names in grown:
        kept = _without_head({node.name: node for node in program.nodes if node.name in names}, anchors)
        regions += [Region(part) for part in _connected(kept) if any(anchors(node) for node in part)]
    return regions


def _grow(program: Program, fits: Callable[[Node], bool]) -> list[set[str]]:
    """Join each node to the regions of what it reads, unless a path through the outside lies between."""
    members: list[set[str]] = []
    of_node: dict[str, int] = {}
    leaves: dict[str, set[int]] = {}  # node -> regions that a path to it has left
    for node in program.nodes:
        reads = [name for name in node.refs() if name in leaves]
        left = set().union(*(leaves[name] for name in reads)) if reads else set()
        entered = {of_node[name] for name in reads if name in of_node}
        if fits(node):
            home = min(entered - left, default=len(members))
            if home == len(members):
                members.append(set())
            members[home].add(node.name)
            of_node[node.name] = home
            for other in sorted(entered - left - {home}):
                if _may_merge(members[home], members[other], home, other, leaves):
                    for name in members[other]:
                        of_node[name] = home
                    members[home] |= members[other]
                    members[other] = set()
                    for known in leaves.values():
                        if other in known:
                            known.add(home)
            left |= {of_node[name] for name in reads if name in of_node} - {home}
        else:
            left |= entered
        leaves[node.name] = left
    return [names for names in members if names]


def _may_merge(first: set[str], second: set[str], one: int, other: int, leaves: dict[str, set[int]]) -> bool:
    """Whether no path leaves one of two regions and enters the other."""
    return not any(other in leaves.get(name, ()) for name in first) and not any(
        one in leaves.get(name, ()) for name in second
    )


def _without_head(nodes: dict[str, Node], anchors: Callable[[Node], bool]) -> dict[str, Node]:
    """Leave out nodes that read nothing of the region and are no anchors, again and again."""
    kept = dict(nodes)
    for name, node in nodes.items():
        if not anchors(node) and not any(read in kept for read in node.refs()):
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
