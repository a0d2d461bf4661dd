"""How the weights of a network are stored in the fewest bytes."""

from wieldy.formats.smallest import smallest_format
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import WEIGHTED


def smallest_formats(network: GraphNetwork) -> dict[str, str]:
    """Return how the weights of layers are stored in the fewest bytes; those that stay dense are left out."""
    weights = dict.fromkeys(next(node.stored()) for node in network.program.nodes if node.op in WEIGHTED)
    found = {name: smallest_format(network.tensor(name).detach().numpy()) for name in weights}
    return {name: form for name, form in found.items() if form != "dense"}
