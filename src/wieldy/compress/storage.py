"""How the weights of a network are stored in the fewest bytes."""

from wieldy.formats import FORMATS
from wieldy.formats.level_blocks import LevelBlockFormat
from wieldy.formats.smallest import smallest_format
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import WEIGHTED


def smallest_formats(network: GraphNetwork) -> dict[str, str]:
    """Return how the weights of layers are stored in the fewest bytes; those that stay dense are left out."""
    weights = dict.fromkeys(next(node.stored()) for node in network.program.nodes if node.op in WEIGHTED)
    found = {name: smallest_format(network.tensor(name).detach().numpy()) for name in weights}
    return {name: form for name, form in found.items() if form != "dense"}


def level_formats(network: GraphNetwork) -> dict[str, str]:
    """Return the weights in whole numbers that take fewer bytes without their blocks of zeros, and how."""
    found = {}
    for name, kind in network.formats.items():
        array = network.tensor(name).detach().numpy()
        forms = [
            other
            for other, form in FORMATS.items()
            if isinstance(form, LevelBlockFormat) and other.startswith(f"{kind}_")
        ]
        sizes = {other: FORMATS[other].byte_count(array) for other in [kind, *forms]}
        best = min(sizes, key=lambda other: sizes[other])
        if best != kind:
            found[name] = best
    return found
