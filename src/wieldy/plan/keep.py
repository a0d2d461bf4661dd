"""Layers that are to stay as they are, by name, type or expression."""

import re
from collections.abc import Iterable

from wieldy.core.errors import ConfigError
from wieldy.graph.network import GraphNetwork

EXPRESSION = "re:"


def kept_layers(network: GraphNetwork, patterns: Iterable[str]) -> set[str]:
    """Return the layers with weights that patterns name.

    Args:
        network: traced.
        patterns: each the name of a layer, the type of some, such as `Conv2d`, or `re:` and an expression
            that must match a whole name.

    Raises:
        ConfigError: a pattern that is no expression, or that matches no layer.
    """
    layers = network.program.weighted_layers()
    found: set[str] = set()
    for pattern in patterns:
        matched = {layer for layer in layers if _matches(network, layer, pattern)}
        if not matched:
            raise ConfigError(
                f"keep: {pattern!r} matches no layer with weights. Those are {', '.join(layers)}."
            )
        found |= matched
    return found


def _matches(network: GraphNetwork, layer: str, pattern: str) -> bool:
    if not pattern.startswith(EXPRESSION):
        return pattern in (layer, _type_of(network, layer))
    try:
        return re.fullmatch(pattern.removeprefix(EXPRESSION), layer) is not None
    except re.error as error:
        raise ConfigError(f"keep: {pattern!r} is no regular expression ({error}).") from None


def _type_of(network: GraphNetwork, layer: str) -> str:
    """Return the name of a layer's class; empty where the layer is a call of a function."""
    modules = dict(network.named_modules())
    return type(modules[layer]).__name__ if layer in modules else ""
